//! A child that goes on with a copy of this process and reports over a pipe: `fork(2)`.
//!
//! For a guest's processes there is [`clone`](super::clone). This is glibc's `fork`, which makes its allocator
//! usable in the child even when another thread held its lock (`pthread_atfork(3)`), because the child of an
//! evaluation runs Lua.

use std::os::fd::FromRawFd;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::clone::exit_now;
use crate::error::{Context, Result};
use crate::guest::HostPid;

/// Starts a child that runs `inside` with the writing end of `pipe`, and ends with its result as exit status. Every
/// other descriptor is closed there, standard error excepted.
pub fn fork(pipe: OwnedFd, inside: impl FnOnce(OwnedFd) -> i32) -> Result<HostPid> {
    // SAFETY: the child runs only `inside`, which may allocate (see above), and then ends.
    let pid = unsafe { libc::fork() };
    match Errno::result(pid).context(|| "fork a process")? {
        0 => {
            let code = match only(pipe) {
                Ok(pipe) => inside(pipe),
                Err(_) => 1,
            };
            exit_now(code)
        }
        pid => Ok(HostPid(pid)),
    }
}

/// The pipe as descriptor 3, with nothing above it; standard input and output are /dev/null.
fn only(pipe: OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_CLOEXEC;
    let null = nix::fcntl::open("/dev/null", flags, nix::sys::stat::Mode::empty())?;
    // These first: the null device may have got number 3.
    for standard in [0, 1] {
        // SAFETY: dup2(2) of an open descriptor; standard input and output belong to nobody in this child.
        Errno::result(unsafe { libc::dup2(null.as_raw_fd(), standard) })?;
    }
    // SAFETY: dup2(2) of an open descriptor; 3 is not 0, 1 or 2, and whatever it was is not used again.
    let fd = Errno::result(unsafe { libc::dup2(pipe.as_raw_fd(), 3) })?;
    // The copies that are closed below must not be closed again by their owners.
    std::mem::forget(pipe);
    std::mem::forget(null);
    // SAFETY: close_range(2) closes descriptors of this child that nothing of it uses: it runs `inside` only.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, 4, libc::c_uint::MAX, 0) })?;
    // SAFETY: 3 was made above and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Keeps the allocator of a child that may open nothing from opening files: to count processors when it thinks of a
/// second arena, and to ask for `vm.overcommit_memory` before it gives memory of a thread's arena back (glibc's
/// `shrink_heap`; a child of a process with threads has such an arena). It gives nothing back, and ends soon.
pub fn settle_allocator() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, libc::c_int::MAX),
        // Set by hand, the threshold above fixes this one at its least, where it would rise with use.
        (libc::M_MMAP_THRESHOLD, 4 << 20),
    ] {
        // SAFETY: mallopt(3) sets a number in the allocator; this process has one thread.
        unsafe { libc::mallopt(what, value) };
    }
}

/// Closes standard input, output and error of a child that nobody shall hear, see or feed.
pub fn close_standard() {
    for standard in 0..=2 {
        // SAFETY: close(2) of a number. The caller is a child of [`fork`] that has nothing but its pipe, and writes
        // nowhere else; one that is closed already is no failure.
        unsafe { libc::close(standard) };
    }
}

/// Waits for a child's end: its exit status, or the signal that ended it as a negative number.
pub fn wait(pid: HostPid) -> Result<i32> {
    use nix::sys::wait::{WaitStatus, waitpid};
    loop {
        match waitpid(nix::unistd::Pid::from_raw(pid.0), None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(-(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context(|| format!("wait for process {pid}")),
        }
    }
}
