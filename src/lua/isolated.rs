//! Evaluation in a process of its own. This side reads the files that it asks for, watches its time, and says what
//! became of it.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Deserialize, Serialize};

use super::channel::{self, Channel};
use super::child::{Ended, kill, start};
use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::evaluate::{self, Recipe};
use super::source::{Folder, Found, Modules};
use super::state::Source;
use super::{EvalOptions, Evaluated, confine};
use crate::error::Context as _;
use crate::guest::{HostPid, Spec};
use crate::sys::lua_position::TIME_IS_OVER;
use crate::sys::{fork, interrupt};

/// What the child reports.
#[derive(Deserialize)]
enum Report {
    Right(Evaluated),
    Wrong(Diagnostics),
}

/// The same, from what the child has.
#[derive(Serialize)]
enum Reported<'a> {
    Right(&'a Evaluated),
    Wrong(&'a Diagnostics),
}

/// How long a child may take to say where it is, once its time is over.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How many files a recipe may ask for. Each costs this side some work that no limit of the child's counts.
const MOST_QUESTIONS: usize = 10_000;

fn broken(message: impl Into<String>) -> Diagnostics {
    Diagnostics::one(Diagnostic::new(Code::Child, message, None))
}

pub(super) fn evaluate(path: &Path, options: &EvalOptions) -> Result<Evaluated, Diagnostics> {
    // Processor time bounds what computes; real time bounds what waits, and is no measure on a busy machine.
    let patience = Duration::from_secs(options.cpu_seconds.saturating_mul(6).max(60));
    let recipe = Recipe::read(path)?;
    confine::prepare();
    let pair = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    );
    let started = pair.context(|| "make a socket").and_then(|(ours, theirs)| {
        let pid = start(theirs, |socket| inside(socket, &recipe, options))?;
        Ok((ours, pid))
    });
    let (socket, pid) =
        started.map_err(|source| broken(format!("start the process that evaluates the recipe: {source}")))?;
    let mut heard = Heard::new(&recipe);
    let listened = heard.listen(socket, pid, patience);
    if listened.is_err() {
        kill(pid);
    }
    let ended = fork::wait(pid).map_or_else(|_| Ended::Code(1), Ended::of);
    // Ctrl-C goes to both processes; the child's end may be heard of first.
    let listened = match interrupt::pending() {
        Some(signal) => Err(Stopped::Interrupted(signal)),
        None => listened,
    };
    match listened {
        Ok(()) => heard.judge(ended, options),
        Err(Stopped::Late) => Err(heard.timed_out(format!(
            "the evaluation took longer than {} s",
            patience.as_secs()
        ))),
        Err(Stopped::Interrupted(signal)) => Err(Diagnostics::one(Diagnostic::new(
            Code::Interrupted,
            format!("interrupted by {}", signal.as_str()),
            None,
        ))),
        Err(Stopped::Broken(what)) => Err(broken(what)),
    }
}

/// The child's side.
fn inside(socket: OwnedFd, recipe: &Recipe, options: &EvalOptions) -> i32 {
    let channel = Channel::new(socket);
    if let Err(err) = confine::confine(options, &channel) {
        let _ = channel.send(channel::UNCONFINED, err.to_string().as_bytes());
        return 1;
    }
    // The process ends now: to take its Lua state apart piece by piece would be work for nothing.
    let mut outcome = std::mem::ManuallyDrop::new(evaluate::run(
        &recipe.name,
        &recipe.text,
        Modules::Sent(channel.clone()),
        options,
    ));
    if let Ok(run) = &mut *outcome {
        // They have been sent.
        std::mem::forget(std::mem::take(&mut run.evaluated.specs));
    }
    let report = match &*outcome {
        Ok(run) => Reported::Right(&run.evaluated),
        Err(diagnostics) => Reported::Wrong(diagnostics),
    };
    let Ok(bytes) = serde_json::to_vec(&report) else {
        return 1;
    };
    i32::from(channel.send(channel::REPORT, &bytes).is_err())
}

/// Why this side stopped listening.
enum Stopped {
    Late,
    Interrupted(Signal),
    Broken(String),
}

impl From<std::io::Error> for Stopped {
    fn from(source: std::io::Error) -> Self {
        Self::Broken(format!("talk to the process that evaluates the recipe: {source}"))
    }
}

/// What the child has said.
struct Heard<'a> {
    folder: &'a Folder,
    prefix: &'a str,
    /// The files that it has seen.
    sources: Vec<Source>,
    questions: usize,
    specs: Vec<Spec>,
    /// How many bytes they were.
    described: usize,
    report: Option<Vec<u8>>,
    panic: Option<String>,
    unconfined: Option<String>,
    /// The lines that were running when its time was over.
    lines: Option<String>,
}

