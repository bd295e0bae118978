//! Copies between the caller's standard streams and a process inside a guest until that process ends.
//!
//! Owns the caller's terminal meanwhile: raw mode, window size, and its restoration on every way out. Refuses to
//! hand it on: the process has a terminal of its guest or pipes, never the caller's.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Context, Error, Kind, Result};
use crate::sys::pidfd::{self, Ended};
use crate::sys::terminal::{self, RawMode};

/// `PIPE_BUF` (`pipe(7)`): so much can be written to a pipe that poll calls writable without blocking. More would
/// block in `write(2)`, deaf to signals, while nobody reads.
const CHUNK: usize = 4096;

/// Ctrl-D, the default VEOF (`termios(3)`).
const END_OF_INPUT: u8 = 4;

/// Copies between the caller's standard input and output and the terminal `master` until `child` ends.
///
/// `child` is a pidfd of a child of this process, which is waited for. When standard input is a terminal it is in
/// raw mode meanwhile and its size is followed; Ctrl-C and Ctrl-Z reach the guest's foreground processes as bytes.
/// SIGTERM, SIGINT and SIGHUP end the session: the guest's terminal hangs up, and `Kind::Interrupted` is returned.
pub fn relay(master: OwnedFd, child: &OwnedFd) -> Result<Ended> {
    copy_terminal(master, child)?;
    pidfd::wait(child)
}

/// The same for a process that somebody else waits for.
pub(super) fn copy_terminal(master: OwnedFd, child: &OwnedFd) -> Result<()> {
    let (input, output) = (io::stdin(), io::stdout());
    let raw = if input.is_terminal() {
        Some(RawMode::enter(input.as_fd())?)
    } else {
        None
    };
    nonblocking(master.as_fd())?;
    // Held so that the master never reports that nobody has the slave open: `login` closes it and opens it anew,
    // and the session's end is the child's end.
    let slave = terminal::slave(master.as_fd()).context(|| "open the slave of the guest's terminal")?;
    let master = Rc::new(master);
    let mut flows = [
        Flow::new(Stream::Caller(input.as_fd()), Stream::Terminal(master.clone())),
        Flow::new(Stream::Terminal(master.clone()), Stream::Caller(output.as_fd())),
    ];
    let session = Session::Terminal {
        master: master.clone(),
        follows: raw.is_some().then(|| input.as_fd()),
    };
    let ended = copy(&mut flows, child, &session);
    // The terminal hangs up before the wait: a child that is still there gets SIGHUP, not an endless wait.
    drop((flows, session, slave, master, raw));
    ended
}

/// The ends of the pipes that stand in for standard streams of a process inside. `None`: the process has the
/// caller's own, which must not be a terminal.
#[derive(Debug, Default)]
pub struct Pipes {
    /// What the process reads.
    pub stdin: Option<OwnedFd>,
    /// What it writes.
    pub stdout: Option<OwnedFd>,
    /// What it complains.
    pub stderr: Option<OwnedFd>,
}

/// Copies between the caller's standard streams and pipes until `child` ends. SIGTERM, SIGINT and SIGHUP are sent
/// on to `child`: it has no terminal from which a Ctrl-C could come.
pub fn relay_pipes(pipes: Pipes, child: &OwnedFd) -> Result<Ended> {
    copy_pipes(pipes, child)?;
    pidfd::wait(child)
}

/// The same for a process that somebody else waits for.
pub(super) fn copy_pipes(pipes: Pipes, child: &OwnedFd) -> Result<()> {
    let (input, output, complaints) = (io::stdin(), io::stdout(), io::stderr());
    let mut flows = Vec::new();
    if let Some(pipe) = pipes.stdin {
        nonblocking(pipe.as_fd())?;
        flows.push(Flow::new(Stream::Caller(input.as_fd()), Stream::Pipe(pipe)));
    }
    for (pipe, to) in [(pipes.stdout, output.as_fd()), (pipes.stderr, complaints.as_fd())] {
        if let Some(pipe) = pipe {
            nonblocking(pipe.as_fd())?;
            flows.push(Flow::new(Stream::Pipe(pipe), Stream::Caller(to)));
        }
    }
    copy(&mut flows, child, &Session::Pipes { child })
}

