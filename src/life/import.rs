//! `hostel import`: a guest from one file.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::build;
use super::host::Host;
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{Caps, GuestName, Net, Spec, Storage, Xid};
use crate::storage::archive::{self, Archive};
use crate::storage::state::{self, Applied};
use crate::storage::{Bounds, Progress, ids, image, lock, xid};

/// What is taken from an archive, and how.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Its name; that of the exported guest without.
    pub name: Option<GuestName>,
    /// Its context id; allocated without.
    pub xid: Option<Xid>,
    /// How its files are kept; what the file system does best without.
    pub storage: Option<Storage>,
    /// Believe what the manifest says of the host: mounts, networks, capabilities and what is loosened.
    pub is_trusted: bool,
}

/// Makes a guest of an archive. It is not started.
pub fn import(
    host: &Host,
    archive: Archive,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Applied> {
    let spec = spec_of(archive.manifest.spec.clone(), options, progress);
    let name = spec.name.clone();
    host.layout.ensure()?;
    let _lock = lock::acquire(&host.layout, &name, super::WAIT)?;
    if state::read(&host.layout, &name)?.is_some() {
        return Err(
            Error::new(Kind::Exists, format!("guest `{name}` is there already"))
                .with_hint("`--name` gives the new one another name"),
        );
    }
    let made = make(host, spec, archive, progress);
    made.map_err(|err| match build::undo(host, &name) {
        Ok(()) => err,
        Err(other) => err.and_also(other),
    })
    .context(|| format!("import `{name}`"))
}

fn make(host: &Host, spec: Spec, archive: Archive, progress: &dyn Progress) -> Result<Applied> {
    let layout = &host.layout;
    image::sweep(layout)?;
    // What a build that was killed may have left.
    image::remove(layout, &spec.name)?;
    let xid = xid::allocate(layout, &spec.name, spec.xid, &ids::taken()?)?;
    // Unpacked once, by whichever driver calls for it.
    let archive = Cell::new(Some(archive));
    let fill = |root: &std::path::Path| match archive.take() {
        Some(archive) => archive::unpack(archive, root, progress),
        None => Err(Error::new(Kind::Internal, "an archive is read twice")),
    };
    let bounds = Bounds::of(&spec.limits, xid);
    image::install_filled(layout, &spec.name, spec.storage, &bounds, &fill, progress)?;
    let applied = Applied {
        image_key: "import".to_owned(),
        spec,
        xid,
        recipe: None,
        hostel: env!("CARGO_PKG_VERSION").to_owned(),
        started: None,
    };
    state::write_with_files(layout, &applied.spec.name, &applied)?;
    Ok(applied)
}

/// The specification that the guest gets: of what an archive from anywhere says, what touches the host is left out.
fn spec_of(mut spec: Spec, options: &ImportOptions, progress: &dyn Progress) -> Spec {
    if let Some(name) = &options.name {
        spec.name = name.clone();
    }
    spec.xid = options.xid;
    spec.storage = options.storage;
    spec.hooks = BTreeMap::new();
    spec.depends = Vec::new();
    spec.autostart = false;
    if options.is_trusted {
        return spec;
    }
    let mut left_out = Vec::new();
    let mut leave = |is_there: bool, field: &'static str| {
        if is_there {
            left_out.push(field);
        }
    };
    leave(!spec.mounts.is_empty(), "mounts");
    leave(spec.net != Net::default(), "net");
    leave(!spec.caps.is_default(), "caps");
    leave(!spec.allow.is_empty(), "allow");
    leave(!spec.userns, "userns");
    spec.mounts = Vec::new();
    spec.net = Net::default();
    spec.caps = Caps::default();
    spec.allow = Vec::new();
    spec.userns = true;
    if !left_out.is_empty() {
        progress.warning(&format!(
            "left out of the archive\'s recipe, because it opens the host: {}; `--trust` takes it",
            left_out.join(", ")
        ));
    }
    spec
}
