//! `hostel volume`: data with a name, which guests mount and none of them owns. One verb a file.
//!
//! Who changes a volume holds its lock alone, who starts a guest on it shares it. Locks of guests are taken before those
//! of volumes, and each kind in the order of its names.

pub mod archive;
pub mod clone;
pub mod create;
pub mod remove;
pub mod set;
pub mod snapshot;

use std::collections::BTreeSet;

use serde::Serialize;

use super::host::Host;
use super::{WAIT, observe};
use crate::error::{Error, Kind, Result};
use crate::guest::audit::{self, Sharers};
use crate::guest::{GuestName, Spec, Storage, VolumeName};
use crate::storage::bounds::{self, Usage};
use crate::storage::lock::{self, GuestLock, Use, Wait};
use crate::storage::state::{self, Applied};
use crate::storage::still::Source;
use crate::storage::volume::{self, Kept};
use crate::storage::{Home, files};

/// What can be seen of a volume.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// Its name.
    pub name: VolumeName,
    /// How it is kept.
    pub storage: Storage,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What is in it may take this at most, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// So many files and directories may be in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u32>,
    /// What it takes, where the file system counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Usage>,
    /// How many snapshots it has.
    pub snapshots: usize,
    /// Who mounts it.
    pub users: Vec<User>,
}

/// A mount of a volume in a guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct User {
    /// The guest.
    pub guest: GuestName,
    /// Where it has it.
    pub target: std::path::PathBuf,
    /// Whether it cannot write there.
    pub readonly: bool,
    /// Whether it has it mounted now.
    pub running: bool,
}

/// Every volume, by name.
pub fn list(host: &Host) -> Result<Vec<Seen>> {
    let guests = guests(host)?;
    let mut found = Vec::new();
    for name in volume::list(&host.layout)? {
        // Removed meanwhile, or made at this moment.
        if let Some(kept) = volume::read(&host.layout, &name)? {
            found.push(seen(host, &name, kept, &guests)?);
        }
    }
    Ok(found)
}

/// One volume.
pub fn show(host: &Host, name: &VolumeName) -> Result<Seen> {
    let kept = volume::required(&host.layout, name)?;
    seen(host, name, kept, &guests(host)?)
}

fn seen(host: &Host, name: &VolumeName, kept: Kept, guests: &[Guest]) -> Result<Seen> {
    let home = Home::of_volume(&host.layout, name);
    let files = files::read_in(home.dir())?;
    Ok(Seen {
        name: name.clone(),
        storage: files.storage(),
        created: kept.created,
        size: kept.size.map(|size| size.0),
        inodes: kept.inodes,
        // Whoever cannot be asked tells nothing, as with guests.
        disk: bounds::usage(&host.layout, home.dir(), &files).ok().flatten(),
        snapshots: crate::storage::snapshot::count(&home)?,
        users: guests.iter().flat_map(|guest| guest.uses(name)).collect(),
    })
}

/// A guest, and what it mounts now, if it runs.
struct Guest {
    applied: Applied,
    is_running: bool,
}

impl Guest {
    /// What it runs with, if it does. Without a record of its start (hostel was killed between the two) that is what was
    /// applied.
    fn runs_with(&self) -> Option<&Spec> {
        let started = self.applied.started.as_ref().unwrap_or(&self.applied.spec);
        self.is_running.then_some(started)
    }

    /// What it runs with, and what it was told last.
    fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.runs_with().into_iter().chain([&self.applied.spec])
    }

    /// Its mounts of the volume: what it was told last, and what it has until it is started anew.
    fn uses(&self, name: &VolumeName) -> Vec<User> {
        let of = |spec: &Spec, running| -> Vec<User> {
            let mounts = spec.mounts.iter();
            mounts
                .filter(|mount| mount.source.volume() == Some(name))
                .map(|mount| User {
                    guest: spec.name.clone(),
                    target: mount.target.clone(),
                    readonly: mount.readonly,
                    running,
                })
                .collect()
        };
        let now = self.runs_with().map_or_else(Vec::new, |spec| of(spec, true));
        let later = of(&self.applied.spec, false);
        let is_now = |user: &User| now.iter().any(|other| other.target == user.target);
        let later: Vec<User> = later.into_iter().filter(|user| !is_now(user)).collect();
        now.into_iter().chain(later).collect()
    }
}

