//! A command of a self-test: `hostel` itself, or an attack outside of every guest. It has a deadline, dies with this
//! process, and what it prints is read when it has ended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::HostPid;
use crate::sys::{command, interrupt, memfd, pidfd};

/// Longer than any command of a self-test takes that does not hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(super) struct Output {
    /// Its exit code, 128 and the signal that killed it.
    pub(super) code: i32,
    /// What it wrote to standard output.
    pub(super) stdout: String,
    /// What it wrote to standard error.
    pub(super) stderr: String,
}

impl Output {
    /// Fails unless it exited 0: what it was to do is not done, and a row that needs it cannot be judged.
    pub(super) fn ok(self) -> Result<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        Err(Error::new(
            Kind::External,
            format!(
                "a command of the self-test exited {}: {}",
                self.code,
                self.stderr.trim_end()
            ),
        ))
    }
}

/// A command that is being put together.
pub(super) struct Run {
    command: Command,
    stdin: Option<OwnedFd>,
    has_streams: bool,
}

/// One that runs.
pub(super) struct Running {
    child: Child,
    pidfd: OwnedFd,
    out: Option<(File, File)>,
    is_reaped: bool,
}

impl Run {
    /// A program with its arguments, and nothing of the caller's environment but the PATH.
    pub(super) fn new<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("LC_ALL", "C.UTF-8");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        Self {
            command,
            stdin: None,
            has_streams: false,
        }
    }

    /// The command itself, for what else there is to set.
    pub(super) fn with(mut self, set: impl FnOnce(&mut Command)) -> Self {
        set(&mut self.command);
        self
    }

    /// What it reads.
    pub(super) fn stdin(mut self, text: &[u8]) -> Result<Self> {
        self.stdin = Some(memfd::sealed(c"hostel-selftest", text)?);
        Ok(self)
    }

    /// All its standard streams are this terminal, which becomes its controlling one.
    pub(super) fn terminal(mut self, slave: &OwnedFd) -> Result<Self> {
        let copy = || slave.try_clone().context(|| "duplicate a terminal");
        self.command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
        command::leads_terminal(&mut self.command);
        self.has_streams = true;
        Ok(self)
    }

    /// Starts it.
    ///
    /// # Errors
    /// Also the signal that asked this process to end, if it came while nothing was waited for.
    pub(super) fn spawn(mut self) -> Result<Running> {
        interrupt::check()?;
        let mut out = None;
        if !self.has_streams {
            let file = || memfd_create(c"hostel-selftest", MFdFlags::MFD_CLOEXEC).map(File::from);
            let files = (
                file().context(|| "make a memory file")?,
                file().context(|| "make a memory file")?,
            );
            let copy = |file: &File| file.try_clone().context(|| "duplicate a memory file");
            self.command
                .stdin(self.stdin.take().map_or_else(Stdio::null, Stdio::from));
            self.command.stdout(copy(&files.0)?).stderr(copy(&files.1)?);
            out = Some(files);
        }
        if !self.has_streams {
            // A Ctrl-C is this process's to tell of; what it has started is killed.
            self.command.process_group(0);
        }
        command::dies_with_caller(&mut self.command);
        let program = self.command.get_program().to_owned();
        let child = self
            .command
            .spawn()
            .context(|| format!("run `{}`", program.to_string_lossy()))?;
        let pidfd = pidfd::open(HostPid(child.id().cast_signed()))?;
        Ok(Running {
            child,
            pidfd,
            out,
            is_reaped: false,
        })
    }

    /// Runs it to its end.
    pub(super) fn run(self) -> Result<Output> {
        self.spawn()?.wait()
    }
}

impl Running {
    /// Whether it still runs.
    pub(super) fn is_alive(&self) -> Result<bool> {
        Ok(!pidfd::wait_until(self.pidfd.as_fd(), Some(Instant::now()))?)
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> Result<Output> {
        if !pidfd::wait_until(self.pidfd.as_fd(), Some(Instant::now() + DEADLINE))? {
            return Err(Error::new(
                Kind::Timeout,
                "a command of the self-test does not end",
            ));
        }
        let status = self.child.wait().context(|| "wait for a command")?;
        self.is_reaped = true;
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let (stdout, stderr) = match &mut self.out {
            Some((out, err)) => (content(out)?, content(err)?),
            None => (String::new(), String::new()),
        };
        Ok(Output { code, stdout, stderr })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_reaped {
            // It may have ended by itself: that is as good.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn content(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind().context(|| "read an output")?;
    file.read_to_end(&mut bytes).context(|| "read an output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
