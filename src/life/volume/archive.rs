//! `hostel volume export` and `import`: a volume as one file.

use std::cell::Cell;
use std::io::Write;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{hold, making};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{Bytes, Storage, Volume, VolumeName};
use crate::life::WAIT;
use crate::life::hooks::{HookRunner, around_copy};
use crate::life::host::Host;
use crate::storage::archive::{self, Archive, FORMAT_OF_VOLUME, VolumeManifest, Written};
use crate::storage::driver::From;
use crate::storage::snapshot::{self, Label};
use crate::storage::volume::{self, Kept};
use crate::storage::{Home, Progress, files};

/// Writes a volume, or a snapshot of it, to `to`. Guests that write to it stand still only while a snapshot is made, which
/// is written and then gone.
pub fn export(
    host: &Host,
    name: &VolumeName,
    label: Option<&Label>,
    to: &mut dyn Write,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Written> {
    let kept = volume::required(&host.layout, name)?;
    let home = Home::of_volume(&host.layout, name);
    let manifest = VolumeManifest {
        format: FORMAT_OF_VOLUME,
        hostel: env!("CARGO_PKG_VERSION").to_owned(),
        created: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        storage: files::read_in(home.dir())?.storage(),
        volume: name.clone(),
        limits: Volume {
            size: kept.size,
            inodes: kept.inodes,
            storage: None,
        },
    };
    progress.stage(&format!("exporting the volume {name}"));
    if let Some(label) = label {
        let held = snapshot::open(&host.layout, &home, label)?;
        return archive::write(&held.tree, &manifest, to, progress);
    }
    let held = hold(host, name)?;
    if held.writers.is_empty() {
        // Nobody who writes can start meanwhile.
        return archive::write(&volume::open(&host.layout, name)?, &manifest, to, progress);
    }
    let taken = around_copy(hooks, &held.writers, || {
        snapshot::temporary(&host.layout, &home, held.source(host)?, progress)
    })?;
    drop(held);
    archive::write(&taken.open()?, &manifest, to, progress)
}

/// What of an archive is taken otherwise than it says.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Its name; that of the exported volume without.
    pub name: Option<VolumeName>,
    /// What is in it may take this at most; as the exported one without.
    pub size: Option<Bytes>,
    /// How it is kept; what the file system does best without.
    pub storage: Option<Storage>,
}

/// Makes a volume of an archive, whole or not at all.
pub fn import(
    host: &Host,
    archive: Archive<VolumeManifest>,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<VolumeName> {
    let manifest = &archive.manifest;
    let name = options.name.clone().unwrap_or_else(|| manifest.volume.clone());
    let said = Volume {
        size: options.size.or(manifest.limits.size),
        inodes: manifest.limits.inodes,
        storage: options.storage,
    };
    host.layout.ensure()?;
    let archive = Cell::new(Some(archive));
    let fill = |root: &Path| match archive.take() {
        Some(archive) => archive::unpack(archive, root, progress),
        None => Err(Error::new(Kind::Internal, "an archive is read twice")),
    };
    let made: Result<Kept> = making(host, &name, WAIT, || {
        volume::create(&host.layout, &name, &said, &From::Fill(&fill), progress)
    });
    made.context(|| format!("import the volume `{name}`"))?;
    Ok(name)
}
