//! The signals that ask a command to end: noted by a handler, looked at between steps.
//!
//! Nothing is done in the handler but storing the number, and blocking calls are interrupted (no `SA_RESTART`),
//! so a verb that waits sees `EINTR`, asks [`check`], and undoes what it did. Handlers, unlike ignored signals,
//! are reset by `execve(2)`: what hostel runs starts with the default dispositions.
//!
//! A signal that comes after the look at [`check`] and before the call that blocks would be lost until the next one;
//! who may wait for long waits with [`poll`], which sees that one too.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFd;
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, SigmaskHow, Signal, pthread_sigmask,
    sigaction,
};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use crate::error::Context as _;
use crate::{Error, Kind, Result};

/// The first signal that asked us to end; 0 before.
static PENDING: AtomicI32 = AtomicI32::new(0);

/// Whether [`check`] has failed because of it. From then on hostel cleans up, and waits for what that takes.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// The same of an [`Alarm`].
static IS_EXPIRY_TOLD: AtomicBool = AtomicBool::new(false);

/// The signals that ask.
const ASKING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

extern "C" fn note(number: libc::c_int) {
    // The first one is kept: it decides the exit code.
    let _ = PENDING.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
}

extern "C" fn nothing(_: libc::c_int) {}

/// Whether the time of [`Alarm`] is over.
static EXPIRED: AtomicBool = AtomicBool::new(false);

extern "C" fn expire(_: libc::c_int) {
    EXPIRED.store(true, Ordering::Relaxed);
}

/// After the time is over, SIGALRM comes again and again: one that comes between a look at [`pending`] and the call
/// that blocks would otherwise be lost.
const AGAIN: Duration = Duration::from_millis(50);

/// A time after which blocking calls are interrupted and [`pending`] is SIGALRM, as if the user had asked to end.
/// One at a time in a process. A child does not inherit it.
pub struct Alarm(Timer);

impl Alarm {
    /// Makes it; it does nothing before [`Alarm::set`].
    ///
    /// # Errors
    /// [`Kind::System`] when the kernel has no timer left (`RLIMIT_SIGPENDING`).
    pub fn new() -> Result<Self> {
        install(Signal::SIGALRM, expire)?;
        let event = SigEvent::new(SigevNotify::SigevSignal {
            signal: Signal::SIGALRM,
            si_value: 0,
        });
        Timer::new(ClockId::CLOCK_MONOTONIC, event)
            .map(Self)
            .context(|| "make a timer")
    }

