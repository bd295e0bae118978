//! `hostel volume snapshot`, `snapshots` and `rollback`: a volume as it was.

use super::{hold, lock, refuse_running};
use crate::error::Result;
use crate::guest::VolumeName;
use crate::life::hooks::{HookRunner, around_copy};
use crate::life::host::Host;
use crate::life::snapshot::Taken;
use crate::storage::snapshot::{self, Label, Snapshot};
use crate::storage::{Home, Progress, volume};

/// Takes a snapshot of a volume, which guests may have mounted, and keeps the newest `keep` of all.
pub fn snapshot(
    host: &Host,
    name: &VolumeName,
    label: Option<&Label>,
    keep: Option<usize>,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Taken> {
    let held = hold(host, name)?;
    let home = Home::of_volume(&host.layout, name);
    let label = around_copy(hooks, &held.writers, || {
        snapshot::create(&host.layout, &home, held.source(host)?, label, progress)
    })?;
    let removed = match keep {
        Some(keep) => snapshot::retain(&host.layout, &home, keep)?,
        None => Vec::new(),
    };
    Ok(Taken { label, removed })
}

/// The snapshots of a volume, the oldest first.
pub fn list(host: &Host, name: &VolumeName) -> Result<Vec<Snapshot>> {
    volume::required(&host.layout, name)?;
    snapshot::list(&host.layout, &Home::of_volume(&host.layout, name))
}

/// Removes a snapshot.
pub fn remove(host: &Host, name: &VolumeName, label: &Label) -> Result<()> {
    let _lock = lock(host, name)?;
    snapshot::remove(&host.layout, &Home::of_volume(&host.layout, name), label)
}

/// Makes a volume, which no guest that runs has mounted, what it was. What has changed since is lost.
pub fn rollback(host: &Host, name: &VolumeName, label: &Label, progress: &dyn Progress) -> Result<()> {
    let _lock = lock(host, name)?;
    refuse_running(host, name, "what is in it is exchanged")?;
    let kept = volume::required(&host.layout, name)?;
    let home = Home::of_volume(&host.layout, name);
    snapshot::restore(&host.layout, &home, label, &kept.bounds(), progress)
}
