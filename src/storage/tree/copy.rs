//! Copying a tree so that the copy is the same guest: modes, owners, times, links, holes, capabilities.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, copy_file_range, openat, readlinkat};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, Whence, fchown, fchownat, ftruncate, linkat, lseek, symlinkat};

use super::super::Progress;
use super::{DEPTH, as_path, failure, names, too_deep, type_of};
use crate::error::Result;
use crate::sys;

/// What becomes of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// They are left out: a guest gets its own /dev, and a node in its tree is a door to the host's hardware.
    #[default]
    Skip,
    /// They are copied.
    Keep,
}

/// How a tree is copied.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What becomes of device nodes.
    pub devices: Devices,
    /// Directories, by device and inode, that are left out with all they hold.
    pub skip: Vec<(u64, u64)>,
    /// Whether it is a layer of an overlay, whose marks (`trusted.overlay.*`) are part of it.
    pub is_layer: bool,
    /// Whether no file of the copy shares its extents.
    pub is_apart: bool,
    /// Finds the content of a file that has it elsewhere; `None` for one that has it itself.
    pub content: Option<Elsewhere>,
}

/// Where a file of a layer has its content.
#[derive(Clone)]
pub struct Elsewhere(pub(in crate::storage) std::sync::Arc<Find>);

/// Opens the content of an open file that has it elsewhere.
pub(in crate::storage) type Find =
    dyn Fn(std::os::fd::BorrowedFd<'_>) -> Result<Option<File>, Errno> + Send + Sync;

impl std::fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Elsewhere")
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Names of all kinds.
    pub entries: u64,
    /// Bytes of files, holes not counted.
    pub bytes: u64,
    /// Device nodes left out.
    pub devices_skipped: u64,
    /// Mount points and directories of [`Options::skip`], which are empty in the copy.
    pub left_empty: u64,
}

/// Copies what is in the directory `from` into the empty directory `to`, and the attributes of `from` itself.
///
/// Extents are shared where the file system can (btrfs, xfs); otherwise the kernel copies (`copy_file_range(2)`),
/// holes stay holes. Hard links stay hard links. Extended attributes are copied but for `trusted.*`, which drivers
/// of the host believe (overlayfs), and labels of security modules, which belong to their own host.
pub fn copy(from: impl AsFd, to: impl AsFd, options: &Options, progress: &dyn Progress) -> Result<Copied> {
    let here = Path::new(".");
    let open = |dir| sys::open::child_dir(dir, here).map_err(|errno| failure("open", here, errno));
    let (from, to) = (open(from.as_fd())?, open(to.as_fd())?);
    let top = fstat(&to).map_err(|errno| failure("stat", here, errno))?;
    let mut run = Run {
        options,
        progress,
        // The copy may be made inside of what is copied: it is not copied into itself.
        top: (top.st_dev, top.st_ino),
        root: &to,
        links: HashMap::new(),
        shares: !options.is_apart,
        copied: Copied::default(),
        told: 0,
    };
    let stat = fstat(&from).map_err(|errno| failure("stat", here, errno))?;
    run.dir(&from, &to, here, 0)?;
    run.attributes(&from, &to, &stat)
        .map_err(|errno| failure("copy", here, errno))?;
    progress.bytes(run.copied.bytes, None);
    Ok(run.copied)
}

/// Copies the content of one file into an empty one, as [`copy`] does those of a tree.
pub fn copy_file(from: &mut File, to: &mut File, progress: &dyn Progress) -> Result<()> {
    let fail = |errno| failure("copy", Path::new("."), errno);
    let root = nix::unistd::dup(&*to).map_err(fail)?;
    let mut run = Run {
        options: &Options::default(),
        progress,
        top: (0, 0),
        root: &root,
        links: HashMap::new(),
        shares: true,
        copied: Copied::default(),
        told: 0,
    };
    let stat = fstat(&*from).map_err(fail)?;
    run.content(from, to, &stat).map_err(fail)
}

struct Run<'a> {
    options: &'a Options,
    progress: &'a dyn Progress,
    top: (u64, u64),
    root: &'a OwnedFd,
    /// Where a file with several names was first copied to.
    links: HashMap<(u64, u64), PathBuf>,
    /// Whether sharing extents is still worth trying.
    shares: bool,
    copied: Copied,
    told: u64,
}

/// How many bytes are copied between two reports.
const REPORT: u64 = 8 << 20;