impl<'a> Heard<'a> {
    fn new(recipe: &'a Recipe) -> Self {
        let (prefix, file) = recipe.split();
        Self {
            folder: &recipe.folder,
            prefix,
            sources: vec![Source::new(file, recipe.text.clone()).shown_as(recipe.name.clone())],
            questions: 0,
            specs: Vec::new(),
            described: 0,
            report: None,
            panic: None,
            unconfined: None,
            lines: None,
        }
    }

    /// Answers until the child closes its end.
    fn listen(&mut self, socket: OwnedFd, pid: HostPid, patience: Duration) -> Result<(), Stopped> {
        let mut file = File::from(socket);
        nonblocking(&file)?;
        let mut deadline = Instant::now() + patience;
        let mut is_late = false;
        let mut bytes = Vec::new();
        loop {
            match wait_for(&file, PollFlags::POLLIN, deadline) {
                Ok(()) => {}
                // It is asked where it is, as the kernel asks when the processor time is used up.
                Err(Stopped::Late) if !is_late => {
                    is_late = true;
                    deadline = Instant::now() + LAST_WORDS;
                    let pid = nix::unistd::Pid::from_raw(pid.0);
                    nix::sys::signal::kill(pid, Signal::SIGXCPU)
                        .map_err(|errno| Stopped::from(std::io::Error::from(errno)))?;
                    continue;
                }
                Err(stopped) => return Err(stopped),
            }
            let before = bytes.len();
            // As much as is missing of the frame at hand, so that a report is read in few steps.
            let missing = channel::parse_head(&bytes).map_or(0, |(_, length)| {
                (channel::HEAD + length.min(channel::LARGEST)).saturating_sub(before)
            });
            bytes.resize(before + missing.clamp(1 << 12, 1 << 20), 0);
            let count = match file.read(&mut bytes[before..]) {
                Ok(count) => count,
                Err(source) if source.kind() == ErrorKind::WouldBlock => {
                    bytes.truncate(before);
                    continue;
                }
                // It ended with something of ours unread.
                Err(source) if source.kind() == ErrorKind::ConnectionReset => 0,
                Err(source) => return Err(source.into()),
            };
            bytes.truncate(before + count);
            if count == 0 {
                return if is_late { Err(Stopped::Late) } else { Ok(()) };
            }
            self.frames(&mut bytes, &mut file, deadline)?;
        }
    }

    /// Takes the whole frames off the front of `bytes`.
    fn frames(&mut self, bytes: &mut Vec<u8>, file: &mut File, deadline: Instant) -> Result<(), Stopped> {
        let mut at = 0;
        while let Some((kind, length)) = channel::parse_head(&bytes[at..]) {
            if length.saturating_add(self.described) > channel::LARGEST {
                return Err(Stopped::Broken(format!(
                    "the recipe describes more than {} MiB",
                    channel::LARGEST >> 20
                )));
            }
            let from = at + channel::HEAD;
            let Some(frame) = bytes.get(from..from + length) else {
                break;
            };
            let text = || String::from_utf8_lossy(frame).into_owned();
            match kind {
                channel::ASK => self.answer(&text(), file, deadline)?,
                channel::SPECS => {
                    self.described += length;
                    let specs: Vec<Spec> = serde_json::from_slice(frame).map_err(|source| {
                        Stopped::Broken(format!("read what the evaluation reports: {source}"))
                    })?;
                    self.specs.extend(specs);
                }
                channel::REPORT => self.report = Some(frame.to_vec()),
                channel::PANIC => self.panic = Some(text()),
                channel::UNCONFINED => self.unconfined = Some(text()),
                channel::WHERE => self.lines = Some(text()),
                _ => {
                    return Err(Stopped::Broken(
                        "the process that evaluates the recipe said something else".to_owned(),
                    ));
                }
            }
            at = from + length;
        }
        bytes.drain(..at);
        Ok(())
    }

    fn answer(&mut self, name: &str, file: &mut File, deadline: Instant) -> Result<(), Stopped> {
        self.questions += 1;
        let found = if self.questions > MOST_QUESTIONS {
            Err(format!("more than {MOST_QUESTIONS} modules"))
        } else {
            self.folder.find(name)
        };
        let (kind, bytes) = match found {
            Ok(None) => (channel::NOTHING, Vec::new()),
            Ok(Some(Found { path, text })) => {
                let bytes = [path.as_bytes(), b"\0", text.as_bytes()].concat();
                let shown = format!("{}{path}", self.prefix);
                self.sources.push(Source::new(path, text).shown_as(shown));
                (channel::FOUND, bytes)
            }
            Err(message) => (channel::REFUSED, message.into_bytes()),
        };
        write(file, &channel::head(kind, bytes.len()), deadline)?;
        write(file, &bytes, deadline)
    }

