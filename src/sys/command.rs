//! What a command of the standard library is told to do between `fork(2)` and `execve(2)`.
//!
//! Each closure runs in a child of a process with one thread, makes system calls on what was there before the fork, and
//! neither allocates nor locks.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;

/// Tells the log what is about to be run.
pub fn tell(command: &Command) {
    let words = || std::iter::once(command.get_program()).chain(command.get_args());
    tracing::debug!(
        "run {}",
        words()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    );
}

/// The command is killed when the process (or its thread) that starts it ends.
pub fn dies_with_caller(command: &mut Command) {
    // SAFETY: getpid always succeeds and touches no memory.
    let parent = unsafe { libc::getpid() };
    // SAFETY: as the module says: two calls without memory.
    unsafe {
        command.pre_exec(move || {
            super::clone::die_with_parent()?;
            // It died before the signal was armed.
            if libc::getppid() == parent {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(libc::ESRCH))
            }
        })
    };
}

/// The command leads a session whose controlling terminal is its standard input.
pub fn leads_terminal(command: &mut Command) {
    // SAFETY: as the module says: two calls without memory.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Errno::result(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            Ok(())
        })
    };
}

/// The command begins with capability `number` inheritable and ambient, as one has that a careless manager started.
pub fn inherits_capability(command: &mut Command, number: u8) {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    // SAFETY: as the module says: capget(2) and capset(2) on memory of the closure's own, prctl(2) on numbers.
    unsafe {
        command.pre_exec(move || {
            let mut header = [VERSION, 0];
            // Effective, permitted, inheritable; the lower 32 capabilities, then the upper.
            let mut data = [[0u32; 3]; 2];
            Errno::result(libc::syscall(
                libc::SYS_capget,
                header.as_mut_ptr(),
                data.as_mut_ptr(),
            ))?;
            data[usize::from(number / 32)][2] |= 1 << (number % 32);
            Errno::result(libc::syscall(
                libc::SYS_capset,
                header.as_mut_ptr(),
                data.as_ptr(),
            ))?;
            let (raise, number) = (libc::PR_CAP_AMBIENT_RAISE, libc::c_ulong::from(number));
            Errno::result(libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0, 0))?;
            Ok(())
        })
    };
}
