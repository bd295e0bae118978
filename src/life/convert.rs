//! `hostel convert`: a guest's files, kept in another way.

use super::host::Host;
use super::observe::{self, State};
use crate::error::{Error, Kind, Result};
use crate::guest::{GuestName, Storage};
use crate::storage::driver::{self, From};
use crate::storage::files;
use crate::storage::state::{self, Applied};
use crate::storage::{Bounds, Home, Progress, lock};

/// Keeps the files of a guest, which does not run, as `storage` from now on. Whether anything changed.
pub fn convert(host: &Host, name: &GuestName, storage: Storage, progress: &dyn Progress) -> Result<bool> {
    observe::applied(host, name)?;
    let _lock = lock::acquire(&host.layout, name, super::WAIT)?;
    let mut applied = observe::applied(host, name)?;
    if observe::status(host, name)?.state != State::Stopped {
        return Err(Error::new(Kind::State, format!("guest `{name}` runs"))
            .with_hint(format!("`hostel stop {name}` first: its files move")));
    }
    let is_changed = convert_locked(host, &applied, storage, progress)?;
    if applied.spec.storage != Some(storage) {
        // Else the next apply would move them back.
        applied.spec.storage = Some(storage);
        state::write(&host.layout, name, &applied)?;
    }
    Ok(is_changed)
}

/// The same for a caller that holds the guest's lock and knows that it does not run.
pub(super) fn convert_locked(
    host: &Host,
    applied: &Applied,
    storage: Storage,
    progress: &dyn Progress,
) -> Result<bool> {
    let (layout, name) = (&host.layout, &applied.spec.name);
    let old = files::read(layout, name)?;
    let home = Home::of_guest(layout, name);
    if old.storage() == storage {
        driver::finish(layout, &home, &old)?;
        return Ok(false);
    }
    let from = From::Guest {
        home: home.dir(),
        files: &old,
        is_live: false,
    };
    let bounds = Bounds::of(&applied.spec.limits, applied.xid);
    driver::replace(layout, &home, &old, &from, storage, &bounds, progress).map(|()| true)
}
