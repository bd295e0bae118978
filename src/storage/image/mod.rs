//! Where a guest's files come from: one kind a file, behind [`prepare`] and [`install`].
//!
//! A prepared image is kept in `images/KEY` and never changes: the key is the hash of all that went into it. It is
//! made in a scratch directory and renamed into place, so there is a whole one or none, however the maker ends.

mod busybox;
mod clone;
mod debian;
mod sources;
mod tar;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::scratch::{self, Scratch};
use super::{Layout, Progress, lock, tree};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::{GuestName, Image};
use crate::sys;

/// An image that guests can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What it was made of, as one word. It is part of what was applied to a guest.
    pub key: String,
    /// Its root directory. It is copied from, never used.
    pub path: PathBuf,
    /// The guest that it is, if it is one: it is held still while it is copied.
    pub source: Option<GuestName>,
}

/// Finds the image, or makes it. Two that want the same one at once get the same one: the second waits.
pub fn prepare(
    layout: &Layout,
    image: &Image,
    packages: &[String],
    progress: &dyn Progress,
) -> Result<Prepared> {
    if !packages.is_empty() && !matches!(image, Image::Debian(_)) {
        return Err(
            Error::new(Kind::Invalid, format!("the image `{image}` takes no `packages`"))
                .with_hint("only `debian:SUITE` is made of packages"),
        );
    }
    match image {
        Image::Busybox => {
            let found = busybox::find()?;
            cached(layout, &found.key()?, progress, |dir| found.build(dir, progress))
        }
        Image::Dir(path) => {
            let meta = fs::metadata(path).context(|| format!("open `{}`", path.display()))?;
            if !meta.is_dir() {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("`{}` is not a directory", path.display()),
                ));
            }
            Ok(Prepared {
                key: "dir".to_owned(),
                path: path.clone(),
                source: None,
            })
        }
        Image::Clone(source) => {
            let path = layout.rootfs(source);
            if !path.is_dir() {
                return Err(Error::new(
                    Kind::NotFound,
                    format!("there is no guest `{source}` to clone"),
                ));
            }
            Ok(Prepared {
                key: format!("clone-{source}"),
                path,
                source: Some(source.clone()),
            })
        }
        Image::Debian(suite) => {
            let debian = debian::Debian::new(suite, packages)?;
            let key = debian.key()?;
            cached(layout, &key, progress, |dir| {
                debian.build(layout, &key, dir, progress)
            })
        }
        Image::Tar(path) => {
            progress.stage(&format!("reading {}", path.display()));
            let archive = tar::Archive::open(path)?;
            cached(layout, &archive.key()?, progress, |dir| {
                archive.unpack(dir, progress)
            })
        }
    }
}

/// Copies the image into the guest's own files, `guests/NAME/rootfs`: all of it or none. The caller holds the
/// guest's lock.
pub fn install(
    layout: &Layout,
    name: &GuestName,
    prepared: &Prepared,
    progress: &dyn Progress,
) -> Result<()> {
    let rootfs = layout.rootfs(name);
    if fs::symlink_metadata(&rootfs).is_ok() {
        return Err(
            Error::new(Kind::Exists, format!("`{name}` has files already")).with_hint("destroy it first")
        );
    }
    let _held = match &prepared.source {
        Some(source) => Some(clone::hold(layout, source, progress)?),
        None => None,
    };
    progress.stage(&format!("copying the image of {name}"));
    let scratch = Scratch::new(layout)?;
    let made = scratch.path().join("rootfs");
    make_dir(&made, 0o755)?;
    let meta = fs::metadata(layout.root()).context(|| format!("stat `{}`", layout.root().display()))?;
    let options = tree::Options {
        devices: tree::Devices::Skip,
        // `dir:/` is the host itself, but not with every guest in it.
        skip: vec![(meta.dev(), meta.ino())],
    };
    let to = open(&made)?;
    let copied = tree::copy(open(&prepared.path)?, &to, &options, progress)
        .context(|| format!("copy `{}` for `{name}`", prepared.path.display()))?;
    if copied.devices_skipped > 0 {
        progress.warning(&format!(
            "{} device nodes were left out of {name}: a guest gets its own /dev",
            copied.devices_skipped
        ));
    }
    if prepared.key.starts_with("debian-") {
        debian::personalise(&made, progress)?;
    }
    if let Some(source) = &prepared.source {
        clone::personalise(&made, source, progress)?;
    }
    commit(&to, &made, &rootfs)
}

/// Removes the guest's directory with its files and what was applied to it. The caller holds the guest's lock, and
/// nothing of the guest runs. It is no error when there is nothing.
pub fn remove(layout: &Layout, name: &GuestName) -> Result<()> {
    // Out of sight in one step: a guest is there or not, and what is left of it is swept.
    let scratch = Scratch::new(layout)?;
    let dir = layout.guest_dir(name);
    match fs::rename(&dir, scratch.path().join(name.as_str())) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.context(|| format!("remove `{}`", dir.display()))?,
    }
    tree::remove(open(scratch.path())?, Path::new(name.as_str()))
        .context(|| format!("remove the files of `{name}`"))
}

/// Removes what dead commands left half made, and says what it was.
pub fn sweep(layout: &Layout) -> Result<Vec<PathBuf>> {
    scratch::sweep(layout)
}

