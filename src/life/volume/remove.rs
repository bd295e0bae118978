//! `hostel volume rm`: nothing else removes a volume.

use super::users;
use crate::error::{Error, Kind, Result};
use crate::guest::VolumeName;
use crate::life::host::Host;
use crate::storage::volume;

/// Removes a volume with its snapshots. Refused while a guest has it among its mounts, whether it runs or not.
pub fn remove(host: &Host, name: &VolumeName) -> Result<()> {
    let _lock = super::lock(host, name)?;
    let users = users(host, name)?;
    if !users.is_empty() {
        let mut guests: Vec<String> = users.iter().map(|user| format!("`{}`", user.guest)).collect();
        guests.dedup();
        return Err(Error::new(
            Kind::State,
            format!("volume `{name}` is among the mounts of {}", guests.join(", ")),
        )
        .with_hint("destroy them, or apply a recipe that no longer mounts it there"));
    }
    volume::remove(&host.layout, name)
}
