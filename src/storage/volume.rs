//! Volumes: `volumes/NAME`, laid out as a guest's directory, with `volume.json` in place of a specification.
//!
//! Owners in it are those that guests see: each mounts it by the map of its own ids, so that all of them see the same.
//! What is in it was written by guests and is hostile; it is opened by descriptor, below a directory that root alone enters.
//!
//! The number of a volume says which 65,536 project numbers are its own ([`bounds`]). It is the link
//! `volume-number/N -> NAME`, which `symlink(2)` makes or says to be there, as with context ids.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::driver::{self, From, Job};
use super::files::{self, Access, Files};
use super::scratch::{self, Scratch};
use super::{Bounds, Home, Inside, Layout, Progress, bounds, disk_image, snapshot, state, tree};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{Bytes, Storage, Volume, VolumeName};
use crate::sys::mount::{self, Attr};

/// What is kept of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    format: u32,
    /// When it was made, RFC 3339.
    pub created: String,
    /// See above.
    number: u16,
    /// What is in it may take this at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// So many files and directories may be in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u32>,
}

/// The layout of the file. A number that this hostel does not know is refused, never guessed at.
const FORMAT: u32 = 1;

/// The first number of a project behind those of every guest (`Xid::MAX`), and how many volumes have some: the last of
/// all numbers, -1, means none.
const FIRST_PROJECT: u32 = 0xC000_0000;
const MOST: u16 = 0x3FFF;

impl Kept {
    /// The same with other limits.
    #[must_use]
    pub fn within(&self, size: Option<Bytes>, inodes: Option<u32>) -> Self {
        Self {
            size,
            inodes,
            ..self.clone()
        }
    }

    /// What its files are kept within.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            space: self.size.map(|size| size.0),
            inodes: self.inodes.map(u64::from),
            projects: FIRST_PROJECT | u32::from(self.number) << 16,
        }
    }
}

/// What is kept of the volume; `None` when there is none of that name.
pub fn read(layout: &Layout, name: &VolumeName) -> Result<Option<Kept>> {
    let path = record(layout, name);
    let text = match fs::read(&path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context(|| format!("read `{}`", path.display()))?,
    };
    let damaged = || {
        Error::new(
            Kind::Invalid,
            format!("`{}` is not what hostel writes", path.display()),
        )
    };
    let kept: Kept = serde_json::from_slice(&text).map_err(|err| damaged().with_source(err))?;
    if kept.format != FORMAT || kept.number >= MOST {
        return Err(damaged().with_hint("it may be of a newer hostel"));
    }
    Ok(Some(kept))
}

/// The same of one that must be there.
pub fn required(layout: &Layout, name: &VolumeName) -> Result<Kept> {
    read(layout, name)?.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("there is no volume `{name}`")).with_hint(format!(
            "`hostel volume create {name}` makes it, or `volumes` of a recipe; `hostel volume ls` lists those that are there"
        ))
    })
}

/// Replaces what is kept of it.
pub fn write(layout: &Layout, name: &VolumeName, kept: &Kept) -> Result<()> {
    state::replace(&record(layout, name), &text(kept)?)
}

fn record(layout: &Layout, name: &VolumeName) -> PathBuf {
    layout.volume_dir(name).join("volume.json")
}

fn text(kept: &Kept) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(kept)
        .map_err(|err| Error::new(Kind::Internal, "write what is kept of a volume").with_source(err))?;
    text.push(b'\n');
    Ok(text)
}

/// Every volume, by name.
pub fn list(layout: &Layout) -> Result<Vec<VolumeName>> {
    state::names_in(&layout.volumes())
}

/// Makes a volume from `from`, whole or not at all. The caller holds its lock.
pub fn create(
    layout: &Layout,
    name: &VolumeName,
    said: &Volume,
    from: &From<'_>,
    progress: &dyn Progress,
) -> Result<Kept> {
    if fs::symlink_metadata(layout.volume_dir(name)).is_ok() {
        return Err(
            Error::new(Kind::Exists, format!("volume `{name}` is there already")).with_hint(format!(
                "`hostel volume rm {name}` removes it, with all that is in it"
            )),
        );
    }
    // What commands that were killed have left.
    scratch::sweep(layout)?;
    for dir in [layout.volumes(), layout.volume_numbers()] {
        make_private(&dir)?;
    }
    let number = claim(layout, name)?;
    make(layout, name, number, said, from, progress).map_err(|err| match release(layout, name) {
        Ok(()) => err,
        Err(other) => err.and_also(other),
    })
}