impl Run<'_> {
    fn dir(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path, depth: usize) -> Result<()> {
        for name in names(from)? {
            let name = as_path(&name);
            let path = path.join(name);
            let fail = |errno| failure("copy", &path, errno);
            let stat = match fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                // Removed meanwhile.
                Err(Errno::ENOENT) => continue,
                other => other.map_err(fail)?,
            };
            let kind = type_of(&stat);
            self.copied.entries += 1;
            sys::interrupt::check()?;
            if kind == SFlag::S_IFDIR {
                if depth >= DEPTH {
                    return Err(too_deep(&path));
                }
                self.subdir(from, to, name, &path, &stat, depth)?;
                continue;
            }
            if stat.st_nlink > 1 {
                if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                    // `first` is made of directories of the copy alone, so it leads through no link.
                    linkat(self.root, first, to, name, AtFlags::empty()).map_err(fail)?;
                    continue;
                }
                self.links.insert((stat.st_dev, stat.st_ino), path.clone());
            }
            match kind {
                SFlag::S_IFREG => self.file(from, to, name, &stat).map_err(fail)?,
                SFlag::S_IFLNK => link(from, to, name, &stat).map_err(fail)?,
                SFlag::S_IFBLK | SFlag::S_IFCHR if self.options.devices == Devices::Skip => {
                    self.links.remove(&(stat.st_dev, stat.st_ino));
                    self.copied.devices_skipped += 1;
                }
                // A socket is an address of a process that does not run in the copy, but its name may be expected.
                _ => node(to, name, &stat).map_err(fail)?,
            }
            if self.copied.bytes - self.told >= REPORT {
                self.told = self.copied.bytes;
                self.progress.bytes(self.told, None);
            }
        }
        Ok(())
    }

    fn subdir(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &Path,
        path: &Path,
        stat: &FileStat,
        depth: usize,
    ) -> Result<()> {
        let fail = |errno| failure("copy", path, errno);
        mkdirat(to, name, Mode::S_IRWXU).map_err(fail)?;
        let made = sys::open::child_dir(to, name).map_err(fail)?;
        let id = (stat.st_dev, stat.st_ino);
        let child = if id == self.top || self.options.skip.contains(&id) {
            Err(Errno::EXDEV)
        } else {
            sys::open::child_dir(from, name)
        };
        match child {
            Ok(child) => {
                self.dir(&child, &made, path, depth + 1)?;
                self.attributes(&child, &made, stat).map_err(fail)
            }
            // Another mount: its mount point is part of the tree, its content is not.
            Err(Errno::EXDEV) => {
                self.copied.left_empty += 1;
                ownership(&made, stat).map_err(fail)
            }
            Err(errno) => Err(fail(errno)),
        }
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &Path, stat: &FileStat) -> Result<(), Errno> {
        // A FIFO may have taken the file's place since: NONBLOCK, and what was opened is compared with what was seen.
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let mut source = File::from(openat(from, name, flags, Mode::empty())?);
        let opened = fstat(&source)?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(Errno::ESTALE);
        }
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut copy = File::from(openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        if let Some(Elsewhere(find)) = &self.options.content
            && let Some(mut content) = find(source.as_fd())?
        {
            let stat = fstat(&content)?;
            self.content(&mut content, &mut copy, &stat)?;
            // Without the marks that say so.
            return copy_guest_attributes(&source, &copy, &opened);
        }
        if opened.st_size > 0 {
            self.content(&mut source, &mut copy, &opened)?;
        }
        self.attributes(&source, &copy, &opened)
    }

    fn attributes(&self, from: impl AsFd, to: impl AsFd, stat: &FileStat) -> Result<(), Errno> {
        attributes(from, to, stat, self.options.is_layer)
    }

    fn content(&mut self, source: &mut File, copy: &mut File, stat: &FileStat) -> Result<(), Errno> {
        let size = stat.st_size;
        if self.shares {
            match sys::file::share_extents(&*source, &*copy) {
                Ok(()) => {
                    self.copied.bytes += u64::try_from(size).unwrap_or(0);
                    return Ok(());
                }
                // EXDEV, EOPNOTSUPP, ENOTTY, EINVAL: what one file cannot, the others of this tree cannot either.
                Err(_) => self.shares = false,
            }
        }
        // Fewer blocks than bytes: there are holes.
        if stat.st_blocks.saturating_mul(512) >= size {
            return self.range(source, copy, 0, size);
        }
        let mut at = 0;
        while at < size {
            let data = match lseek(&*source, at, Whence::SeekData) {
                // Nothing but a hole up to the end.
                Err(Errno::ENXIO) => break,
                other => other?,
            };
            let hole = lseek(&*source, data, Whence::SeekHole)?.min(size);
            self.range(source, copy, data, hole)?;
            at = hole;
        }
        ftruncate(&*copy, size)
    }

    fn range(&mut self, source: &mut File, copy: &mut File, begin: i64, end: i64) -> Result<(), Errno> {
        if self.options.is_apart {
            // copy_file_range(2) shares too.
            return self.by_hand(source, copy, begin, end);
        }
        let (mut read, mut write) = (begin, begin);
        while read < end {
            let want = usize::try_from(end - read).unwrap_or(usize::MAX).min(1 << 30);
            match copy_file_range(&*source, Some(&mut read), &*copy, Some(&mut write), want) {
                // Truncated meanwhile.
                Ok(0) => break,
                Ok(done) => self.copied.bytes += done as u64,
                Err(Errno::EINTR) => {}
                Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                    return self.by_hand(source, copy, read, end);
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Reads and writes, between file systems that the kernel does not copy between.
    fn by_hand(&mut self, source: &mut File, copy: &mut File, begin: i64, end: i64) -> Result<(), Errno> {
        let errno = |err: std::io::Error| err.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let begin = u64::try_from(begin).unwrap_or(0);
        let mut left = u64::try_from(end).unwrap_or(0).saturating_sub(begin);
        source.seek(SeekFrom::Start(begin)).map_err(errno)?;
        copy.seek(SeekFrom::Start(begin)).map_err(errno)?;
        let mut buffer = vec![0; 1 << 17];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let done = source.read(&mut buffer[..want]).map_err(errno)?;
            if done == 0 {
                break;
            }
            copy.write_all(&buffer[..done]).map_err(errno)?;
            self.copied.bytes += done as u64;
            left -= done as u64;
        }
        Ok(())
    }
}

fn link(from: &OwnedFd, to: &OwnedFd, name: &Path, stat: &FileStat) -> Result<(), Errno> {
    symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?;
    named_attributes(to, name, stat)
}

fn node(to: &OwnedFd, name: &Path, stat: &FileStat) -> Result<(), Errno> {
    mknodat(
        to,
        name,
        type_of(stat),
        Mode::S_IRUSR | Mode::S_IWUSR,
        stat.st_rdev,
    )?;
    named_attributes(to, name, stat)?;
    // Just made, in a directory that only hostel can write to: it is still no link.
    nix::sys::stat::fchmodat(
        to,
        name,
        mode_of(stat),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
}

fn named_attributes(to: &OwnedFd, name: &Path, stat: &FileStat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let modified = modified(stat);
    utimensat(to, name, &modified, &modified, UtimensatFlags::NoFollowSymlink)
}

/// Owner, extended attributes, mode, time, in this order: a new owner takes away file capabilities and set-id
/// bits, and everything but the time changes the time.
fn attributes(from: impl AsFd, to: impl AsFd, stat: &FileStat, is_layer: bool) -> Result<(), Errno> {
    let is_wanted = |name: &CStr| is_the_guests(name) || is_layer && is_a_mark(name);
    let (from, to) = (from.as_fd(), to.as_fd());
    fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    match sys::file::xattr_names(from) {
        Ok(names) => {
            for name in names.iter().filter(|name| is_wanted(name)) {
                sys::file::set_xattr(to, name, &sys::file::xattr(from, name)?)?;
            }
        }
        // A file system without any.
        Err(Errno::EOPNOTSUPP) => {}
        Err(errno) => return Err(errno),
    }
    fchmod(to, mode_of(stat))?;
    let modified = modified(stat);
    futimens(to, &modified, &modified)
}

fn ownership(to: &OwnedFd, stat: &FileStat) -> Result<(), Errno> {
    fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    fchmod(to, mode_of(stat))
}

/// Owner, extended attributes, mode and time of one directory, for another.
pub fn copy_attributes(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let stat = fstat(from.as_fd()).map_err(|errno| failure("stat", Path::new("."), errno))?;
    attributes(from, to, &stat, false).map_err(|errno| failure("copy", Path::new("."), errno))
}

/// The same of a layer of an overlay, with its marks.
pub(in crate::storage) fn copy_layer_attributes(
    from: impl AsFd,
    to: impl AsFd,
    stat: &FileStat,
) -> Result<(), Errno> {
    attributes(from, to, stat, true)
}

/// Those that a guest sees, of a file.
pub(in crate::storage) fn copy_guest_attributes(
    from: impl AsFd,
    to: impl AsFd,
    stat: &FileStat,
) -> Result<(), Errno> {
    attributes(from, to, stat, false)
}

/// Whether it is one by which overlayfs remembers what a layer does to those below it. A guest can neither make nor
/// see one.
pub(in crate::storage) fn is_a_mark(name: &CStr) -> bool {
    name.to_bytes().starts_with(b"trusted.overlay.")
}

/// Whether an extended attribute says something to the guest alone.
pub(in crate::storage) fn is_the_guests(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.starts_with(b"user.") || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}

#[cfg(test)]
mod tests;

fn mode_of(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

fn modified(stat: &FileStat) -> TimeSpec {
    TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec)
}
