//! What an archive of changes leaves out: all that is as it was in the base.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, fstatat};

use super::leaf;
use super::seal::Names;
use crate::error::{Error, Result};
use crate::storage::tree;
use crate::sys;

/// The tree that an archive of changes goes onto, and which of its names are one file.
pub(super) struct Base {
    pub(super) root: OwnedFd,
    pub(super) names: Names,
    /// The same of the tree that is archived.
    pub(super) new_names: Names,
}

/// Names of the base's directory that the new one has not, or not as something that an archive keeps.
pub(super) fn gone(base: &OwnedFd, new: &OwnedFd) -> Result<Vec<PathBuf>> {
    let mut gone = Vec::new();
    for name in super::seal::sorted(base)? {
        let name = tree::as_path(&name);
        if is_kept(base, name)? && !is_kept(new, name)? {
            gone.push(name.to_owned());
        }
    }
    Ok(gone)
}

/// The directory of that name in the base, if it is one there.
pub(super) fn child(base: &OwnedFd, name: &Path) -> Result<Option<OwnedFd>> {
    match sys::open::child_dir(base, name) {
        Ok(child) => Ok(Some(child)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => Ok(None),
        Err(errno) => Err(Error::os(format!("read `{}`", name.display()), errno)),
    }
}

/// Whether a directory is as in the base, but for what is in it.
pub(super) fn has_dir(base: &OwnedFd, new: &OwnedFd, stat: &FileStat) -> Result<bool> {
    let fail = |errno| Error::os("compare a directory with the snapshot", errno);
    let there = nix::sys::stat::fstat(base).map_err(fail)?;
    Ok(leaf::is_like(&there, stat)
        && leaf::attributes(base.as_fd()).map_err(fail)? == leaf::attributes(new.as_fd()).map_err(fail)?)
}

impl Base {
    /// Whether a file is as in the base, with all of its names.
    pub(super) fn has_leaf(
        &self,
        (base, new): (&OwnedFd, &OwnedFd),
        name: &Path,
        path: &Path,
        stat: &FileStat,
    ) -> io::Result<bool> {
        let there = match fstatat(base, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(false),
            other => other?,
        };
        let of = |names: &Names, stat: &FileStat| names.get(&(stat.st_dev, stat.st_ino)).cloned();
        let (old, now) = (of(&self.names, &there), of(&self.new_names, stat));
        if old != now || !leaf::is_like(&there, stat) {
            return Ok(false);
        }
        match now {
            // As the first of its names, which was looked at before it.
            Some(names) if names.first().is_some_and(|first| first != path) => Ok(true),
            _ => leaf::is_same((base, new), name, leaf::kind(stat)),
        }
    }
}

fn is_kept(dir: &OwnedFd, name: &Path) -> Result<bool> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(leaf::is_kept(&stat)),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(Error::os(format!("read `{}`", name.display()), errno)),
    }
}
