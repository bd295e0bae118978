//! Processes by descriptor: `pidfd_open(2)`, `pidfd_send_signal(2)`, `waitid(2)`, `setns(2)`.
//!
//! A number can be another process by the time it is used; a descriptor cannot.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sched::CloneFlags;

use crate::error::{Context, Error, Result};
use crate::guest::HostPid;
use crate::sys::interrupt;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By `exit` with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    /// The exit code that a shell would give: the code, or 128 and the signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Ended::Code(code) => code,
            Ended::Signal(signal) => 128 + signal,
        }
    }
}

/// A descriptor of a process that runs.
pub fn open(pid: HostPid) -> Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes a number and flags.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, 0) })
        .context(|| format!("open process {pid}"))?;
    #[allow(clippy::cast_possible_truncation, reason = "a descriptor is an i32")]
    // SAFETY: the kernel returned a new descriptor (close-on-exec always) that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal. ESRCH when it has ended.
pub fn signal(pidfd: &OwnedFd, signal: i32) -> Result<(), Errno> {
    // SAFETY: pidfd_send_signal(2) with a null siginfo acts as kill(2).
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// Waits until a child ends.
pub fn wait(pidfd: &OwnedFd) -> Result<Ended> {
    loop {
        // SAFETY: siginfo_t is plain data for which all zeroes is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = pidfd.as_raw_fd().cast_unsigned();
        // SAFETY: waitid(2) writes to `info`, which lives across the call.
        let done = Errno::result(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) });
        match done {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::os("wait for a child", errno)),
            Ok(_) => {
                // SAFETY: waitid(2) succeeded, so the SIGCHLD fields are set.
                let status = unsafe { info.si_status() };
                return Ok(if info.si_code == libc::CLD_EXITED {
                    Ended::Code(status)
                } else {
                    Ended::Signal(status)
                });
            }
        }
    }
}

/// Whether the process (a child or not) has ended by `deadline`; `None` waits for ever. A signal that asks hostel to
/// end is [`Kind::Interrupted`](crate::Kind), once: see [`interrupt::heed`].
pub fn wait_until(pidfd: BorrowedFd, deadline: Option<Instant>) -> Result<bool> {
    wait_with(pidfd, deadline, interrupt::poll, interrupt::heed)
}

/// The same with another `poll(2)`, and with what is done when a signal has ended that.
pub(super) fn wait_with(
    pidfd: BorrowedFd,
    deadline: Option<Instant>,
    poll: impl Fn(&mut [PollFd<'_>], Option<Duration>) -> Result<i32, Errno>,
    heed: impl Fn() -> Result<()>,
) -> Result<bool> {
    loop {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) if deadline.is_some_and(|d| Instant::now() < d) => {}
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => heed()?,
            Err(errno) => return Err(Error::os("wait for a process", errno)),
        }
    }
}

/// Joins `namespaces` of a process, all or none (Linux 5.8).
pub fn join(pidfd: impl AsFd, namespaces: CloneFlags) -> Result<(), Errno> {
    nix::sched::setns(pidfd, namespaces)
}
