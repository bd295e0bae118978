//! Work in a process of its own that reports over a pipe, with a deadline.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::guest::HostPid;
use crate::sys::fork;

/// The most that is read from a child.
const LARGEST: u64 = 256 << 20;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(Signal),
    /// It was killed because it took too long.
    Late,
}

/// Runs `inside` in a child and returns all that it writes.
pub(super) fn in_child(
    patience: Duration,
    inside: impl FnOnce(OwnedFd) -> i32,
) -> crate::Result<(Vec<u8>, Ended)> {
    use crate::error::Context as _;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context(|| "make a pipe")?;
    let pid = start(write, inside)?;
    let outcome = drain(read, Instant::now() + patience);
    if outcome.is_err() {
        kill(pid);
    }
    let status = fork::wait(pid)?;
    let bytes = match outcome {
        Ok(bytes) => bytes,
        Err(None) => return Ok((Vec::new(), Ended::Late)),
        Err(Some(source)) => return Err(crate::Error::io("read from the child", source)),
    };
    Ok((bytes, Ended::of(status)))
}

/// Starts a child that has `pipe` and ends with the code of `inside`.
pub(super) fn start(pipe: OwnedFd, inside: impl FnOnce(OwnedFd) -> i32) -> crate::Result<HostPid> {
    fork::fork(pipe, |pipe| {
        // A panic must not run on into the parent's code, which believes that it is the only one.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inside(pipe))).unwrap_or(101)
    })
}

impl Ended {
    /// From what [`fork::wait`] says.
    pub(super) fn of(status: i32) -> Self {
        match Signal::try_from(-status) {
            Ok(signal) => Self::Signal(signal),
            Err(_) => Self::Code(status),
        }
    }
}

pub(super) fn kill(pid: HostPid) {
    // The child leads a process group when it runs commands; one that has ended already is no failure.
    let pid = nix::unistd::Pid::from_raw(pid.0);
    let _ = nix::sys::signal::killpg(pid, Signal::SIGKILL);
    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
}

/// Everything until the writer closes; `Err(None)` when the deadline passes.
fn drain(pipe: OwnedFd, deadline: Instant) -> Result<Vec<u8>, Option<std::io::Error>> {
    let mut file = File::from(pipe);
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(None);
        }
        let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).max(1);
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(Some(errno.into())),
        }
        let count = file.read(&mut chunk).map_err(Some)?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk[..count]);
        if bytes.len() as u64 > LARGEST {
            return Err(Some(std::io::ErrorKind::FileTooLarge.into()));
        }
    }
}
