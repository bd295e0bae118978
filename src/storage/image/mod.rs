//! Where a guest's files come from: one kind a file, behind [`prepare`] and [`install`].
//!
//! A prepared image is kept in `images/KEY` and never changes: the key is the hash of all that went into it. It is
//! made in a scratch directory and renamed into place, so there is a whole one or none, however the maker ends.

mod busybox;
mod clone;
mod debian;
mod digest;
mod oci;
mod sources;
pub(in crate::storage) mod tar;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::driver::btrfs::make_root;
use super::driver::{self, From};
use super::files::{self, Files};
use super::scratch::{self, Scratch};
use super::{Bounds, Layout, Progress, identity, layer, lock, tree};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::image::Container;
use crate::guest::start_of_image::StartOfImage;
use crate::guest::{Arch, Distribution, GuestName, Image, Spec, Storage};
use crate::sys;

/// An image that guests can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What it was made of, as one word. It is part of what was applied to a guest.
    pub key: String,
    /// Its root directory, which nothing writes to; of a guest, the directory of all that is its.
    pub path: PathBuf,
    /// The guest that it is, if it is one: it is held still while it is copied.
    pub source: Option<GuestName>,
    /// How it says that it is started, if it says so.
    pub start: Option<StartOfImage>,
    /// Whether the host's processor runs its programs.
    pub is_native: bool,
}

/// What a guest is to be made of.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where its files come from.
    pub image: &'a Image,
    /// The packages that are added.
    pub packages: &'a [String],
    /// What processor it is for; the host's own without it.
    pub arch: Option<Arch>,
}

impl<'a> Wanted<'a> {
    /// As the specification says.
    pub fn of(spec: &'a Spec) -> Self {
        Self {
            image: &spec.image,
            packages: &spec.packages,
            arch: spec.arch,
        }
    }

    /// The image alone, for the host's processor.
    pub fn image(image: &'a Image) -> Self {
        Self {
            image,
            packages: &[],
            arch: None,
        }
    }
}

/// Finds the image, or makes it. Two that want the same one at once get the same one: the second waits.
pub fn prepare(layout: &Layout, wanted: Wanted<'_>, progress: &dyn Progress) -> Result<Prepared> {
    let Wanted {
        image,
        packages,
        arch,
    } = wanted;
    if !packages.is_empty() && !matches!(image, Image::Suite(..)) {
        return Err(
            Error::new(Kind::Invalid, format!("the image `{image}` takes no `packages`")).with_hint(
                "only the suite of a distribution, such as `debian:bookworm`, is made of packages",
            ),
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
                start: None,
                is_native: is_native(arch),
            })
        }
        Image::Clone(source) => {
            let path = layout.guest_dir(source);
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
                start: super::state::read(layout, source)?.and_then(|applied| applied.start),
                is_native: is_native(arch),
            })
        }
        Image::Suite(distribution, suite) => {
            let debian = debian::Debian::new(*distribution, suite, packages, arch)?;
            let key = debian.key()?;
            let prepared = cached(layout, &key, progress, |dir| {
                debian.build(layout, &key, dir, progress)
            })?;
            Ok(Prepared {
                is_native: is_native(arch),
                ..prepared
            })
        }
        Image::Container(container) => {
            progress.stage(&format!("reading {}", container.path.display()));
            let oci = oci::Oci::find(layout, container, go_name(arch))?;
            let start = oci.start();
            let prepared = cached(layout, &oci.key(), progress, |dir| oci.unpack(dir, progress))?;
            Ok(Prepared {
                start: Some(start),
                ..prepared
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

/// Finds out what several guests that are to be made need to know: what their images are that are known by their
/// content, and what the file system can do. Processes that are forked from this one then know it too.
pub fn foresee<'a>(layout: &Layout, specs: impl Iterator<Item = &'a Spec>, progress: &dyn Progress) {
    let mut guests: HashMap<&Image, usize> = HashMap::new();
    let mut without_wish = 0;
    for spec in specs {
        *guests.entry(&spec.image).or_default() += 1;
        without_wish += usize::from(spec.storage.is_none());
    }
    if without_wish > 1 {
        let _ = driver::choose(layout, None, driver::FOR_GUESTS, &Bounds::NONE);
    }
    for image in guests
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(image, _)| image)
    {
        // Whoever makes a guest of it tells what is wrong with it.
        let _ = match image {
            Image::Busybox => busybox::find().and_then(|found| found.key()),
            Image::Tar(path) => {
                progress.stage(&format!("reading {}", path.display()));
                tar::Archive::open(path).and_then(|archive| archive.key())
            }
            _ => continue,
        };
    }
}

fn is_native(arch: Option<Arch>) -> bool {
    arch.is_none_or(Arch::is_native)
}

/// An architecture, the host's without one, by Go's name for it.
fn go_name(arch: Option<Arch>) -> &'static str {
    arch.or_else(Arch::native)
        .map_or(std::env::consts::ARCH, Arch::go_name)
}

