//! Commands with a deadline and an exact outcome.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Seek as _, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::trace::{Step, Traced, Victim, trace};

/// A command that is being put together. Without a deadline of its own it has 30 seconds.
#[must_use]
#[derive(Debug)]
pub(crate) struct Hostel {
    command: Command,
    stdin: Vec<u8>,
    deadline: Duration,
    text: String,
    is_silent: bool,
}

/// A tool of the host, in the clean environment that `hostel` gets too.
pub(crate) fn tool<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Hostel {
    let mut command = Command::new(program.as_ref());
    let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let mut text = program.as_ref().to_string_lossy().into_owned();
    for arg in &args {
        let _ = write!(text, " {}", arg.to_string_lossy());
    }
    command
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // How long work lasts is the machine's affair: what a test compares does not depend on it.
        .env("HOSTEL_PROGRESS", "never");
    for proxy in [
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    ] {
        if let Some(value) = std::env::var_os(proxy) {
            command.env(proxy, value);
        }
    }
    Hostel {
        command,
        stdin: vec![],
        deadline: Duration::from_secs(30),
        text,
        is_silent: false,
    }
}

#[allow(
    dead_code,
    reason = "the vocabulary of the test files, whichever of it they use today"
)]
impl Hostel {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn dir(mut self, dir: impl AsRef<std::path::Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    pub(crate) fn deadline(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// Its output goes nowhere, so what it leaves running is no concern of the caller's: for commands that are killed.
    pub(crate) fn silent(mut self) -> Self {
        self.is_silent = true;
        self
    }

    /// Runs it with nothing on stdin and its output nowhere, traced, to its end or to a step at which it is killed.
    pub(crate) fn traced(mut self, until: Option<(&Step, Victim)>) -> Traced {
        // A file: what it leaves running may write for longer than it lives.
        let mut said = tempfile::tempfile().expect("a file");
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.try_clone().expect("another descriptor"));
        let mut traced = trace(self.command, until);
        said.rewind().expect("to the start");
        said.read_to_string(&mut traced.stderr)
            .expect("read what it said");
        traced
    }

    /// Starts it with nothing on stdin, its output piped, in a process group of its own.
    pub(crate) fn spawn(mut self) -> Running {
        self.command.stdin(if self.stdin.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        });
        let output = || {
            if self.is_silent {
                Stdio::null()
            } else {
                Stdio::piped()
            }
        };
        self.command.stdout(output()).stderr(output()).process_group(0);
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("`{}`: {error}", self.text));
        if let Some(mut stdin) = child.stdin.take() {
            // What a test writes fits a pipe's buffer; a command that does not read it is free to.
            let _ = stdin.write_all(&self.stdin);
        }
        Running {
            end: Instant::now() + self.deadline * slowness(),
            child,
            text: self.text,
            stdout: vec![],
            stderr: vec![],
            is_reaped: false,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Output {
        self.spawn().wait()
    }

    /// Runs it, and fails unless it exits 0.
    pub(crate) fn ok(self) -> Output {
        self.run().code(0)
    }
}

/// A command that runs. Dropped, it is killed with its process group and reaped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    text: String,
    end: Instant,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    is_reaped: bool,
}