    /// Begins anew: the time is over after `left`; `None` is never.
    ///
    /// # Errors
    /// [`Kind::System`] if `timer_settime(2)` fails, which it does not for such times.
    pub fn set(&mut self, left: Option<Duration>) -> Result<()> {
        let (first, again) = match left {
            None => (Duration::ZERO, Duration::ZERO),
            // Zero would mean never.
            Some(left) => (left.max(Duration::from_nanos(1)), AGAIN),
        };
        let expiration = Expiration::IntervalDelayed(TimeSpec::from(first), TimeSpec::from(again));
        self.0
            .set(expiration, TimerSetTimeFlags::empty())
            .context(|| "set a timer")?;
        EXPIRED.store(false, Ordering::Relaxed);
        IS_EXPIRY_TOLD.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Notes SIGINT, SIGTERM and SIGHUP from now on, and turns SIGPIPE into `EPIPE`.
///
/// A signal that the caller ignores (`nohup(1)`, a job of a shell without job control) stays ignored. The
/// standard library ignores SIGPIPE at start, which a program that we exec would inherit: an empty handler makes
/// writes fail with `EPIPE` all the same and is reset by exec.
///
/// # Errors
/// [`Kind::System`] if `sigaction(2)` fails, which it does not for these signals.
pub fn watch() -> Result<()> {
    for signal in ASKING {
        let before = install(signal, note)?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            restore(signal, &before)?;
        }
    }
    install(Signal::SIGPIPE, nothing)?;
    Ok(())
}

/// The signal that asked us to end, if one did; SIGALRM when it was an [`Alarm`].
pub fn pending() -> Option<Signal> {
    let asked = Signal::try_from(PENDING.load(Ordering::Relaxed)).ok();
    asked.or_else(|| is_expired().then_some(Signal::SIGALRM))
}

/// Whether the time of an [`Alarm`] is over.
pub fn is_expired() -> bool {
    EXPIRED.load(Ordering::Relaxed)
}

/// Fails once a signal has asked us to end.
///
/// # Errors
/// [`Kind::Interrupted`], with the signal's name. The command line exits with 128 + its number. [`Kind::Timeout`] when
/// it was an [`Alarm`].
pub fn check() -> Result<()> {
    match pending() {
        None => Ok(()),
        Some(Signal::SIGALRM) => {
            IS_EXPIRY_TOLD.store(true, Ordering::Relaxed);
            Err(Error::new(Kind::Timeout, "the deadline is over"))
        }
        Some(signal) => {
            IS_TOLD.store(true, Ordering::Relaxed);
            Err(Error::new(
                Kind::Interrupted,
                format!("interrupted by {}", signal.as_str()),
            ))
        }
    }
}

/// What a wait does that has ended with `EINTR`: [`check`], and nothing once that has failed. What is waited for then
/// is what cleaning up takes, and a signal that comes again (Ctrl-C to the whole group, and passed on by the parent)
/// must not leave it half done.
///
/// # Errors
/// As [`check`].
pub fn heed() -> Result<()> {
    let is_told = match pending() {
        Some(Signal::SIGALRM) => &IS_EXPIRY_TOLD,
        _ => &IS_TOLD,
    };
    if is_told.load(Ordering::Relaxed) {
        Ok(())
    } else {
        check()
    }
}

/// `poll(2)` that loses no signal: `EINTR` at once when one has asked us to end and no [`check`] has said so yet,
/// however short before the call it came.
///
/// # Errors
/// Those of `ppoll(2)`.
pub fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<i32, Errno> {
    poll_unless(fds, timeout, || {
        PENDING.load(Ordering::Relaxed) != 0 && !IS_TOLD.load(Ordering::Relaxed)
    })
}

/// The same for another who notes signals: `EINTR` at once when one `is_noted`.
pub(super) fn poll_unless(
    fds: &mut [PollFd<'_>],
    timeout: Option<Duration>,
    is_noted: impl Fn() -> bool,
) -> Result<i32, Errno> {
    let mut asking = SigSet::empty();
    for signal in ASKING.into_iter().chain([Signal::SIGQUIT]) {
        asking.add(signal);
    }
    // Held back from the look to the wait, in which the kernel lets them in again.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&asking), Some(&mut before))?;
    let result = if is_noted() {
        Err(Errno::EINTR)
    } else {
        nix::poll::ppoll(fds, timeout.map(TimeSpec::from), Some(before))
    };
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    result
}

/// Forgets the noted signal, so that a second command of the same process (a line of the interactive shell) runs.
pub fn forget() {
    PENDING.store(0, Ordering::Relaxed);
    IS_TOLD.store(false, Ordering::Relaxed);
}

fn install(signal: Signal, handler: extern "C" fn(libc::c_int)) -> Result<SigAction> {
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::empty(), SigSet::empty());
    // SAFETY: both handlers are async-signal-safe: one stores to an atomic, the other does nothing.
    unsafe { sigaction(signal, &action) }.context(|| format!("handle {}", signal.as_str()))
}

fn restore(signal: Signal, action: &SigAction) -> Result<()> {
    // SAFETY: the action is SIG_IGN, which was in force before, or SIG_DFL in a test: no code of ours runs.
    let replaced = unsafe { sigaction(signal, action) };
    replaced
        .map(drop)
        .context(|| format!("ignore {}", signal.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: &str = "HOSTEL_TEST_ALONE";

    /// The noted signal is one for the whole process, and other tests ask for it: so it is a process of its own.
    #[test]
    fn the_first_signal_is_noted_and_an_ignored_one_stays_ignored() {
        if std::env::var_os(ALONE).is_some() {
            return noted();
        }
        let (_crate, module) = module_path!().split_once("::").unwrap();
        let name = format!("{module}::the_first_signal_is_noted_and_an_ignored_one_stays_ignored");
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && told.contains("1 passed"),
            "{told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn noted() {
        // A job of a shell without job control ignores SIGINT, and this may be one.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        for signal in ASKING {
            restore(signal, &default).unwrap();
        }
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        restore(Signal::SIGHUP, &ignore).unwrap();
        watch().unwrap();
        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        assert_eq!(pending(), None);
        assert!(check().is_ok());

        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        nix::sys::signal::raise(Signal::SIGINT).unwrap();
        assert_eq!(pending(), Some(Signal::SIGTERM));
        // It came before the wait and ends it; told, it is waited for what the end takes.
        assert_eq!(poll(&mut [], Some(Duration::from_hours(1))), Err(Errno::EINTR));
        let err = heed().unwrap_err();
        assert_eq!(err.kind(), Kind::Interrupted);
        assert_eq!(err.to_string(), "interrupted by SIGTERM");
        assert!(heed().is_ok());
        assert!(check().is_err());
        assert_eq!(poll(&mut [], Some(Duration::from_millis(1))), Ok(0));
        forget();
        assert!(check().is_ok());

        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(Duration::from_millis(1))).unwrap();
        // Any thread of the test program may be the one that is interrupted.
        while !is_expired() {
            std::thread::yield_now();
        }
        assert_eq!(pending(), Some(Signal::SIGALRM));
        assert_eq!(heed().unwrap_err().kind(), Kind::Timeout);
        assert!(heed().is_ok());
        assert_eq!(check().unwrap_err().kind(), Kind::Timeout);
        nix::sys::signal::raise(Signal::SIGINT).unwrap();
        assert_eq!(pending(), Some(Signal::SIGINT));
        forget();
        assert_eq!(pending(), Some(Signal::SIGALRM));
        alarm.set(None).unwrap();
        assert_eq!(pending(), None);
    }
}
