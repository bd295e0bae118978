//! `hostel set`: limits of a guest, changed where it runs and kept for its next start.

use super::host::Host;
use super::observe;
use crate::error::{Error, Kind, Result};
use crate::guest::{GuestName, LimitChange, Limits};
use crate::storage::state;
use crate::sys::cgroup::Change;
use crate::sys::rlimit;

/// Changes limits of a guest: at once where it runs, and in what is applied. What the kernel at hand cannot do is
/// refused before anything is changed; a failure in the middle takes back what was done.
pub fn set(host: &Host, name: &GuestName, changes: &[LimitChange]) -> Result<Change> {
    let _lock = super::lock(host, name)?;
    let mut applied = observe::applied(host, name)?;
    let mut limits = applied.spec.limits.clone();
    for change in changes {
        change.apply_to(&mut limits);
    }
    let change = set_live(host, &applied, &limits)?;
    applied.spec.limits = limits.clone();
    if let Some(started) = &mut applied.started {
        started.limits = limits;
    }
    state::write(&host.layout, name, &applied)?;
    Ok(change)
}

/// Makes `limits` hold for a guest, if it runs.
pub(super) fn set_live(host: &Host, applied: &state::Applied, limits: &Limits) -> Result<Change> {
    let before = &applied.started.as_ref().unwrap_or(&applied.spec).limits;
    if limits.disk != before.disk {
        return Err(Error::new(
            Kind::Unsupported,
            "`limits.disk` cannot be changed while a guest exists",
        )
        .with_hint("change it in the recipe and rebuild the guest"));
    }
    host.hierarchies()?.require(limits)?;
    let Some(group) = observe::group(host, applied.xid)? else {
        return Ok(Change::default());
    };
    if !group.is_populated()? {
        return Ok(Change::default());
    }
    let change = group.set(limits, before)?;
    for pid in group.pids()? {
        for (kind, limit) in &limits.rlimits {
            if before.rlimits.get(kind) != Some(limit) {
                rlimit::set(Some(pid), *kind, *limit)?;
            }
        }
        if let Some(nice) = limits.nice.filter(|_| limits.nice != before.nice) {
            rlimit::set_nice(pid, nice)?;
        }
    }
    Ok(change)
}
