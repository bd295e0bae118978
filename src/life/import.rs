//! `hostel import`: a guest from one file.

use std::cell::Cell;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::build;
use super::host::Host;
use super::observe::{self, State};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{Caps, GuestName, Net, NetMode, Spec, Storage, Xid};
use crate::storage::archive::{self, Archive};
use crate::storage::driver::{self, From, How};
use crate::storage::files::{self, Access, Files};
use crate::storage::state::{self, Applied};
use crate::storage::{Bounds, Home, Progress, ids, image, lock, xid};

/// What is taken from an archive, and how.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Its name; that of the exported guest without.
    pub name: Option<GuestName>,
    /// Its context id; allocated without.
    pub xid: Option<Xid>,
    /// How its files are kept; what the file system does best without.
    pub storage: Option<Storage>,
    /// Its address in a private network of its own, in place of any other network.
    pub address: Option<IpNet>,
    /// Believe what the manifest says of the host: mounts, networks, capabilities and what is loosened.
    pub is_trusted: bool,
}

/// Puts what has changed of a guest onto one that is as it was before: all of it, or nothing when that is another one.
/// It does not run, and keeps its name, its context id and what was applied to it.
pub fn import_onto(host: &Host, archive: Archive, name: &GuestName, progress: &dyn Progress) -> Result<()> {
    let _lock = super::lock(host, name)?;
    if observe::status(host, name)?.state != State::Stopped {
        return Err(Error::new(Kind::State, format!("guest `{name}` runs"))
            .with_hint(format!("`hostel stop {name}` first: its files are exchanged")));
    }
    let layout = &host.layout;
    image::sweep(layout)?;
    let kept = files::read(layout, name)?;
    let home = Home::of_guest(layout, name);
    let from = From::Guest {
        home: home.dir(),
        files: &kept,
        // Its own files stay as they are until the new ones are whole.
        is_live: true,
    };
    let archive = Cell::new(Some(archive));
    let change = |place: &std::path::Path, made: &Files| {
        let open = || files::open_in(layout, place, made, name.as_str(), Access::Write);
        match archive.take() {
            Some(archive) => archive::unpack_onto(archive, &open, progress),
            None => Err(Error::new(Kind::Internal, "an archive is read twice")),
        }
    };
    let applied = observe::applied(host, name)?;
    let bounds = Bounds::of(&applied.spec.limits, applied.xid);
    let how = How {
        storage: kept.storage(),
        bounds: &bounds,
    };
    driver::replace_changed(layout, &home, &kept, &from, &how, &change, progress)
        .context(|| format!("import onto `{name}`"))
}

/// Makes a guest of an archive. It is not started.
pub fn import(
    host: &Host,
    archive: Archive,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Applied> {
    if let Some(since) = &archive.manifest.since {
        return Err(Error::new(
            Kind::Invalid,
            format!(
                "the archive has only what has changed since the snapshot `{}`",
                since.snapshot.escape_debug()
            ),
        )
        .with_hint("`--onto GUEST` puts it onto the guest that is as it was then"));
    }
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
    let start = archive.manifest.start.clone();
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
        start,
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
    if let Some(address) = options.address {
        spec.net = Net {
            mode: NetMode::Private,
            address: vec![address],
            ..Net::default()
        };
    }
    if options.is_trusted {
        return spec;
    }
    let mut left_out = Vec::new();
    let mut leave = |is_there: bool, field: &'static str| {
        if is_there {
            left_out.push(field);
        }
    };
    leave(!spec.volumes.is_empty(), "volumes");
    leave(!spec.mounts.is_empty(), "mounts");
    leave(options.address.is_none() && spec.net != Net::default(), "net");
    leave(!spec.caps.is_default(), "caps");
    leave(!spec.allow.is_empty(), "allow");
    leave(!spec.userns, "userns");
    spec.volumes = BTreeMap::new();
    spec.mounts = Vec::new();
    if options.address.is_none() {
        spec.net = Net::default();
    }
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
