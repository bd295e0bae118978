//! `hostel snapshot` and `rollback`: a guest's files as they were.

use super::hooks::{HookRunner, around_copy};
use super::host::Host;
use super::observe::{self, State};
use crate::error::{Error, Kind, Result};
use crate::guest::GuestName;
use crate::storage::snapshot::{self, Label, Snapshot};
use crate::storage::still::Source;
use crate::storage::{Bounds, Home, Progress};

/// What a snapshot has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its name.
    pub label: Label,
    /// The older ones that gave way to it.
    pub removed: Vec<Label>,
}

/// Takes a snapshot of a guest, which may run, and keeps the newest `keep` of all.
pub fn snapshot(
    host: &Host,
    name: &GuestName,
    label: Option<&Label>,
    keep: Option<usize>,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Taken> {
    let _lock = super::lock(host, name)?;
    let applied = observe::applied(host, name)?;
    let home = Home::of_guest(&host.layout, name);
    let create = || {
        let source = Source::look(&host.layout, name)?;
        snapshot::create(&host.layout, &home, source, label, progress)
    };
    let label = if observe::status(host, name)?.state == State::Running {
        around_copy(hooks, [&applied], create)?
    } else {
        create()?
    };
    let removed = match keep {
        Some(keep) => snapshot::retain(&host.layout, &home, keep)?,
        None => Vec::new(),
    };
    Ok(Taken { label, removed })
}

/// The snapshots of a guest, the oldest first.
pub fn list(host: &Host, name: &GuestName) -> Result<Vec<Snapshot>> {
    observe::applied(host, name)?;
    snapshot::list(&host.layout, &Home::of_guest(&host.layout, name))
}

/// Removes snapshots.
pub fn remove(host: &Host, name: &GuestName, label: &Label) -> Result<()> {
    let _lock = super::lock(host, name)?;
    snapshot::remove(&host.layout, &Home::of_guest(&host.layout, name), label)
}

/// Makes the files of a guest, which does not run, those of a snapshot. What has changed since is lost.
pub fn rollback(host: &Host, name: &GuestName, label: &Label, progress: &dyn Progress) -> Result<()> {
    let _lock = super::lock(host, name)?;
    if observe::status(host, name)?.state != State::Stopped {
        return Err(Error::new(Kind::State, format!("guest `{name}` runs"))
            .with_hint(format!("`hostel stop {name}` first: its files are exchanged")));
    }
    let applied = observe::applied(host, name)?;
    let bounds = Bounds::of(&applied.spec.limits, applied.xid);
    let home = Home::of_guest(&host.layout, name);
    snapshot::restore(&host.layout, &home, label, &bounds, progress)
}