/// Makes the guest's own files from the image: all of them or none. Gives how they are kept. The caller holds the
/// guest's lock, and flushes them when it writes the specification that makes them a guest's.
pub fn install(
    layout: &Layout,
    name: &GuestName,
    prepared: &Prepared,
    storage: Option<Storage>,
    bounds: &Bounds,
    progress: &dyn Progress,
) -> Result<Files> {
    if fs::symlink_metadata(layout.guest_dir(name)).is_ok() {
        return Err(
            Error::new(Kind::Exists, format!("`{name}` has files already")).with_hint("destroy it first")
        );
    }
    let driver = driver::choose(layout, storage, driver::FOR_GUESTS, bounds)?;
    let mut held = match &prepared.source {
        Some(source) => Some(clone::hold(layout, source, progress)?),
        None => None,
    };
    let scratch = Scratch::new(layout)?;
    let place = scratch.path().join(name.as_str());
    make_dir(&place, 0o700)?;
    let source_files = match &prepared.source {
        Some(source) => files::read(layout, source)?,
        None => Files::Dir,
    };
    if let Some((source, _lock)) = &mut held {
        source.keep_still(&source_files, driver.storage())?;
    }
    let home = prepared.source.as_ref().map(|source| layout.guest_dir(source));
    let from = match &home {
        Some(home) => From::Guest {
            home,
            files: &source_files,
            is_live: held.as_ref().is_some_and(|(source, _lock)| source.is_running()),
        },
        None if prepared.key == "dir" => From::Dir(&prepared.path),
        None => From::Image {
            key: &prepared.key,
            path: &prepared.path,
        },
    };
    let made = driver.make(&driver::Job {
        layout,
        name: name.as_str(),
        from: &from,
        place: &place,
        bounds,
        progress,
    })?;
    // It goes on now: what follows is done to the copy.
    drop(held);
    if made.devices_skipped > 0 {
        progress.warning(&format!(
            "{} device nodes were left out of {name}: a guest gets its own /dev",
            made.devices_skipped
        ));
    }
    personalise(layout, &made.files, &place, prepared, progress)?;
    files::put(&place, &made.files)?;
    appear(&place, &layout.guest_dir(name))?;
    made.holds.kept();
    Ok(made.files)
}

/// Makes the files of a guest by `fill`, which is given an empty directory: all of them or none. The caller holds the
/// guest's lock, and flushes them as after [`install`].
pub fn install_filled(
    layout: &Layout,
    name: &GuestName,
    storage: Option<Storage>,
    bounds: &Bounds,
    fill: &dyn Fn(&Path) -> Result<()>,
    progress: &dyn Progress,
) -> Result<()> {
    let driver = driver::choose(layout, storage, driver::FOR_GUESTS, bounds)?;
    let scratch = Scratch::new(layout)?;
    let place = scratch.path().join(name.as_str());
    make_dir(&place, 0o700)?;
    let made = driver.make(&driver::Job {
        layout,
        name: name.as_str(),
        from: &From::Fill(fill),
        place: &place,
        bounds,
        progress,
    })?;
    files::put(&place, &made.files)?;
    appear(&place, &layout.guest_dir(name))?;
    made.holds.kept();
    Ok(())
}

/// Gives the new guest what it must not have in common with others.
fn personalise(
    layout: &Layout,
    files: &Files,
    place: &Path,
    prepared: &Prepared,
    progress: &dyn Progress,
) -> Result<()> {
    let rootfs = place.join("rootfs");
    let work = place.parent().unwrap_or(place);
    let is_debian = Distribution::ALL
        .iter()
        .any(|of| prepared.key.starts_with(&format!("{of}-")));
    // Its own programs may be for another processor; the host's make the keys then.
    if is_debian && files.has_tree() && prepared.is_native {
        return debian::personalise(&rootfs, progress);
    }
    let Some(label) = prepared
        .source
        .as_ref()
        .map(GuestName::as_str)
        .or(is_debian.then_some(prepared.key.as_str()))
    else {
        return Ok(());
    };
    let inside = files::open_in(layout, place, files, label, files::Access::Write)?.flushed_later();
    if prepared.source.is_some() {
        identity::reset(&inside, work, progress)
    } else if inside.exists(Path::new("/etc/ssh/sshd_config"))? {
        identity::make_host_keys(&inside, identity::KEY_TYPES, work, progress)
    } else {
        Ok(())
    }
}

