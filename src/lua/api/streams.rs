//! The standard streams of a command whose output is kept, or goes where the script's goes.
//!
//! While the command runs, this process waits for it; what it writes is read by a child that does nothing else. The
//! child ends when every writer is gone, or soon after the command when something that it left behind keeps them.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::{clone, pidfd};

/// What is kept of each stream; the rest is read and forgotten, so that the command does not hang.
pub(in crate::lua) const MOST: usize = 16 << 20;

/// How long what a command left behind may go on writing.
const GRACE: Duration = Duration::from_millis(500);

/// Standard streams, and what reads them.
pub(super) struct Streams {
    pub(super) fds: Vec<OwnedFd>,
    pub(super) copier: Copier,
}

/// What a command wrote.
#[derive(Default)]
pub(super) struct Captured {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// The process that reads.
pub(super) struct Copier(Option<Reader>);

struct Reader {
    child: clone::Child,
    report: OwnedFd,
    /// Closed to say that the command has ended.
    over: OwnedFd,
}

fn own(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().context(|| "duplicate a standard stream")
}

/// The script's own input; a terminal of the host's is never open in a guest or kept from its user.
fn input() -> Result<OwnedFd> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(File::open("/dev/null").context(|| "open `/dev/null`")?.into());
    }
    own(stdin.as_fd())
}

impl Streams {
    /// The output is kept.
    pub(super) fn captured() -> Result<Self> {
        let (out, out_write) = crate::sys::file::pipe()?;
        let (err, err_write) = crate::sys::file::pipe()?;
        let fds = vec![input()?, out_write, err_write];
        let copier = Copier::begin([Some(out), Some(err)], &fds, true)?;
        Ok(Self { fds, copier })
    }

    /// The output goes where the script's goes, by a pipe where that is a terminal.
    pub(super) fn of_caller() -> Result<Self> {
        let mut fds = vec![input()?];
        let mut pipes = [None, None];
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let streams = [
            (stdout.is_terminal(), stdout.as_fd()),
            (stderr.is_terminal(), stderr.as_fd()),
        ];
        for ((is_terminal, fd), slot) in streams.into_iter().zip(&mut pipes) {
            if is_terminal {
                let (read, write) = crate::sys::file::pipe()?;
                *slot = Some(read);
                fds.push(write);
            } else {
                fds.push(own(fd)?);
            }
        }
        let copier = if pipes.iter().all(Option::is_none) {
            Copier(None)
        } else {
            Copier::begin(pipes, &fds, false)?
        };
        Ok(Self { fds, copier })
    }
}

impl Copier {
    fn begin(pipes: [Option<OwnedFd>; 2], writers: &[OwnedFd], keeps: bool) -> Result<Self> {
        let (report, report_write) = crate::sys::file::pipe()?;
        let (over_read, over) = crate::sys::file::pipe()?;
        let child = clone::spawn(CloneFlags::empty(), None, || {
            // Its own copies of the writing ends would keep it waiting for itself.
            for fd in writers.iter().chain([&over, &report]) {
                let _ = nix::unistd::close(fd.as_raw_fd());
            }
            i32::from(copy(&pipes, &over_read, &report_write, keeps).is_err())
        })?;
        // As soon as the child is gone, who writes gets EPIPE.
        drop(pipes);
        Ok(Self(Some(Reader { child, report, over })))
    }

    /// What was written. The command has ended, and its streams are closed here.
    pub(super) fn finish(self) -> Result<Captured> {
        let Some(reader) = self.0 else {
            return Ok(Captured::default());
        };
        drop(reader.over);
        let mut bytes = Vec::new();
        let read = File::from(reader.report).read_to_end(&mut bytes);
        pidfd::wait(&reader.child.pidfd)?;
        read.context(|| "read the output of the command")?;
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(Error::new(
                Kind::Internal,
                "what read the output of the command has ended early",
            ));
        };
        let length = usize::try_from(u64::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let (stdout, stderr) = rest.split_at(length.min(rest.len()));
        Ok(Captured {
            stdout: stdout.to_vec(),
            stderr: stderr.to_vec(),
        })
    }
}

/// The child's work.
fn copy(pipes: &[Option<OwnedFd>; 2], over: &OwnedFd, report: &OwnedFd, keeps: bool) -> std::io::Result<()> {
    let mut kept = [Vec::new(), Vec::new()];
    let mut is_open = [pipes[0].is_some(), pipes[1].is_some()];
    let mut deadline: Option<Instant> = None;
    let mut chunk = vec![0; 1 << 16];
    while is_open.contains(&true) {
        let mut fds = Vec::with_capacity(3);
        let mut which = Vec::with_capacity(2);
        for (index, pipe) in pipes.iter().enumerate() {
            if let Some(pipe) = pipe.as_ref().filter(|_| is_open[index]) {
                fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
                which.push((index, pipe));
            }
        }
        let timeout = match deadline {
            None => {
                fds.push(PollFd::new(over.as_fd(), PollFlags::POLLIN));
                PollTimeout::NONE
            }
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                PollTimeout::from(u16::try_from(left.as_millis()).unwrap_or(u16::MAX).max(1))
            }
        };
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        for ((index, pipe), _) in which.iter().zip(&ready).filter(|(_, ready)| **ready) {
            let count = nix::unistd::read(pipe, &mut chunk)?;
            if count == 0 {
                is_open[*index] = false;
            } else if keeps {
                let room = MOST.saturating_sub(kept[*index].len());
                kept[*index].extend_from_slice(&chunk[..count.min(room)]);
            } else if *index == 0 {
                std::io::stdout().write_all(&chunk[..count])?;
                std::io::stdout().flush()?;
            } else {
                std::io::stderr().write_all(&chunk[..count])?;
            }
        }
        if deadline.is_none() && ready.get(which.len()) == Some(&true) {
            deadline = Some(Instant::now() + GRACE);
        }
    }
    let mut report = File::from(report.try_clone()?);
    report.write_all(&(kept[0].len() as u64).to_ne_bytes())?;
    report.write_all(&kept[0])?;
    report.write_all(&kept[1])
}
