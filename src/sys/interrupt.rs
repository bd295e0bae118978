//! The signals that ask a command to end: noted by a handler, looked at between steps.
//!
//! Nothing is done in the handler but storing the number, and blocking calls are interrupted (no `SA_RESTART`),
//! so a verb that waits sees `EINTR`, asks [`check`], and undoes what it did. Handlers, unlike ignored signals,
//! are reset by `execve(2)`: what hostel runs starts with the default dispositions.

use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::Context as _;
use crate::{Error, Kind, Result};

/// The first signal that asked us to end; 0 before.
static PENDING: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(number: libc::c_int) {
    // The first one is kept: it decides the exit code.
    let _ = PENDING.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
}

extern "C" fn nothing(_: libc::c_int) {}

/// Notes SIGINT, SIGTERM and SIGHUP from now on, and turns SIGPIPE into `EPIPE`.
///
/// A signal that the caller ignores (`nohup(1)`, a job of a shell without job control) stays ignored. The
/// standard library ignores SIGPIPE at start, which a program that we exec would inherit: an empty handler makes
/// writes fail with `EPIPE` all the same and is reset by exec.
///
/// # Errors
/// [`Kind::System`] if `sigaction(2)` fails, which it does not for these signals.
pub fn watch() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let before = install(signal, note)?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            restore(signal, &before)?;
        }
    }
    install(Signal::SIGPIPE, nothing)?;
    Ok(())
}

/// The signal that asked us to end, if one did.
pub fn pending() -> Option<Signal> {
    Signal::try_from(PENDING.load(Ordering::Relaxed)).ok()
}

/// Fails once a signal has asked us to end.
///
/// # Errors
/// [`Kind::Interrupted`], with the signal's name. The command line exits with 128 + its number.
pub fn check() -> Result<()> {
    match pending() {
        None => Ok(()),
        Some(signal) => Err(Error::new(
            Kind::Interrupted,
            format!("interrupted by {}", signal.as_str()),
        )),
    }
}

/// Forgets the noted signal, so that a second command of the same process (a line of the interactive shell) runs.
pub fn forget() {
    PENDING.store(0, Ordering::Relaxed);
}

fn install(signal: Signal, handler: extern "C" fn(libc::c_int)) -> Result<SigAction> {
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::empty(), SigSet::empty());
    // SAFETY: both handlers are async-signal-safe: one stores to an atomic, the other does nothing.
    unsafe { sigaction(signal, &action) }.context(|| format!("handle {}", signal.as_str()))
}

fn restore(signal: Signal, action: &SigAction) -> Result<()> {
    // SAFETY: the action was in force before and is SIG_IGN: no code of ours runs.
    let replaced = unsafe { sigaction(signal, action) };
    replaced
        .map(drop)
        .context(|| format!("ignore {}", signal.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: the noted signal is one for the whole process.
    #[test]
    fn the_first_signal_is_noted_and_an_ignored_one_stays_ignored() {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        restore(Signal::SIGHUP, &ignore).unwrap();
        watch().unwrap();
        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        assert_eq!(pending(), None);
        assert!(check().is_ok());

        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        nix::sys::signal::raise(Signal::SIGINT).unwrap();
        assert_eq!(pending(), Some(Signal::SIGTERM));
        let err = check().unwrap_err();
        assert_eq!(err.kind(), Kind::Interrupted);
        assert_eq!(err.to_string(), "interrupted by SIGTERM");
        forget();
        assert!(check().is_ok());
    }
}