/// Every guest that mounts a volume.
fn guests(host: &Host) -> Result<Vec<Guest>> {
    let mut found = Vec::new();
    for name in state::list(&host.layout)? {
        let Some(applied) = state::read(&host.layout, &name)? else {
            continue;
        };
        let has = |spec: &Spec| !spec.mounted_volumes().is_empty();
        if !has(&applied.spec) && !applied.started.as_ref().is_some_and(has) {
            continue;
        }
        let is_running = match observe::group(host, applied.xid)? {
            Some(group) => group.is_populated()?,
            None => false,
        };
        found.push(Guest { applied, is_running });
    }
    Ok(found)
}

/// Who mounts the volume, or would.
pub fn users(host: &Host, name: &VolumeName) -> Result<Vec<User>> {
    Ok(guests(host)?.iter().flat_map(|guest| guest.uses(name)).collect())
}

/// Who mounts each volume, or would.
pub fn sharers(host: &Host) -> Result<Sharers> {
    let guests = guests(host)?;
    Ok(audit::sharers(guests.iter().flat_map(Guest::specs)))
}

/// Who has it mounted now, each once.
fn running(host: &Host, name: &VolumeName) -> Result<BTreeSet<GuestName>> {
    let users = users(host, name)?.into_iter();
    Ok(users.filter(|user| user.running).map(|user| user.guest).collect())
}

/// Locks a volume that must be there, to change it.
fn lock(host: &Host, name: &VolumeName) -> Result<GuestLock> {
    volume::required(&host.layout, name)?;
    let lock = lock::acquire_volume(&host.layout, name, WAIT)?;
    volume::required(&host.layout, name)?;
    Ok(lock)
}

/// Makes a volume, whose lock is taken.
fn making<T>(host: &Host, name: &VolumeName, wait: Wait, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let _lock = lock::acquire_volume(&host.layout, name, wait)?;
    act()
}

/// Refuses while a guest that runs has it mounted. The caller holds its lock, so none starts meanwhile.
fn refuse_running(host: &Host, name: &VolumeName, why: &str) -> Result<()> {
    let running = running(host, name)?;
    if running.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = running.iter().map(ToString::to_string).collect();
    Err(Error::new(
        Kind::State,
        format!("volume `{name}` is mounted by {}, running", words.join(", ")),
    )
    .with_hint(format!("`hostel stop {}` first: {why}", words.join(" "))))
}

/// Keeps the volumes of a guest as they are while it starts, and confirms that their limits hold.
pub(super) fn use_all(host: &Host, spec: &Spec) -> Result<Vec<Use>> {
    let mut held = Vec::new();
    for name in spec.mounted_volumes() {
        volume::required(&host.layout, name)?;
        held.push(lock::use_volume(&host.layout, name, WAIT)?);
        let kept = volume::required(&host.layout, name)?;
        volume::hold(&host.layout, name, &kept)
            .map_err(|err| err.context(format!("keep the volume `{name}` within its limits")))?;
    }
    Ok(held)
}

/// A volume, and the guests that write to it, all locked.
struct Held {
    writers: Vec<Applied>,
    _guests: Vec<GuestLock>,
    _volume: GuestLock,
}

/// Locks a volume with the guests that run on it and can write there.
fn hold(host: &Host, name: &VolumeName) -> Result<Held> {
    let writers = || -> Result<BTreeSet<GuestName>> {
        let users = users(host, name)?.into_iter();
        Ok(users
            .filter(|user| user.running && !user.readonly)
            .map(|user| user.guest)
            .collect())
    };
    volume::required(&host.layout, name)?;
    loop {
        let wanted = writers()?;
        let guests = wanted
            .iter()
            .map(|guest| lock::acquire(&host.layout, guest, WAIT));
        let guests: Vec<GuestLock> = guests.collect::<Result<_>>()?;
        let volume = lock(host, name)?;
        // One may have been started before the volume was locked; none is from here on.
        let now = writers()?;
        if now.is_subset(&wanted) {
            let writers = now.iter().map(|guest| observe::applied(host, guest));
            return Ok(Held {
                writers: writers.collect::<Result<_>>()?,
                _guests: guests,
                _volume: volume,
            });
        }
    }
}

impl Held {
    /// Who may write while it is copied.
    fn source(&self, host: &Host) -> Result<Source> {
        Source::of_all(
            &host.layout,
            self.writers.iter().map(|applied| &applied.spec.name),
        )
    }
}
