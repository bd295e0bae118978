//! `hostel pause`, `resume` and `kill`: all processes of a guest at once, by its cgroup.

use std::time::{Duration, Instant};

use super::host::Host;
use super::observe;
use crate::error::{Error, Kind, Result};
use crate::guest::GuestName;
use crate::sys::pidfd;

/// A process in uninterruptible sleep freezes when it wakes.
const DEADLINE: Duration = Duration::from_secs(10);

/// Stops every process of a guest from running until [`resume`]. They keep their memory, files and sockets.
pub fn pause(host: &Host, name: &GuestName) -> Result<()> {
    let _lock = super::lock(host, name)?;
    let applied = observe::applied(host, name)?;
    let group = observe::running_group(host, name, applied.xid)?;
    if group.is_frozen()? {
        return Err(
            Error::new(Kind::State, format!("guest `{name}` is paused already"))
                .with_hint(format!("`hostel resume {name}` lets it go on")),
        );
    }
    group.freeze(Instant::now() + DEADLINE)
}

/// Lets a paused guest go on.
pub fn resume(host: &Host, name: &GuestName) -> Result<()> {
    let _lock = super::lock(host, name)?;
    let applied = observe::applied(host, name)?;
    let group = observe::running_group(host, name, applied.xid)?;
    if !group.is_frozen()? {
        return Err(Error::new(Kind::State, format!("guest `{name}` is not paused")));
    }
    group.thaw(Instant::now() + DEADLINE)
}

/// Sends a signal to every process of a guest. SIGKILL ends the guest; what it leaves on the host goes with the
/// next `start`, `stop` or `gc`.
///
/// No lock: a guest that hangs is killed whatever another command waits for.
pub fn kill(host: &Host, name: &GuestName, signal: i32) -> Result<()> {
    let applied = observe::applied(host, name)?;
    let group = observe::running_group(host, name, applied.xid)?;
    if signal == libc::SIGKILL {
        return group.kill();
    }
    for pid in group.pids()? {
        // One that ends in between is no failure.
        if let Some(pidfd) = observe::member(&group, pid)? {
            let _ = pidfd::signal(&pidfd, signal);
        }
    }
    Ok(())
}
