//! How the files of a guest or a volume are made: one driver a kind of storage, behind one trait.
//!
//! What a file system can do is found out by doing it once in a scratch directory; nothing is concluded from its name.

pub(in crate::storage) mod btrfs;
mod dir;
mod image;
mod overlay;
mod reflink;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::files::{self, Access, Files};
use super::layer::{self, Holds};
use super::scratch::Scratch;
use super::{Bounds, Home, Inside, Layout, Progress, bounds, disk_image, tree};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::Storage;

/// One way to keep files.
pub trait Driver: Sync {
    /// Its word.
    fn storage(&self) -> Storage;

    /// Refuses, by name, a file system that cannot do it.
    fn check(&self, layout: &Layout) -> Result<()>;

    /// Makes new files in [`Job::place`], and wherever else the driver keeps some: there nothing stays of what failed.
    fn make(&self, job: &Job<'_>) -> Result<Made>;
}

/// The files of a guest or volume that are to be made.
pub struct Job<'a> {
    /// Where everything is.
    pub layout: &'a Layout,
    /// What they are for, as messages call it.
    pub name: &'a str,
    /// What its files are to be like.
    pub from: &'a From<'a>,
    /// A scratch directory, which becomes that of the guest or volume.
    pub place: &'a Path,
    /// What they may take.
    pub bounds: &'a Bounds,
    /// Told of the work.
    pub progress: &'a dyn Progress,
}

/// What files are made from.
pub enum From<'a> {
    /// A prepared image, which never changes.
    Image {
        /// Its key.
        key: &'a str,
        /// Its root.
        path: &'a Path,
    },
    /// A directory of the host's.
    Dir(&'a Path),
    /// Whatever this puts into an empty directory.
    Fill(&'a dyn Fn(&Path) -> Result<()>),
    /// Those of another guest or volume, or of this one in another form. It does not change meanwhile, or no more than a snapshot minds.
    Guest {
        /// Its directory, or that of a snapshot of it.
        home: &'a Path,
        /// How its files are kept.
        files: &'a Files,
        /// Whether it runs: then its list of layers must stay as it is.
        is_live: bool,
    },
}

/// What a driver has made.
#[derive(Debug)]
pub struct Made {
    /// How the files are kept.
    pub files: Files,
    /// What of a copy could not be taken along.
    pub devices_skipped: u64,
    /// Layers and images that stay until the guest refers to them. What was made goes again if it comes not to that.
    pub holds: Holds,
}

/// The driver of that word.
pub fn of(storage: Storage) -> &'static dyn Driver {
    match storage {
        Storage::Btrfs => &btrfs::Btrfs,
        Storage::Reflink => &reflink::Reflink,
        Storage::Overlay => &overlay::Overlay,
        Storage::Dir => &dir::Dir,
        Storage::Image => &image::Image,
    }
}

/// The one of that word, if the file system can do it.
pub fn able(layout: &Layout, storage: Storage) -> Result<&'static dyn Driver> {
    let driver = of(storage);
    let checked = driver.check(layout);
    checked.context(|| format!("storage = \"{storage}\" in `{}`", layout.root().display()))?;
    Ok(driver)
}

/// What a guest's files are kept as without a wish: the first that can be done, else a plain tree.
pub const FOR_GUESTS: &[Storage] = &[Storage::Btrfs, Storage::Reflink, Storage::Overlay];

/// The same for a volume, whose layers several guests would write to.
pub const FOR_VOLUMES: &[Storage] = &[Storage::Btrfs, Storage::Reflink];

/// The one that is wanted, if the file system can do it; without a wish the first of `best` that it can, where nothing
/// else keeps files within `bounds` an image.
pub fn choose(
    layout: &Layout,
    wanted: Option<Storage>,
    best: &[Storage],
    bounds: &Bounds,
) -> Result<&'static dyn Driver> {
    if let Some(wanted) = wanted {
        return able(layout, wanted);
    }
    if bounds.space.is_some() {
        let is_kept = match bounds::check(layout) {
            // It cannot keep inodes within theirs.
            Ok(bounds::Keeper::Subvolume) => bounds.inodes.is_none(),
            Ok(_) => true,
            Err(err) if err.kind() == Kind::Unsupported => false,
            Err(err) => return Err(err),
        };
        if !is_kept {
            let driver = of(Storage::Image);
            driver.check(layout).context(|| "limit disk space")?;
            return Ok(driver);
        }
    }
    for driver in best.iter().copied().map(of) {
        if is_able(layout, driver)? {
            return Ok(driver);
        }
    }
    Ok(&dir::Dir)
}

/// Whether the file system can do it: found out once by a process and those that it forks.
fn is_able(layout: &Layout, driver: &dyn Driver) -> Result<bool> {
    static FOUND: Mutex<Vec<((Storage, u64), bool)>> = Mutex::new(Vec::new());
    let root = layout.root();
    let meta = fs::metadata(root).context(|| format!("stat `{}`", root.display()))?;
    let what = (driver.storage(), meta.dev());
    let found = FOUND
        .lock()
        .ok()
        .and_then(|found| found.iter().find(|(other, _)| *other == what).copied());
    if let Some((_, is_able)) = found {
        return Ok(is_able);
    }
    let is_able = match driver.check(layout) {
        Ok(()) => true,
        Err(err) if err.kind() == Kind::Unsupported => false,
        Err(err) => return Err(err),
    };
    if let Ok(mut found) = FOUND.lock() {
        found.push((what, is_able));
    }
    Ok(is_able)
}

