//! Signals, and waiting for them and for descriptors.

use super::{Fd, O_CLOEXEC, O_NONBLOCK, Result, check, read};
use crate::arch::{self, syscall};

pub const SIGHUP: i32 = 1;
pub const SIGINT: i32 = 2;
pub const SIGKILL: i32 = 9;
pub const SIGUSR1: i32 = 10;
pub const SIGUSR2: i32 = 12;
pub const SIGTERM: i32 = 15;
pub const SIGCHLD: i32 = 17;
pub const SIGCONT: i32 = 18;
pub const SIGPWR: i32 = 30;
/// The kernel's first real-time signal is 32, the C libraries' `SIGRTMIN` 34: they keep two for themselves.
pub const SIGRTMIN: i32 = 34;

/// Gives every signal its default action. `SIG_IGN` survives `execve(2)`, and the Rust runtime that started this
/// program ignores SIGPIPE.
pub fn default_signals() {
    // struct sigaction of the kernel: handler, flags, restorer, mask.
    let default = [0usize; 4];
    for signal in 1..=64 {
        let arguments = [signal, default.as_ptr() as usize, 0, 8, 0, 0];
        // SAFETY: the kernel reads a whole `struct sigaction`; no handler is installed. SIGKILL and SIGSTOP are
        // refused, which changes nothing.
        let _ = check(unsafe { syscall(arch::RT_SIGACTION, arguments) });
    }
}

/// Blocks all signals, or none.
pub fn block_signals(all: bool) -> Result<()> {
    const SIG_SETMASK: usize = 2;
    let mask = if all { u64::MAX } else { 0 };
    // SAFETY: the kernel reads the eight bytes of a signal mask.
    check(unsafe {
        syscall(
            arch::RT_SIGPROCMASK,
            [SIG_SETMASK, &raw const mask as usize, 0, 8, 0, 0],
        )
    })
    .map(drop)
}

/// A descriptor to read blocked signals from.
///
/// A blocked signal is queued even when its action is to be ignored, and even for process 1, which the kernel
/// otherwise shields from signals that it does not handle (`sig_ignored` in kernel/signal.c).
pub fn signalfd() -> Result<Fd> {
    let mask = u64::MAX;
    let arguments = [
        usize::MAX,
        &raw const mask as usize,
        8,
        O_CLOEXEC | O_NONBLOCK,
        0,
        0,
    ];
    // SAFETY: the kernel reads the eight bytes of a signal mask.
    check(unsafe { syscall(arch::SIGNALFD4, arguments) }).map(Fd::own)
}

/// The next signal that came, if any.
pub fn next_signal(fd: &Fd) -> Option<i32> {
    // struct signalfd_siginfo: 128 bytes, the number first.
    let mut info = [0u8; 128];
    match read(fd.raw(), &mut info) {
        Ok(128) => Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]])),
        _ => None,
    }
}

/// What is waited for on a descriptor, and what came.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Poll {
    fd: i32,
    events: i16,
    pub ready: i16,
}

impl Poll {
    /// Ignored by `ppoll(2)`.
    pub const NONE: Poll = Poll {
        fd: -1,
        events: 0,
        ready: 0,
    };

    pub fn readable(fd: &Fd) -> Self {
        Poll {
            fd: fd.0,
            events: 1,
            ready: 0,
        }
    }
}

/// Waits until a descriptor is ready or `timeout` milliseconds have passed; without one, for ever.
pub fn poll(fds: &mut [Poll], timeout: Option<u64>) {
    let time = timeout.map(|ms| [ms / 1000, ms % 1000 * 1_000_000]);
    let time = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
    for fd in fds.iter_mut() {
        fd.ready = 0;
    }
    // An interruption or a failure looks like a timeout: the loop looks at everything again.
    // SAFETY: the kernel reads and writes as many entries as the slice has, and reads two numbers of time.
    let _ = check(unsafe { syscall(arch::PPOLL, [fds.as_mut_ptr() as usize, fds.len(), time, 0, 8, 0]) });
}