/// The image `key`, made by `build` in an empty directory when it is not there.
fn cached(
    layout: &Layout,
    key: &str,
    progress: &dyn Progress,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<Prepared> {
    let place = layout.images().join(key);
    let prepared = Prepared {
        key: key.to_owned(),
        path: place.join("rootfs"),
        source: None,
    };
    if prepared.path.is_dir() {
        return Ok(prepared);
    }
    let lock_path = layout.images().join(format!(".lock-{key}"));
    let mut told = false;
    let _lock = loop {
        match lock::try_lock(&lock_path)? {
            Some(lock) => break lock,
            None if !told => {
                progress.stage(&format!("waiting for another command that makes {key}"));
                told = true;
            }
            None => {
                sys::interrupt::check()?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    if !prepared.path.is_dir() {
        let scratch = Scratch::for_image(layout)?;
        let made = scratch.path().join("image");
        make_dir(&made, 0o700)?;
        build(&made)?;
        commit(&open(&made)?, &made, &place)?;
    }
    // Whoever waits for this lock notices that its file is gone, and finds the image.
    fs::remove_file(&lock_path).context(|| format!("remove `{}`", lock_path.display()))?;
    Ok(prepared)
}

/// Puts what was made in its place, durably: after a power failure it is whole or not there.
fn commit(dir: &File, made: &Path, place: &Path) -> Result<()> {
    let commit = || {
        nix::unistd::syncfs(dir)?;
        let parent = place.parent().unwrap_or(Path::new("/"));
        if !parent.is_dir() {
            DirBuilder::new().mode(0o700).create(parent)?;
        }
        fs::rename(made, place)?;
        File::open(parent)?.sync_all()
    };
    commit().context(|| format!("move into `{}`", place.display()))
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .mode(mode)
        .create(path)
        .context(|| format!("make `{}`", path.display()))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).context(|| format!("open `{}`", path.display()))
}

/// The first 16 hexadecimal digits of a hash: 64 bits, plenty for the images of one host.
fn short(hash: Sha256) -> String {
    use std::fmt::Write;
    hash.finalize()
        .iter()
        .take(8)
        .fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Silent;
    use std::os::unix::fs::PermissionsExt;

    pub(super) fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        (dir, layout)
    }

    #[test]
    fn a_busybox_guest_is_made_and_removed() {
        let (_dir, layout) = layout();
        let web: GuestName = "web".parse().unwrap();
        let prepared = prepare(&layout, &Image::Busybox, &[], &Silent).unwrap();
        assert_eq!(prepare(&layout, &Image::Busybox, &[], &Silent).unwrap(), prepared);
        install(&layout, &web, &prepared, &Silent).unwrap();
        let rootfs = layout.rootfs(&web);
        assert_eq!(
            fs::read_link(rootfs.join("bin/ls")).unwrap(),
            Path::new("busybox")
        );
        let mode = fs::metadata(rootfs.join("tmp")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        let err = install(&layout, &web, &prepared, &Silent).unwrap_err();
        assert_eq!(err.kind(), Kind::Exists);
        remove(&layout, &web).unwrap();
        remove(&layout, &web).unwrap();
        assert!(!layout.guest_dir(&web).exists());
        assert_eq!(fs::read_dir(layout.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn a_clone_is_a_copy_with_an_identity_of_its_own() {
        let (_dir, layout) = layout();
        let (web, twin): (GuestName, GuestName) = ("web".parse().unwrap(), "twin".parse().unwrap());
        let busybox = prepare(&layout, &Image::Busybox, &[], &Silent).unwrap();
        install(&layout, &web, &busybox, &Silent).unwrap();
        fs::write(layout.rootfs(&web).join("etc/machine-id"), "0123\n").unwrap();
        fs::write(layout.rootfs(&web).join("srv/data"), "data").unwrap();
        let image = Image::Clone(web.clone());
        let prepared = prepare(&layout, &image, &[], &Silent).unwrap();
        assert_eq!(prepared.key, "clone-web");
        install(&layout, &twin, &prepared, &Silent).unwrap();
        assert_eq!(fs::read(layout.rootfs(&twin).join("srv/data")).unwrap(), b"data");
        assert_eq!(
            fs::read(layout.rootfs(&twin).join("etc/machine-id")).unwrap(),
            b""
        );
        let gone = prepare(&layout, &Image::Clone("gone".parse().unwrap()), &[], &Silent);
        assert_eq!(gone.unwrap_err().to_string(), "there is no guest `gone` to clone");
    }

    #[test]
    fn one_of_many_makes_the_image() {
        let (_dir, layout) = layout();
        let made = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cached(&layout, "key", &Silent, |dir| {
                        made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        make_dir(&dir.join("rootfs"), 0o755)
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
        assert!(layout.images().join("key/rootfs").is_dir());
        assert_eq!(fs::read_dir(layout.images()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(layout.images_tmp()).unwrap().count(), 0);
    }

    #[test]
    fn a_failed_build_leaves_nothing_and_can_be_repeated() {
        let (_dir, layout) = layout();
        let failed = cached(&layout, "key", &Silent, |dir| {
            make_dir(&dir.join("rootfs"), 0o755)?;
            Err(Error::new(Kind::External, "no"))
        });
        assert!(failed.is_err());
        assert!(!layout.images().join("key").exists());
        assert_eq!(fs::read_dir(layout.images_tmp()).unwrap().count(), 0);
        cached(&layout, "key", &Silent, |dir| {
            make_dir(&dir.join("rootfs"), 0o755)
        })
        .unwrap();
    }

    #[test]
    fn packages_are_for_debian() {
        let (_dir, layout) = layout();
        let err = prepare(&layout, &Image::Busybox, &["nginx".into()], &Silent).unwrap_err();
        assert_eq!(err.to_string(), "the image `busybox` takes no `packages`");
    }
}