#[allow(
    dead_code,
    reason = "the vocabulary of the test files, whichever of it they use today"
)]
impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("signal a child");
    }

    /// Waits until stdout holds `text`, and gives everything that stdout has held so far.
    pub(crate) fn wait_stdout(&mut self, text: &str) -> String {
        loop {
            let so_far = String::from_utf8_lossy(&self.stdout).into_owned();
            if so_far.contains(text) {
                return so_far;
            }
            let is_open = self.read_once(Duration::from_millis(200));
            assert!(
                is_open || String::from_utf8_lossy(&self.stdout).contains(text),
                "`{}` ended before it said {text:?}\n{}",
                self.text,
                self.transcript()
            );
        }
    }

    /// Waits for its end. A process that outlives it with its output still open is a failure: a caller over ssh, or
    /// in `$(...)`, would hang.
    pub(crate) fn wait(mut self) -> Output {
        let mut status = None;
        loop {
            let mut is_open = self.read_once(Duration::from_millis(50));
            if let Some(status) = status {
                self.is_reaped = true;
                // What it wrote last is read before its end of file is seen, and a loaded machine takes its time.
                let closed_by = Instant::now() + Duration::from_secs(2) * slowness();
                while is_open && Instant::now() < closed_by {
                    is_open = self.read_once(Duration::from_millis(50));
                }
                assert!(
                    !is_open,
                    "`{}` ended but left its output open in another process\n{}",
                    self.text,
                    self.transcript()
                );
                return self.output(status);
            }
            // With both pipes closed its exit is near; otherwise it is asked for between reads, because a process
            // left behind may hold a pipe for ever.
            if is_open {
                status = self.child.try_wait().expect("wait for a child");
            } else {
                let child = &mut self.child;
                eventually(
                    self.end.saturating_duration_since(Instant::now()) / slowness(),
                    || {
                        status = child.try_wait().expect("wait for a child");
                        status.is_some()
                    },
                );
                self.check_deadline();
            }
        }
    }

    fn output(&mut self, status: ExitStatus) -> Output {
        Output {
            text: std::mem::take(&mut self.text),
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&self.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&self.stderr).into_owned(),
        }
    }

    fn check_deadline(&self) {
        assert!(
            Instant::now() < self.end,
            "`{}` passed its deadline\n{}",
            self.text,
            self.transcript()
        );
    }

    fn transcript(&self) -> String {
        let (out, err) = (
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr),
        );
        format!("--- stdout\n{out}--- stderr\n{err}")
    }

    /// Reads what is there, waiting at most `patience` for it. False when both pipes are closed.
    fn read_once(&mut self, patience: Duration) -> bool {
        self.check_deadline();
        let out = self.child.stdout.as_ref().map(AsFd::as_fd);
        let err = self.child.stderr.as_ref().map(AsFd::as_fd);
        let mut fds: Vec<PollFd> = [out, err]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        if fds.is_empty() {
            return false;
        }
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut fds, patience);
        if out.is_some_and(is_ready) && !take(self.child.stdout.as_mut(), &mut self.stdout) {
            self.child.stdout = None;
        }
        let err = self.child.stderr.as_ref().map(AsFd::as_fd);
        if err.is_some_and(is_ready) && !take(self.child.stderr.as_mut(), &mut self.stderr) {
            self.child.stderr = None;
        }
        self.child.stdout.is_some() || self.child.stderr.is_some()
    }
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// One read of a pipe that is ready. False at its end.
fn take(pipe: Option<&mut impl Read>, into: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 8192];
    match pipe.map(|pipe| pipe.read(&mut buffer)) {
        Some(Ok(n)) => {
            into.extend_from_slice(&buffer[..n]);
            n > 0
        }
        Some(Err(error)) => error.kind() == ErrorKind::Interrupted,
        None => false,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_reaped {
            let group = nix::unistd::Pid::from_raw(self.pid());
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Output {
    text: String,
    /// Its exit code, or 128 and the signal that ended it.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

#[allow(
    dead_code,
    reason = "the vocabulary of the test files, whichever of it they use today"
)]
impl Output {
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(self.status, expected, "exit code of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stdout(self, expected: &str) -> Self {
        assert_eq!(self.stdout, expected, "stdout of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stderr(self, expected: &str) -> Self {
        assert_eq!(self.stderr, expected, "stderr of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stdout_has(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "no {part:?} in the stdout of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn lacks(self, part: &str) -> Self {
        let is_there = self.stdout.contains(part) || self.stderr.contains(part);
        assert!(!is_there, "{part:?} in the output of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stderr_has(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "no {part:?} in the stderr of {self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            text,
            status,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "`{text}` (exit {status})\n--- stdout\n{stdout}--- stderr\n{stderr}"
        )
    }
}

/// By how much deadlines are stretched: `HOSTEL_TEST_SLOWNESS`, for emulated machines.
pub(crate) fn slowness() -> u32 {
    let factor = std::env::var("HOSTEL_TEST_SLOWNESS")
        .ok()
        .and_then(|text| text.parse().ok());
    factor.unwrap_or(1)
}

/// Asks until the answer is yes; false when `within` has passed. For what the kernel gives no event for.
pub(crate) fn eventually(within: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within * slowness();
    let mut pause = Duration::from_millis(1);
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