/// Removes the guest's directory with its files and what was applied to it. The caller holds the guest's lock, and
/// nothing of the guest runs. It is no error when there is nothing.
pub fn remove(layout: &Layout, name: &GuestName) -> Result<()> {
    let dir = layout.guest_dir(name);
    if fs::symlink_metadata(&dir).is_err_and(|err| err.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    // One that cannot be read is no reason to keep the rest: its layers are found by the next sweep.
    let layers: Vec<_> = match files::read(layout, name) {
        Ok(Files::Overlay(stack)) => stack.layers().collect(),
        _ => Vec::new(),
    };
    // Out of sight in one step: a guest is there or not, and what is left of it is swept.
    let scratch = Scratch::new(layout)?;
    match fs::rename(&dir, scratch.path().join(name.as_str())) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.context(|| format!("remove `{}`", dir.display()))?,
    }
    tree::remove(open(scratch.path())?, Path::new(name.as_str()))
        .context(|| format!("remove the files of `{name}`"))?;
    layer::remove_unused(layout, layers).map(drop)
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
        start: None,
        is_native: true,
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

/// Puts a guest's files in their place. Files without a specification are nobody's, and swept, also after a power
/// failure.
fn appear(made: &Path, place: &Path) -> Result<()> {
    fs::rename(made, place).context(|| format!("move into `{}`", place.display()))
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

/// Unpacks an archive into `dir/rootfs`, as a build of a `tar:` image does.
pub(crate) fn unpack_tar(archive: &Path, dir: &Path) -> Result<()> {
    tar::Archive::open(archive)?.unpack(dir, &super::Silent)
}

/// Unpacks an image in a tar archive into `dir/rootfs`, as a build of it does.
pub(crate) fn unpack_image(layout: &Layout, container: &Container, dir: &Path) -> Result<()> {
    oci::Oci::find(layout, container, "amd64")?.unpack(dir, &super::Silent)
}

/// Unpacks layers into `dir/rootfs`, one onto the other.
pub(crate) fn unpack_layers(layers: &[&[u8]], dir: &Path) -> Result<()> {
    oci::unpack_layers(layers, dir)
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
        let prepared = prepare(&layout, Wanted::image(&Image::Busybox), &Silent).unwrap();
        assert_eq!(
            prepare(&layout, Wanted::image(&Image::Busybox), &Silent).unwrap(),
            prepared
        );
        install(
            &layout,
            &web,
            &prepared,
            Some(Storage::Dir),
            &Bounds::NONE,
            &Silent,
        )
        .unwrap();
        let rootfs = layout.rootfs(&web);
        assert_eq!(
            fs::read_link(rootfs.join("bin/ls")).unwrap(),
            Path::new("busybox")
        );
        let mode = fs::metadata(rootfs.join("tmp")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        let err = install(
            &layout,
            &web,
            &prepared,
            Some(Storage::Dir),
            &Bounds::NONE,
            &Silent,
        )
        .unwrap_err();
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
        let busybox = prepare(&layout, Wanted::image(&Image::Busybox), &Silent).unwrap();
        install(
            &layout,
            &web,
            &busybox,
            Some(Storage::Dir),
            &Bounds::NONE,
            &Silent,
        )
        .unwrap();
        let applied =
            r#"{"format":1,"spec":{"name":"web","image":"busybox"},"xid":101,"image_key":"x","hostel":"x"}"#;
        fs::write(layout.spec(&web), applied).unwrap();
        fs::write(layout.rootfs(&web).join("etc/machine-id"), "0123\n").unwrap();
        fs::write(layout.rootfs(&web).join("srv/data"), "data").unwrap();
        let image = Image::Clone(web.clone());
        let prepared = prepare(&layout, Wanted::image(&image), &Silent).unwrap();
        assert_eq!(prepared.key, "clone-web");
        install(
            &layout,
            &twin,
            &prepared,
            Some(Storage::Dir),
            &Bounds::NONE,
            &Silent,
        )
        .unwrap();
        assert_eq!(fs::read(layout.rootfs(&twin).join("srv/data")).unwrap(), b"data");
        assert_eq!(
            fs::read(layout.rootfs(&twin).join("etc/machine-id")).unwrap(),
            b""
        );
        let gone = prepare(
            &layout,
            Wanted::image(&Image::Clone("gone".parse().unwrap())),
            &Silent,
        );
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
        let packages = ["nginx".into()];
        let wanted = Wanted {
            packages: &packages,
            ..Wanted::image(&Image::Busybox)
        };
        let err = prepare(&layout, wanted, &Silent).unwrap_err();
        assert_eq!(err.to_string(), "the image `busybox` takes no `packages`");
    }
}
