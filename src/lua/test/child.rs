//! One process a test file: it reports while it runs, and whatever it does, it ends.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::{Case, Event, FileReport, Options, Outcome, coverage, file, title};
use crate::error::{Context as _, Error, Kind, Result};
use crate::lua::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::sys::{clone, fork, interrupt};

/// How long a file that a signal ends may take to undo what it did.
const GRACE: Duration = Duration::from_secs(2);

pub(super) fn run(path: &Path, options: &Options, seen: &mut dyn FnMut(&Case)) -> Result<FileReport> {
    let began = Instant::now();
    let mut gathered = Gathered {
        report: FileReport {
            file: path.to_owned(),
            cases: Vec::new(),
            broken: None,
            output: Vec::new(),
            left_out: 0,
            blessed: Vec::new(),
            millis: 0,
            hits: coverage::Hits::default(),
        },
        running: None,
        is_done: false,
        seen,
    };
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context(|| "make a pipe")?;
    let pid = fork::fork(write, |pipe| {
        let run = || {
            // A group of its own, so that what the tests started is ended with it.
            let own = Pid::from_raw(0);
            // What a test writes to standard output itself is seen, and does not mix with the report.
            if nix::unistd::setpgid(own, own).is_err()
                || clone::die_with_parent().is_err()
                || nix::unistd::dup2_stdout(std::io::stderr()).is_err()
            {
                return 1;
            }
            file::run(path, options, File::from(pipe))
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or(101)
    })?;
    let group = Pid::from_raw(pid.0);
    let ended = follow(File::from(read), group, began + options.timeout, &mut gathered);
    // What is still there of it: a command in the background, or the file itself when its time is over.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = kill(group, Signal::SIGKILL);
    let status = fork::wait(pid)?;
    let is_late = ended?;
    gathered.end(is_late, status, options);
    gathered.report.millis = millis(began);
    Ok(gathered.report)
}

pub(super) fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Reads events until the pipe closes. Whether the time was over first.
fn follow(mut pipe: File, group: Pid, deadline: Instant, gathered: &mut Gathered<'_>) -> Result<bool> {
    let mut pending = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    let (mut deadline, mut interrupted) = (deadline, None);
    loop {
        if interrupted.is_none()
            && let Err(err) = interrupt::check()
        {
            // It undoes what it did: the signal comes to it as it would from the terminal.
            let _ = killpg(group, interrupt::pending().unwrap_or(Signal::SIGINT));
            deadline = Instant::now() + GRACE;
            interrupted = Some(err);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return interrupted.map_or(Ok(true), Err);
        }
        let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).max(1);
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno).context(|| "wait for the tests"),
        }
        let count = pipe.read(&mut chunk).context(|| "read what the tests report")?;
        if count == 0 {
            return interrupted.map_or(Ok(false), Err);
        }
        pending.extend_from_slice(&chunk[..count]);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let event = serde_json::from_slice(&line).map_err(|source| {
                Error::new(Kind::Internal, "read what the tests report").with_source(source)
            })?;
            gathered.take(event);
        }
    }
}

struct Gathered<'a> {
    report: FileReport,
    running: Option<(Vec<String>, Instant)>,
    is_done: bool,
    seen: &'a mut dyn FnMut(&Case),
}

impl Gathered<'_> {
    fn take(&mut self, event: Event) {
        match event {
            Event::Began(name) => self.running = Some((name, Instant::now())),
            Event::Ended(case) => {
                self.running = None;
                (self.seen)(&case);
                self.report.cases.push(case);
            }
            Event::Broken(diagnostics) => self.report.broken = Some(diagnostics),
            Event::Done(done) => {
                self.is_done = true;
                self.report.output = done.output;
                self.report.left_out = done.left_out;
                self.report.blessed = done.blessed;
                self.report.hits.add(done.hits);
            }
        }
    }

    /// What is said of a file that did not come to its end.
    fn end(&mut self, is_late: bool, status: i32, options: &Options) {
        if self.is_done || self.report.broken.is_some() {
            return;
        }
        let why = if is_late {
            let message = format!("the file took longer than {} s", options.timeout.as_secs_f64());
            Diagnostic::new(Code::TestTime, message, None)
                .with_help(Some("`--timeout` gives it more".to_owned()))
        } else {
            let how = match Signal::try_from(-status) {
                Ok(signal) => format!("died of {signal}"),
                Err(_) => format!("ended with status {status}"),
            };
            Diagnostic::new(Code::Child, format!("the process of the test file {how}"), None)
        };
        let mut why = why;
        if let Some((name, began)) = self.running.take() {
            why.notes.push(format!("while `{}` ran", title(&name)));
            let case = Case {
                name,
                outcome: Outcome::Failed,
                millis: millis(began),
                diagnostics: Diagnostics::one(why),
                reason: None,
                output: Vec::new(),
            };
            (self.seen)(&case);
            self.report.cases.push(case);
            let rest = Diagnostic::new(Code::Child, "the tests after it were not run", None);
            self.report.broken = Some(Diagnostics::one(rest));
        } else {
            self.report.broken = Some(Diagnostics::one(why));
        }
    }
}
