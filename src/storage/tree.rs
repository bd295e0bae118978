//! Whole trees, by descriptor: copying, removing, measuring.
//!
//! No path of a tree is ever resolved: each directory is opened in its parent, without following a link and
//! without entering another mount. So a tree that changes under a copy can spoil the copy, never lead it out.

mod copy;

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

pub use copy::{Copied, Devices, Elsewhere, Options, copy, copy_attributes, copy_file};
pub(in crate::storage) use copy::{copy_guest_attributes, copy_layer_attributes, is_a_mark, is_the_guests};

use super::scratch;
use crate::error::{Error, Kind, Result};
use crate::sys;

/// How many directories are open at once in one branch. Real trees stay far below; each level costs at most two
/// descriptors, and the usual soft limit is 1024 (`getrlimit(2)`).
pub(super) const DEPTH: usize = 200;

/// Removes `name` in `dir` with everything below it. Links are removed, not followed; a mount point below is
/// an error (`Kind::State`), because what is mounted there is somebody else's.
pub fn remove(dir: impl AsFd, name: &Path) -> Result<()> {
    let fail = |errno| failure("remove", name, errno);
    let dir = dir.as_fd();
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR) => {}
        Err(errno) => return Err(fail(errno)),
    }
    // A process that is being killed may still write while the tree is removed: the directory is then not empty
    // after all and is emptied again. Not for ever: a live writer is a bug of the caller.
    let mut spare = 64;
    while spare > 0 {
        let top = sys::open::child_dir(dir, name).map_err(fail)?;
        if destroyed(dir, &top, name) {
            return Ok(());
        }
        // One that was too deep is less deep now, and that comes to an end: a guest can have made thousands of levels.
        if !empty(&top, &top, 0)? {
            spare -= 1;
        }
        match unlinkat(dir, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    Err(fail(Errno::ENOTEMPTY))
}

/// Whether something was too deep, and is below the top instead.
fn empty(top: &OwnedFd, dir: &OwnedFd, depth: usize) -> Result<bool> {
    let mut is_flatter = false;
    for name in names(dir)? {
        let path = as_path(&name);
        let fail = |errno| failure("remove", path, errno);
        match unlinkat(dir, path, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR) => {}
            Err(errno) => return Err(fail(errno)),
        }
        if depth >= DEPTH {
            // Too deep to hold every level open. It becomes a child of the top instead, and the caller, who finds
            // the top not empty, comes back for it.
            let flat = scratch::unique();
            renameat(dir, path, top, flat.as_str()).map_err(fail)?;
            is_flatter = true;
            continue;
        }
        let child = match sys::open::child_dir(dir, path) {
            Err(Errno::ENOENT) => continue,
            other => other.map_err(fail)?,
        };
        if destroyed(dir, &child, path) {
            continue;
        }
        is_flatter |= empty(top, &child, depth + 1)?;
        drop(child);
        match unlinkat(dir, path, UnlinkatFlags::RemoveDir) {
            // Not empty: see `remove`.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    Ok(is_flatter)
}

/// Removes a subvolume of btrfs at once. One that has others in it, or that the caller may not, is emptied as a
/// directory is.
fn destroyed(parent: impl AsFd, child: &OwnedFd, name: &Path) -> bool {
    if !matches!(sys::btrfs::is_subvolume(child), Ok(true)) {
        return false;
    }
    let id = sys::btrfs::subvolume_id(child);
    let is_gone = sys::btrfs::destroy(parent.as_fd(), name.as_os_str()).is_ok();
    if let (true, Ok(id)) = (is_gone, id) {
        // Where quotas are off there is nothing, and a newer kernel (6.10) does it when the last block is gone.
        let _ = sys::btrfs::forget(parent, id);
    }
    is_gone
}

/// What a tree occupies on disk, in bytes. A file with several names counts once; other mounts do not count.
pub fn size(dir: impl AsFd) -> Result<u64> {
    let top = sys::open::child_dir(dir, Path::new(".")).map_err(|e| failure("open", Path::new("."), e))?;
    measure(&top, &mut HashSet::new(), 0)
}

fn measure(dir: &OwnedFd, seen: &mut HashSet<u64>, depth: usize) -> Result<u64> {
    let mut sum = 0;
    for name in names(dir)? {
        let path = as_path(&name);
        let stat = match fstatat(dir, path, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => continue,
            other => other.map_err(|errno| failure("measure", path, errno))?,
        };
        let is_dir = type_of(&stat) == SFlag::S_IFDIR;
        if is_dir || stat.st_nlink == 1 || seen.insert(stat.st_ino) {
            // `st_blocks` is in units of 512 bytes whatever the block size (`stat(2)`).
            sum += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        if is_dir {
            if depth >= DEPTH {
                return Err(too_deep(path));
            }
            match sys::open::child_dir(dir, path) {
                Ok(child) => sum += measure(&child, seen, depth + 1)?,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {}
                Err(errno) => return Err(failure("measure", path, errno)),
            }
        }
    }
    Ok(sum)
}

/// The names in a directory. They are read at once: a directory must not change under `readdir(3)`.
pub(super) fn names(dir: &OwnedFd) -> Result<Vec<CString>> {
    let fail = |errno| failure("list", Path::new("."), errno);
    // Opened anew, so that the position of this reading is its own.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut reader = Dir::openat(dir, ".", flags, Mode::empty()).map_err(fail)?;
    let mut names = Vec::new();
    for entry in reader.iter() {
        let entry = entry.map_err(fail)?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

pub(super) fn as_path(name: &CString) -> &Path {
    Path::new(OsStr::from_bytes(name.as_bytes()))
}

pub(super) fn type_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

pub(super) fn too_deep(path: &Path) -> Error {
    Error::new(
        Kind::Invalid,
        format!("`{}` is more than {DEPTH} directories deep", shown(path)),
    )
}

fn shown(path: &Path) -> impl std::fmt::Display {
    path.to_string_lossy().escape_debug().to_string()
}

fn failure(operation: &str, path: &Path, errno: Errno) -> Error {
    let failure = Error::os(format!("{operation} `{}`", shown(path)), errno);
    match errno {
        Errno::EXDEV | Errno::EBUSY => failure
            .with_kind(Kind::State)
            .with_hint("something is mounted there; unmount it first"),
        Errno::EPERM => failure.with_hint("is it immutable? `lsattr -d` shows it, `chattr -i` changes it"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    #[test]
    fn removes_links_and_not_what_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("tree/a/b")).unwrap();
        fs::write(dir.path().join("canary"), "host").unwrap();
        symlink("../../canary", dir.path().join("tree/a/file")).unwrap();
        symlink(dir.path(), dir.path().join("tree/a/dir")).unwrap();
        symlink(dir.path(), dir.path().join("link")).unwrap();
        let parent = File::open(dir.path()).unwrap();
        remove(&parent, Path::new("tree")).unwrap();
        remove(&parent, Path::new("link")).unwrap();
        remove(&parent, Path::new("missing")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read(dir.path().join("canary")).unwrap(), b"host");
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        // In memory: on a disk the moves of directories take a minute.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let parent = File::open(dir.path()).unwrap();
        nix::sys::stat::mkdirat(&parent, "deep", Mode::S_IRWXU).unwrap();
        let mut at = sys::open::child_dir(&parent, Path::new("deep")).unwrap();
        // More than sixty-four times what one pass takes.
        for _ in 0..13_500 {
            nix::sys::stat::mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = sys::open::child_dir(&at, Path::new("d")).unwrap();
        }
        drop(at);
        assert_eq!(size(&parent).unwrap_err().kind(), Kind::Invalid);
        remove(&parent, Path::new("deep")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn size_counts_a_hard_link_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), vec![1; 1 << 20]).unwrap();
        let one = size(File::open(dir.path()).unwrap()).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_eq!(size(File::open(dir.path()).unwrap()).unwrap(), one);
        assert!(one >= 1 << 20);
    }
}