    fn judge(self, ended: Ended, options: &EvalOptions) -> Result<Evaluated, Diagnostics> {
        if let Some(what) = self.unconfined {
            let message = format!("the recipe cannot be evaluated safely: {what}");
            return Err(broken(message));
        }
        match ended {
            Ended::Code(0) => match self.report.as_deref().map(serde_json::from_slice) {
                Some(Ok(Report::Right(evaluated))) => Ok(Evaluated {
                    specs: self.specs,
                    ..evaluated
                }),
                Some(Ok(Report::Wrong(diagnostics))) => Err(diagnostics),
                Some(Err(source)) => Err(broken(format!("read what the evaluation reports: {source}"))),
                None => Err(broken("the evaluation ended without a report")),
            },
            Ended::Code(TIME_IS_OVER) | Ended::Signal(Signal::SIGXCPU | Signal::SIGKILL) => {
                let message = format!(
                    "the recipe used more than {} s of processor time",
                    options.cpu_seconds
                );
                Err(self.timed_out(message))
            }
            // The allocator's end; what Lua itself cannot get is reported by Lua.
            Ended::Signal(Signal::SIGABRT) if self.panic.is_none() => {
                let message = format!(
                    "what the recipe describes needs more memory than its evaluation may use ({} MiB for Lua)",
                    options.memory >> 20
                );
                Err(Diagnostics::one(Diagnostic::new(Code::Memory, message, None)))
            }
            Ended::Signal(Signal::SIGSYS) => Err(self.bug("made a system call that it may not make")),
            Ended::Signal(signal) => Err(self.bug(&format!("died of {signal}"))),
            Ended::Code(code) => Err(self.bug(&format!("ended with status {code}"))),
            Ended::Late => Err(self.bug("did not end")),
        }
    }

    /// A mistake of hostel's, or somebody's `kill`.
    fn bug(self, what: &str) -> Diagnostics {
        let message = format!("the process that evaluates the recipe {what}");
        let mut diagnostic = Diagnostic::new(Code::Child, message, None);
        diagnostic.help =
            Some("please report it with the recipe, or the part of it that does this".to_owned());
        diagnostic.notes.extend(self.panic);
        Diagnostics::one(diagnostic)
    }

    fn timed_out(self, message: String) -> Diagnostics {
        let mut diagnostic = Diagnostic::new(Code::CpuTime, message, None);
        let help = "a pattern with many `?`, `*` or `-` in a row, or a loop inside one call";
        diagnostic.help = Some(help.to_owned());
        // What Lua itself runs is counted, and ends at the same instruction everywhere; this is what cannot be counted.
        let note = "how much is done in that time depends on the machine: another run may get through";
        diagnostic.notes.push(note.to_owned());
        let lines = self.lines.unwrap_or_default();
        let calls = lines.lines().filter_map(|line| {
            let (file, line) = line.rsplit_once(':')?;
            let source = self.sources.iter().find(|source| source.name == file)?;
            Some((source, line.parse::<usize>().ok()?))
        });
        for (source, line) in calls.take(10) {
            if diagnostic.place.is_none() {
                diagnostic.place = source.find().word(line, "");
            } else {
                diagnostic
                    .notes
                    .push(format!("called from {}:{line}", source.shown));
            }
        }
        Diagnostics::one(diagnostic)
    }
}

fn nonblocking(file: &File) -> Result<(), Stopped> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map(drop)
        .map_err(|errno| std::io::Error::from(errno).into())
}

/// Waits until the socket can be used.
fn wait_for(file: &File, what: PollFlags, deadline: Instant) -> Result<(), Stopped> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Stopped::Late);
        }
        let mut fds = [PollFd::new(file.as_fd(), what)];
        match interrupt::poll(&mut fds, Some(left)) {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {
                if let Some(signal) = interrupt::pending() {
                    return Err(Stopped::Interrupted(signal));
                }
            }
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
    }
}

fn write(file: &mut File, mut bytes: &[u8], deadline: Instant) -> Result<(), Stopped> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(source) if source.kind() == ErrorKind::WouldBlock => {
                wait_for(file, PollFlags::POLLOUT, deadline)?;
            }
            Err(source) if source.kind() == ErrorKind::Interrupted => {}
            // It is gone; how is seen by its end.
            Err(source) if source.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(source) => return Err(source.into()),
        }
    }
    Ok(())
}
