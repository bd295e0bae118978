//! A layer made anew: the same names, with the content of its files in the store. What takes no part is linked.
//!
//! The old layer never changes: guests, or snapshots of them, that still have it see what they saw.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{ftruncate, linkat};

use super::key::Key;
use super::store::{METACOPY, Put, REDIRECT, Store};
use crate::error::{Error, Kind, Result};
use crate::storage::tree::{self, DEPTH, as_path, type_of};
use crate::sys;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The keys of its files.
    pub(super) keys: Vec<Key>,
    /// Files whose content an equal one had already.
    pub(super) shared: u64,
    /// What those occupied.
    pub(super) saved: u64,
}

/// Makes the layer `to` like `from`; `files` are those of it that take part, by inode.
pub(super) fn plant(from: &OwnedFd, to: &OwnedFd, files: &HashMap<u64, Key>, store: &Store) -> Result<Made> {
    let mut run = Run {
        files,
        store,
        root: to,
        planted: HashMap::new(),
        made: Made::default(),
    };
    if fstatat(from, store.name(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
        return Err(Error::new(
            Kind::State,
            format!(
                "a guest has a file that is called as the store is, `/{}`",
                store.name()
            ),
        ));
    }
    let top = fstat(from).map_err(|errno| fail(Path::new("."), errno))?;
    run.dir(from, to, Path::new(""), 0)?;
    tree::copy_layer_attributes(from, to, &top).map_err(|errno| fail(Path::new("."), errno))?;
    Ok(run.made)
}

struct Run<'a> {
    files: &'a HashMap<u64, Key>,
    store: &'a Store,
    root: &'a OwnedFd,
    /// Where a file with several names was first made.
    planted: HashMap<u64, PathBuf>,
    made: Made,
}

impl Run<'_> {
    fn dir(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path, depth: usize) -> Result<()> {
        sys::interrupt::check()?;
        for name in tree::names(from)? {
            let name = as_path(&name);
            let path = path.join(name);
            let stat =
                fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| fail(&path, errno))?;
            if type_of(&stat) != SFlag::S_IFDIR {
                self.entry(from, to, name, &path, &stat)
                    .map_err(|errno| fail(&path, errno))?;
                continue;
            }
            if depth >= DEPTH {
                return Err(tree::too_deep(&path));
            }
            let errno = |errno| fail(&path, errno);
            mkdirat(to, name, Mode::S_IRWXU).map_err(errno)?;
            let (old, new) = (sys::open::child_dir(from, name), sys::open::child_dir(to, name));
            let (old, new) = (old.map_err(errno)?, new.map_err(errno)?);
            self.dir(&old, &new, &path, depth + 1)?;
            tree::copy_layer_attributes(&old, &new, &stat).map_err(errno)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &Path,
        path: &Path,
        stat: &FileStat,
    ) -> Result<(), Errno> {
        if let Some(first) = self.planted.get(&stat.st_ino) {
            return linkat(self.root, first, to, name, AtFlags::empty());
        }
        let put = match self.files.get(&stat.st_ino) {
            Some(key) if type_of(stat) == SFlag::S_IFREG => {
                Some((*key, self.store.put(*key, from.as_fd(), name)?))
            }
            _ => None,
        };
        let Some((key, Put::New | Put::Equal)) = put else {
            return linkat(from, name, to, name, AtFlags::empty());
        };
        self.mark(from, to, name, stat, key)?;
        if stat.st_nlink > 1 {
            self.planted.insert(stat.st_ino, path.to_owned());
        }
        self.made.keys.push(key);
        if put == Some((key, Put::Equal)) {
            self.made.shared += 1;
            self.made.saved += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        Ok(())
    }

    /// A file that is metadata alone.
    fn mark(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &Path,
        stat: &FileStat,
        key: Key,
    ) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let old = openat(from, name, flags, Mode::empty())?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let new = openat(to, name, flags, Mode::S_IRUSR)?;
        ftruncate(&new, stat.st_size)?;
        let redirect = CString::new(self.store.redirect(key)).map_err(|_nul| Errno::EINVAL)?;
        // The guest's own may be larger than an inode; these two are read at each look-up and come first.
        sys::file::set_xattr(&new, METACOPY, b"")?;
        sys::file::set_xattr(&new, REDIRECT, redirect.as_bytes())?;
        tree::copy_guest_attributes(&old, &new, stat)
    }
}

fn fail(path: &Path, errno: Errno) -> Error {
    Error::os(
        format!("make `{}` of a layer anew", path.to_string_lossy().escape_debug()),
        errno,
    )
}