/// What joins the caller and the process inside.
enum Session<'a> {
    /// A terminal of the guest, whose window is that of the caller's terminal.
    Terminal {
        master: Rc<OwnedFd>,
        follows: Option<BorrowedFd<'a>>,
    },
    /// Pipes.
    Pipes { child: &'a OwnedFd },
}

impl Session<'_> {
    /// Acts on a signal that hostel got.
    fn signalled(&self, signal: i32) -> Result<()> {
        match self {
            Session::Terminal { master, follows } if signal == Signal::SIGWINCH as i32 => match follows {
                Some(from) => terminal::set_size(master.as_fd(), terminal::size(*from)?),
                None => Ok(()),
            },
            Session::Terminal { .. } => {
                Err(Error::new(Kind::Interrupted, "the session was ended by a signal"))
            }
            Session::Pipes { .. } if signal == Signal::SIGWINCH as i32 => Ok(()),
            Session::Pipes { child } => match pidfd::signal(child, signal) {
                // It ended just now.
                Ok(()) | Err(Errno::ESRCH) => Ok(()),
                other => other.context(|| "send a signal on to the process inside"),
            },
        }
    }
}

/// One end of a flow.
enum Stream<'a> {
    /// A stream of the caller, whose open file description is shared with others: it stays in blocking mode.
    Caller(BorrowedFd<'a>),
    /// The master of the guest's terminal.
    Terminal(Rc<OwnedFd>),
    /// A pipe that is ours.
    Pipe(OwnedFd),
}

impl AsFd for Stream<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Caller(fd) => *fd,
            Stream::Terminal(fd) => (**fd).as_fd(),
            Stream::Pipe(fd) => fd.as_fd(),
        }
    }
}

/// Bytes from one stream to another.
struct Flow<'a> {
    /// `None` when it has ended.
    from: Option<Stream<'a>>,
    /// `None` when nobody takes more.
    to: Option<Stream<'a>>,
    pending: Vec<u8>,
    /// The last byte that was read: whether the line it is in is complete.
    last: u8,
    /// Whether the reader went away.
    is_unread: bool,
}

impl<'a> Flow<'a> {
    fn new(from: Stream<'a>, to: Stream<'a>) -> Self {
        Self {
            from: Some(from),
            to: Some(to),
            pending: Vec::with_capacity(CHUNK),
            last: b'\n',
            is_unread: false,
        }
    }

