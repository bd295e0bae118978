//! `hostel set`: limits of a guest, changed where it runs and kept for its next start.

use super::host::Host;
use super::observe;
use crate::error::{Error, Kind, Result};
use crate::guest::{GuestName, LimitChange, Limits};
use crate::storage::files::{self, Files};
use crate::storage::{Bounds, bounds, state, still};
use crate::sys::cgroup::Change;
use crate::sys::{effective, rlimit};

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

/// Makes the limits of its files hold, whether it runs or not.
fn bound(host: &Host, applied: &state::Applied, before: &Limits, limits: &Limits) -> Result<()> {
    let (layout, name) = (&host.layout, &applied.spec.name);
    let files = files::read(layout, name)?;
    if files == Files::Image && limits.inodes != before.inodes {
        return Err(Error::new(
            Kind::Unsupported,
            "an image keeps the number of inodes that it was made with",
        )
        .with_hint("build the guest anew, or convert it to another storage and back"));
    }
    let home = layout.guest_dir(name);
    let bounds = Bounds::of(limits, applied.xid);
    // Nothing may be made beside the walk that makes what is there count.
    let _still = if bounds::is_new(layout, &home, &files, &bounds)? {
        Some(still::hold(layout, name)?)
    } else {
        None
    };
    bounds::hold(layout, &home, &files, &bounds)
}

/// Makes `limits` hold for a guest: those of its files, and those of its processes if it runs.
pub(super) fn set_live(host: &Host, applied: &state::Applied, limits: &Limits) -> Result<Change> {
    let before = &applied.started.as_ref().unwrap_or(&applied.spec).limits;
    host.hierarchies()?.require(limits)?;
    let is_bound = |limits: &Limits| limits.disk.is_some() || limits.inodes.is_some();
    if is_bound(limits) || is_bound(before) {
        // Also what is as it was: somebody else may have changed it.
        bound(host, applied, before, limits)?;
    }
    live(host, applied, before, limits).map_err(|err| {
        if (limits.disk, limits.inodes) == (before.disk, before.inodes) {
            return err;
        }
        match bound(host, applied, limits, before) {
            Ok(()) => err,
            Err(other) => err.and_also(other),
        }
    })
}

/// Those of its processes.
fn live(host: &Host, applied: &state::Applied, before: &Limits, limits: &Limits) -> Result<Change> {
    let Some(group) = observe::group(host, applied.xid)? else {
        return Ok(Change::default());
    };
    if !group.is_populated()? {
        return Ok(Change::default());
    }
    let change = group.set(limits, before)?;
    // Who may do this without CAP_SYS_RESOURCE and CAP_SYS_NICE is the owner of their user namespace.
    let _acting = effective::act_as_owner(applied.spec.userns.then(|| applied.xid.id_base()))?;
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
