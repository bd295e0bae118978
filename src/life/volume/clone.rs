//! `hostel volume clone`: another volume with the same in it.

use super::{hold, making};
use crate::error::{Context as _, Result};
use crate::guest::{Volume, VolumeName};
use crate::life::hooks::{HookRunner, around_copy};
use crate::life::host::Host;
use crate::storage::driver::From;
use crate::storage::lock::Wait;
use crate::storage::volume::{self, Kept};
use crate::storage::{Home, Progress, files};

/// Makes `name` a clone of `source`, which guests may have mounted: they stand still while it is copied, but on btrfs.
pub fn clone(
    host: &Host,
    source: &VolumeName,
    name: &VolumeName,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Kept> {
    let held = hold(host, source)?;
    let kept = volume::required(&host.layout, source)?;
    let home = Home::of_volume(&host.layout, source);
    let files = files::read_in(home.dir())?;
    let said = Volume {
        size: kept.size,
        inodes: kept.inodes,
        storage: Some(files.storage()),
    };
    around_copy(hooks, &held.writers, || {
        let mut writers = held.source(host)?;
        writers.keep_still(&files, files.storage())?;
        let from = From::Guest {
            home: home.dir(),
            files: &files,
            is_live: !held.writers.is_empty(),
        };
        // Without waiting: two clones, each of what the other makes, would wait for each other.
        making(host, name, Wait::No, || {
            volume::create(&host.layout, name, &said, &from, progress)
        })
    })
    .context(|| format!("clone the volume `{source}`"))
}
