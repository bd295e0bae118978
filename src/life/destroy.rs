//! `hostel destroy`: a guest, its files and everything that is kept of it.

use super::build;
use super::host::Host;
use super::observe;
use super::stop;
use crate::error::{Error, Kind, Result};
use crate::guest::GuestName;
use crate::storage::{Home, snapshot};

/// Takes a guest away for good. One that runs is refused.
pub fn destroy(host: &Host, name: &GuestName) -> Result<()> {
    let _lock = super::lock(host, name)?;
    destroy_locked(host, name)
}

/// The same for a caller that holds the guest's lock.
pub(super) fn destroy_locked(host: &Host, name: &GuestName) -> Result<()> {
    let applied = observe::applied(host, name)?;
    if let Some(group) = observe::group(host, applied.xid)?
        && observe::lives(&group)?
    {
        return Err(
            Error::new(Kind::State, format!("guest `{name}` runs")).with_hint(format!(
                "`hostel stop {name}` first, or `hostel destroy --force {name}`"
            )),
        );
    }
    // Before anything of it is gone.
    let _unread = snapshot::all_unread(&Home::of_guest(&host.layout, name))?;
    stop::clear(host, &applied)?;
    build::undo(host, name)
}