    /// What poll should watch: the writer while something is pending, else the reader.
    fn interest(&self) -> Option<PollFd<'_>> {
        let to = self.to.as_ref()?;
        if !self.pending.is_empty() {
            return Some(PollFd::new(to.as_fd(), PollFlags::POLLOUT));
        }
        let from = self.from.as_ref()?;
        Some(PollFd::new(from.as_fd(), PollFlags::POLLIN))
    }

    /// Whether it carries what the process inside says.
    fn is_output(&self) -> bool {
        matches!(self.to, Some(Stream::Caller(_)))
    }

    /// Moves what can be moved without waiting. `false` when nothing was.
    fn step(&mut self) -> Result<bool> {
        if self.pending.is_empty() {
            self.read()
        } else {
            self.write()
        }
    }

    fn read(&mut self) -> Result<bool> {
        let Some(from) = &self.from else {
            return Ok(false);
        };
        let mut chunk = [0; CHUNK];
        match nix::unistd::read(from.as_fd(), &mut chunk) {
            // EIO: the caller's terminal hung up.
            Ok(0) | Err(Errno::EIO) => {
                self.from = None;
                self.end();
                Ok(false)
            }
            Ok(count) => {
                let bytes = &chunk[..count];
                self.pending.extend_from_slice(bytes);
                self.last = bytes.last().copied().unwrap_or(self.last);
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(Error::os("read from the session", errno)),
        }
    }

    fn write(&mut self) -> Result<bool> {
        let Some(to) = &self.to else {
            return Ok(false);
        };
        match nix::unistd::write(to.as_fd(), &self.pending) {
            Ok(count) => {
                self.pending.drain(..count);
                if self.pending.is_empty() && self.from.is_none() {
                    self.close();
                }
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            // The reader went away. What feeds this flow is closed with it, so that the writer inside learns of
            // it as it would without hostel between: by SIGPIPE or SIGHUP.
            Err(Errno::EPIPE | Errno::EIO) => {
                self.from = None;
                self.is_unread = self.is_output();
                self.close();
                Ok(false)
            }
            Err(errno) => Err(Error::os("write to the session", errno)),
        }
    }

    /// The reader has ended: a pipe is closed, a terminal is told by its end-of-input character, once for the
    /// unfinished line and once for the end itself.
    fn end(&mut self) {
        if let Some(Stream::Terminal(_)) = self.to {
            if self.last != b'\n' {
                self.pending.push(END_OF_INPUT);
            }
            self.pending.push(END_OF_INPUT);
        } else if self.pending.is_empty() {
            self.close();
        }
    }

    fn close(&mut self) {
        self.to = None;
        self.pending.clear();
    }
}

/// Copies until the child has ended and what it left is written.
fn copy(flows: &mut [Flow<'_>], child: &OwnedFd, session: &Session<'_>) -> Result<()> {
    let signals = Signals::block()?;
    loop {
        let mut watched = vec![
            PollFd::new(child.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.descriptor.as_fd(), PollFlags::POLLIN),
        ];
        let mut watching = Vec::with_capacity(flows.len());
        for (index, flow) in flows.iter().enumerate() {
            if let Some(interest) = flow.interest() {
                watched.push(interest);
                watching.push(index);
            }
        }
        let ready = wait_any(&mut watched)?;
        drop(watched);
        if ready[1] {
            signals.take(session)?;
        }
        for (index, is_ready) in watching.into_iter().zip(&ready[2..]) {
            if *is_ready {
                flows[index].step()?;
            }
        }
        // A caller who reads a terminal no more ends the session. The writer of a pipe learns of it by SIGPIPE
        // and may have more to do.
        if matches!(session, Session::Terminal { .. }) && flows.iter().any(|flow| flow.is_unread) {
            return Ok(());
        }
        if ready[0] {
            return drain(flows, &signals, session);
        }
    }
}

/// The child has ended: what it wrote before is in the terminal or the pipes and is written out. Processes that
/// it left behind may hold them open for ever, so nothing is waited for but the caller's readiness to take it.
fn drain(flows: &mut [Flow<'_>], signals: &Signals, session: &Session<'_>) -> Result<()> {
    for flow in flows.iter_mut().filter(|flow| flow.is_output()) {
        for _ in 0..LEFTOVER / CHUNK {
            if !flow.pending.is_empty() {
                let Some(interest) = flow.interest() else { break };
                let mut watched = [
                    interest,
                    PollFd::new(signals.descriptor.as_fd(), PollFlags::POLLIN),
                ];
                let ready = wait_any(&mut watched)?;
                if ready[1] {
                    signals.take(session)?;
                }
                if !ready[0] {
                    continue;
                }
            }
            if !flow.step()? && flow.pending.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

/// Waits until something is ready, and says what.
fn wait_any(watched: &mut [PollFd<'_>]) -> Result<Vec<bool>> {
    match poll(watched, PollTimeout::NONE) {
        Ok(_) => Ok(watched.iter().map(|fd| fd.any().unwrap_or(true)).collect()),
        Err(Errno::EINTR) => Ok(vec![false; watched.len()]),
        Err(errno) => Err(Error::os("wait for the session", errno)),
    }
}

/// The signals that a session handles itself, blocked for as long as this value lives.
struct Signals {
    descriptor: SignalFd,
    before: SigSet,
}

impl Signals {
    fn block() -> Result<Self> {
        let set: SigSet = [Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
            .into_iter()
            .collect();
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before)).context(|| "block signals")?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context(|| "open a signal descriptor")?;
        Ok(Self { descriptor, before })
    }

    /// Handles what has arrived.
    fn take(&self, session: &Session<'_>) -> Result<()> {
        while let Some(info) = self.descriptor.read_signal().context(|| "read a signal")? {
            session.signalled(info.ssi_signo.cast_signed())?;
        }
        Ok(())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Fails only for a bad `how`.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// More than a terminal or a pipe holds (`/proc/sys/fs/pipe-max-size`), and an end to what a process left behind
/// may go on writing. Each step reads or writes at most a chunk.
const LEFTOVER: usize = 4 << 20;

fn nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    let flags = fcntl(fd, FcntlArg::F_GETFL).context(|| "read a descriptor's flags")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(flags)).context(|| "make a descriptor non-blocking")?;
    Ok(())
}