fn make(
    layout: &Layout,
    name: &VolumeName,
    number: u16,
    said: &Volume,
    from: &From<'_>,
    progress: &dyn Progress,
) -> Result<Kept> {
    let kept = Kept {
        format: FORMAT,
        created: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        number,
        size: said.size,
        inodes: said.inodes,
    };
    let bounds = kept.bounds();
    let driver = driver_of(layout, said.storage, &bounds)?;
    let scratch = Scratch::new(layout)?;
    let place = scratch.path().join(name.as_str());
    make_private(&place)?;
    let made = driver.make(&Job {
        layout,
        name: name.as_str(),
        from,
        place: &place,
        bounds: &bounds,
        progress,
    })?;
    files::put(&place, &made.files)?;
    state::put(&place.join("volume.json"), &text(&kept)?)?;
    let opened = File::open(&place).context(|| format!("open `{}`", place.display()))?;
    nix::unistd::syncfs(&opened).context(|| "write the volume to the disk")?;
    let to = layout.volume_dir(name);
    fs::rename(&place, &to)
        .and_then(|()| File::open(layout.volumes())?.sync_all())
        .context(|| format!("move into `{}`", to.display()))?;
    Ok(kept)
}

/// The driver that is wanted, or the best; never layers (`Volume::STORAGE`).
fn driver_of(
    layout: &Layout,
    wanted: Option<Storage>,
    bounds: &Bounds,
) -> Result<&'static dyn driver::Driver> {
    match wanted {
        Some(Storage::Overlay) => Err(Error::new(
            Kind::Unsupported,
            "a volume cannot be kept as layers: several guests write to it",
        )
        .with_hint(
            "`btrfs`, `reflink`, `dir` or `image`, or leave it out for what the file system does best",
        )),
        Some(Storage::Image) if bounds.space.is_none() => Err(Error::new(
            Kind::Invalid,
            "a volume that is an image needs to know how large it is",
        )
        .with_hint("give it a `size`, such as 2G")),
        _ => driver::choose(layout, wanted, driver::FOR_VOLUMES, bounds),
    }
}

/// Keeps it in another way. The caller holds its lock, and nobody has it mounted.
pub fn convert(
    layout: &Layout,
    name: &VolumeName,
    kept: &Kept,
    to: Storage,
    progress: &dyn Progress,
) -> Result<()> {
    let home = Home::of_volume(layout, name);
    let old = files::read_in(home.dir())?;
    driver_of(layout, Some(to), &kept.bounds())?;
    let from = From::Guest {
        home: home.dir(),
        files: &old,
        is_live: false,
    };
    driver::replace(layout, &home, &old, &from, to, &kept.bounds(), progress)
}

/// Removes the volume with its snapshots. The caller holds its lock, and nobody has it mounted.
pub fn remove(layout: &Layout, name: &VolumeName) -> Result<()> {
    let _unread = snapshot::all_unread(&Home::of_volume(layout, name))?;
    // Out of sight in one step: it is there or not, and what is left of it is swept.
    let scratch = Scratch::new(layout)?;
    let dir = layout.volume_dir(name);
    fs::rename(&dir, scratch.path().join(name.as_str()))
        .and_then(|()| File::open(layout.volumes())?.sync_all())
        .context(|| format!("remove `{}`", dir.display()))?;
    let parent = File::open(scratch.path()).context(|| format!("open `{}`", scratch.path().display()))?;
    tree::remove(parent, Path::new(name.as_str()))
        .context(|| format!("remove what is in the volume `{name}`"))?;
    release(layout, name)
}

/// The volume as a mount that is attached nowhere, with no owners mapped yet.
pub fn open_mount(layout: &Layout, name: &VolumeName, attr: Attr) -> Result<OwnedFd> {
    required(layout, name)?;
    let home = layout.volume_dir(name);
    if files::read_in(&home)? == Files::Image {
        return disk_image::open(&home.join(disk_image::NAME), attr);
    }
    let root = Inside::open(&home.join("rootfs"), name.as_str())?;
    mount::clone_tree(Some(root.root().as_fd()), c"", false).context(|| format!("open the volume `{name}`"))
}