/// Makes files that nobody uses anew from `from`, kept as `storage`; `old` is how they are kept now. Whenever it is cut
/// off, there are the old ones or the new.
pub fn replace(
    layout: &Layout,
    home: &Home,
    old: &Files,
    from: &From<'_>,
    storage: Storage,
    bounds: &Bounds,
    progress: &dyn Progress,
) -> Result<()> {
    let how = How { storage, bounds };
    replace_changed(layout, home, old, from, &how, &|_, _| Ok(()), progress)
}

/// How files are to be kept.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// By which driver.
    pub storage: Storage,
    /// Within what.
    pub bounds: &'a Bounds,
}

/// The same with a change, which is made before the guest has the new ones: it is given the directory that they are in,
/// laid out as a guest's, and how they are kept.
pub fn replace_changed(
    layout: &Layout,
    home: &Home,
    old: &Files,
    from: &From<'_>,
    how: &How<'_>,
    change: &dyn Fn(&Path, &Files) -> Result<()>,
    progress: &dyn Progress,
) -> Result<()> {
    finish(layout, home, old)?;
    let How { storage, bounds } = *how;
    let driver = able(layout, storage)?;
    let scratch = Scratch::new(layout)?;
    let made = driver.make(&Job {
        layout,
        name: home.name(),
        from,
        place: scratch.path(),
        bounds,
        progress,
    })?;
    change(scratch.path(), &made.files)?;
    let dir = home.dir();
    let opened = open(dir)?;
    nix::unistd::syncfs(&opened).context(|| format!("write `{}` to the disk", dir.display()))?;
    // What the list says is what there is: it is changed last where the old tree is still needed until then, and what it
    // does not name is taken away after it, now or by `finish`.
    if let Some(what) = made.files.in_home() {
        let (fresh, place) = (scratch.path().join(what), dir.join(what));
        if old.has_tree() && made.files.has_tree() {
            renameat2(AT_FDCWD, &fresh, AT_FDCWD, &place, RenameFlags::RENAME_EXCHANGE)
                .context(|| format!("exchange `{}` and `{}`", fresh.display(), place.display()))?;
        } else {
            // An image takes the place of one in this step.
            fs::rename(&fresh, &place).context(|| format!("move into `{}`", place.display()))?;
        }
    }
    files::write(dir, &made.files)?;
    made.holds.kept();
    finish(layout, home, &made.files)?;
    match old.stack() {
        Some(stack) => layer::remove_unused(layout, stack.layers()).map(drop),
        None => Ok(()),
    }
}

/// Takes away a tree or an image that is still there from before the files were kept as they are. Whether there was one.
pub fn finish(layout: &Layout, home: &Home, files: &Files) -> Result<bool> {
    let dir = home.dir();
    disk_image::sweep(dir);
    let mut was_there = false;
    for what in ["rootfs", disk_image::NAME] {
        let old = dir.join(what);
        if files.in_home() == Some(what) || fs::symlink_metadata(&old).is_err() {
            continue;
        }
        let scratch = Scratch::new(layout)?;
        match fs::rename(&old, scratch.path().join(what)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            other => {
                other.context(|| format!("remove `{}`", old.display()))?;
                was_there = true;
            }
        }
    }
    Ok(was_there)
}

/// Where the tree of a guest is that has one of its own.
fn rootfs(place: &Path) -> PathBuf {
    place.join("rootfs")
}

/// Copies what `job` is made from into the directory `to`.
fn copy(job: &Job<'_>, to: &Path) -> Result<tree::Copied> {
    if let From::Fill(fill) = job.from {
        return fill(to).map(|()| tree::Copied::default());
    }
    copy_into(job, open(to)?)
}

/// The same into one that no path may lead to.
fn copy_into(job: &Job<'_>, to: impl AsFd) -> Result<tree::Copied> {
    let to = to.as_fd();
    if let From::Fill(fill) = job.from {
        // The last part is no link, for who follows none.
        let path = PathBuf::from(format!("/proc/self/fd/{}/.", to.as_raw_fd()));
        return fill(&path).map(|()| tree::Copied::default());
    }
    job.progress.stage(&format!("copying the files of {}", job.name));
    let layout = job.layout;
    let meta = fs::metadata(layout.root()).context(|| format!("stat `{}`", layout.root().display()))?;
    let options = tree::Options {
        devices: tree::Devices::Skip,
        // `dir:/` is the host itself, but not with every guest in it.
        skip: vec![(meta.dev(), meta.ino())],
        ..tree::Options::default()
    };
    let source = source(job)?;
    let copied = tree::copy(source.root(), to, &options, job.progress);
    copied.context(|| format!("copy the files of `{}`", job.name))
}

/// The tree that a job copies.
fn source(job: &Job<'_>) -> Result<Inside> {
    match job.from {
        From::Image { path, .. } | From::Dir(path) => Inside::open_followed(path, job.name),
        From::Guest { home, files, .. } => files::open_in(job.layout, home, files, job.name, Access::Read),
        From::Fill(_) => Err(Error::new(Kind::Internal, "a copy of what is no tree")),
    }
}

/// The directory of the tree that is being made.
fn make_root(job: &Job<'_>) -> Result<PathBuf> {
    let path = rootfs(job.place);
    bounds::make_dir(&path, 0o755, job.bounds)?;
    Ok(path)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).context(|| format!("open `{}`", path.display()))
}

fn unsupported(what: &str) -> Error {
    Error::new(Kind::Unsupported, what.to_owned())
        .with_hint("leave `storage` out for the best that this file system can do")
}
