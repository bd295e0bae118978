//! What a signal to the init asks for: the signals of systemd, sysvinit and busybox, so that the guest's own
//! `poweroff`, `halt` and `reboot` work whichever it has.

use crate::sys::{SIGINT, SIGPWR, SIGRTMIN, SIGTERM, SIGUSR1, SIGUSR2};

/// What is done with the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Everything is stopped and the init ends.
    Halt,
    /// Everything is stopped and started anew.
    Reboot,
}

/// The order that `signal` gives, if any. Every other signal is ignored.
pub fn of(signal: i32) -> Option<Order> {
    const POWEROFF: i32 = SIGRTMIN + 4;
    const HALT: i32 = SIGRTMIN + 3;
    const REBOOT: i32 = SIGRTMIN + 5;
    match signal {
        // systemd's; the power supply's; busybox's and sysvinit's halt, and busybox's poweroff.
        POWEROFF | HALT | SIGPWR | SIGUSR1 | SIGUSR2 => Some(Order::Halt),
        // systemd's; ctrl-alt-del; busybox's reboot.
        REBOOT | SIGINT | SIGTERM => Some(Order::Reboot),
        _ => None,
    }
}

/// How long to wait before the next start, after an end.
pub struct Backoff {
    delay: u64,
}

impl Backoff {
    /// The first wait, in milliseconds; each is twice the one before.
    pub const FIRST: u64 = 100;
    /// The longest wait.
    pub const LAST: u64 = 30_000;
    /// What ran so long has not failed to start: the next wait is the first again.
    pub const STEADY: u64 = 10_000;

    pub fn new() -> Self {
        Self { delay: Self::FIRST }
    }

    /// The wait after a run of `up` milliseconds.
    pub fn after(&mut self, up: u64) -> u64 {
        if up >= Self::STEADY {
            self.delay = Self::FIRST;
        }
        let delay = self.delay;
        self.delay = (delay * 2).min(Self::LAST);
        delay
    }
}