/// What is in it, to be looked at.
pub fn open(layout: &Layout, name: &VolumeName) -> Result<Inside> {
    let home = layout.volume_dir(name);
    let files = files::read_in(&home)?;
    files::open_in(layout, &home, &files, name.as_str(), Access::Read)
}

/// Makes its limits hold: they may have been taken away since they were set, for quotas are a setting of the mount.
pub fn hold(layout: &Layout, name: &VolumeName, kept: &Kept) -> Result<()> {
    let home = layout.volume_dir(name);
    let files = files::read_in(&home)?;
    if files == Files::Image && kept.size.is_none() {
        // It was killed while it was moved into an image, or out of one: the size is the image's.
        return Ok(());
    }
    bounds::hold(layout, &home, &files, &kept.bounds())
}

/// Numbers of volumes that are not there, which whoever made one and was killed has left: given back unless `is_busy`.
/// Gives the names.
pub fn sweep_numbers(
    layout: &Layout,
    is_busy: &dyn Fn(&VolumeName) -> Result<bool>,
) -> Result<Vec<VolumeName>> {
    let mut swept = Vec::new();
    for (_, name) in numbers(layout)? {
        if fs::symlink_metadata(layout.volume_dir(&name)).is_err() && !is_busy(&name)? {
            release(layout, &name)?;
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Gives the volume a number, which nobody else has.
fn claim(layout: &Layout, name: &VolumeName) -> Result<u16> {
    // Of one that was killed while it made a volume of this name.
    if let Some((number, _)) = numbers(layout)?.into_iter().find(|(_, whose)| whose == name) {
        return Ok(number);
    }
    for number in 0..MOST {
        let link = layout.volume_numbers().join(number.to_string());
        match symlink(name.as_str(), &link) {
            Ok(()) => return Ok(number),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(Error::io(format!("link `{}`", link.display()), err)),
        }
    }
    Err(Error::new(
        Kind::State,
        format!("there are {MOST} volumes, and no number is free for `{name}`"),
    )
    .with_hint("remove volumes that are no longer used"))
}

/// Gives it back, and what was kept of its projects.
fn release(layout: &Layout, name: &VolumeName) -> Result<()> {
    for (number, _) in numbers(layout)?.into_iter().filter(|(_, whose)| whose == name) {
        bounds::forget(layout, FIRST_PROJECT | u32::from(number) << 16)?;
        let link = layout.volume_numbers().join(number.to_string());
        match fs::remove_file(&link) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove `{}`", link.display()), err));
            }
            _ => {}
        }
    }
    Ok(())
}

fn numbers(layout: &Layout) -> Result<Vec<(u16, VolumeName)>> {
    let dir = layout.volume_numbers();
    let entries = match fs::read_dir(&dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("list `{}`", dir.display()))?,
    };
    let number = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_link(entry.path()).ok()?.to_str()?.parse().ok()?;
        Some((number, name))
    };
    Ok(entries.flatten().filter_map(number).collect())
}

fn make_private(dir: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(format!("make `{}`", dir.display()), err))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Xid;

    #[test]
    fn projects_of_volumes_are_no_guests() {
        let kept = |number| Kept {
            format: FORMAT,
            created: String::new(),
            number,
            size: None,
            inodes: None,
        };
        assert!(kept(0).bounds().projects > Xid::MAX.id_base() | 0xffff);
        let last = kept(MOST - 1).bounds().projects;
        assert!(last > kept(0).bounds().projects && last | 0xffff < u32::MAX);
        assert_eq!(last & 0xffff, 0);
    }

    #[test]
    fn a_number_is_given_once_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        make_private(&layout.volume_numbers()).unwrap();
        let (a, b): (VolumeName, VolumeName) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(claim(&layout, &a).unwrap(), 0);
        assert_eq!(claim(&layout, &a).unwrap(), 0);
        assert_eq!(claim(&layout, &b).unwrap(), 1);
        // Neither is there; somebody is at work on `b`.
        let swept = sweep_numbers(&layout, &|name| Ok(*name == b)).unwrap();
        assert_eq!(swept, std::slice::from_ref(&a));
        assert_eq!(claim(&layout, &a).unwrap(), 0);
    }
}
