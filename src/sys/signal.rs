//! Signals that ask hostel to end while it waits for a process: noted, to be passed on.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use nix::poll::PollFd;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};

use crate::error::{Context, Error, Kind, Result};
use crate::sys::{interrupt, pidfd};

/// The signal that came last and has not been taken; negative when a terminal sent it.
static NOTED: AtomicI32 = AtomicI32::new(0);

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// Which.
    pub signal: i32,
    /// The terminal sent it, to the whole foreground process group: a child of hostel's has got it too.
    pub is_from_terminal: bool,
}

/// While it lives, SIGINT, SIGQUIT, SIGTERM and SIGHUP end the system call that hostel waits in (EINTR), not
/// hostel.
pub struct Notes(Vec<(Signal, SigAction)>);

impl Notes {
    /// Begins to note.
    pub fn begin() -> Result<Self> {
        // Without SA_RESTART: the wait is to be interrupted.
        let action = SigAction::new(SigHandler::SigAction(note), SaFlags::SA_SIGINFO, SigSet::empty());
        let mut saved = Vec::new();
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            // SAFETY: the handler touches nothing but an atomic integer (signal-safety(7)).
            let before = unsafe { nix::sys::signal::sigaction(signal, &action) };
            saved.push((signal, before.context(|| format!("handle {signal}"))?));
        }
        Ok(Self(saved))
    }

    /// Whether the process (a child or not) has ended by `deadline`; [`Kind::Interrupted`](crate::Kind) when a signal
    /// came that nobody has taken, however short before the call.
    pub fn wait_until(&self, pidfd: BorrowedFd, deadline: Option<Instant>) -> Result<bool> {
        let is_noted = || NOTED.load(Ordering::Relaxed) != 0;
        let poll = |fds: &mut [PollFd<'_>], timeout| interrupt::poll_unless(fds, timeout, is_noted);
        pidfd::wait_with(pidfd, deadline, poll, || {
            Err(Error::new(Kind::Interrupted, "a signal was noted"))
        })
    }

    /// The signal that came, once.
    pub fn take(&self) -> Option<Noted> {
        match NOTED.swap(0, Ordering::Relaxed) {
            0 => None,
            noted => Some(Noted {
                signal: noted.abs(),
                is_from_terminal: noted < 0,
            }),
        }
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        for (signal, action) in &self.0 {
            // SAFETY: it was the action of this very signal before.
            let _ = unsafe { nix::sys::signal::sigaction(*signal, action) };
        }
    }
}

/// Ignores what would end this process by a keyboard or a caller, and is passed on by another.
pub fn ignore_ends() -> Result<()> {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: to ignore a signal installs no handler.
        let ignored = unsafe { nix::sys::signal::sigaction(signal, &action) };
        ignored.context(|| format!("ignore {signal}"))?;
    }
    Ok(())
}

extern "C" fn note(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid siginfo to a handler set with SA_SIGINFO.
    let code = unsafe { (*info).si_code };
    NOTED.store(
        if code == libc::SI_KERNEL { -signal } else { signal },
        Ordering::Relaxed,
    );
}
