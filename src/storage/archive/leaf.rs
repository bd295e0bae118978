//! One file of a tree as an archive sees it: what is kept of it, and whether two of them are the same.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag};

use crate::storage::tree::is_the_guests;
use crate::sys;

/// Names and values of extended attributes, in order.
pub(super) type Attributes = Vec<(CString, Vec<u8>)>;

/// Opens a plain file for reading, whatever has its name by now.
pub(super) fn open(dir: &OwnedFd, name: &Path) -> Result<File, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map(File::from)
}

/// The attributes that are the guest's.
pub(super) fn attributes(open: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    let names = match sys::file::xattr_names(open) {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| is_the_guests(name)) {
        let value = sys::file::xattr(open, &name)?;
        found.push((name, value));
    }
    found.sort();
    Ok(found)
}

/// What a file is.
pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Whether an archive has files of its kind. Device nodes and sockets are left out.
pub(super) fn is_kept(stat: &FileStat) -> bool {
    matches!(
        kind(stat),
        SFlag::S_IFREG | SFlag::S_IFLNK | SFlag::S_IFIFO | SFlag::S_IFDIR
    )
}

/// When it was changed, as an archive has it: not before 1970.
pub(super) fn time(stat: &FileStat) -> (i64, i64) {
    if stat.st_mtime < 0 {
        (0, 0)
    } else {
        (stat.st_mtime, stat.st_mtime_nsec)
    }
}

/// Whether all is the same that a `stat(2)` tells and an archive keeps.
pub(super) fn is_like(one: &FileStat, other: &FileStat) -> bool {
    let size = |stat: &FileStat| match kind(stat) {
        SFlag::S_IFREG | SFlag::S_IFLNK => stat.st_size,
        _ => 0,
    };
    let facts = |stat: &FileStat| (stat.st_mode, stat.st_uid, stat.st_gid, time(stat), size(stat));
    facts(one) == facts(other)
}

/// Whether two leaves, which are alike, are the same: by their bytes, never by size and time alone.
pub(super) fn is_same((dir, other): (&OwnedFd, &OwnedFd), name: &Path, kind: SFlag) -> io::Result<bool> {
    match kind {
        SFlag::S_IFLNK => Ok(readlinkat(dir, name)? == readlinkat(other, name)?),
        SFlag::S_IFREG => {
            let (one, two) = (open(dir, name)?, open(other, name)?);
            Ok(attributes(one.as_fd())? == attributes(two.as_fd())? && is_equal(one, two)?)
        }
        _ => Ok(true),
    }
}

fn is_equal(one: File, two: File) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let (mut one, mut two) = (one, two);
    loop {
        let (a, b) = (fill(&mut one, &mut left)?, fill(&mut two, &mut right)?);
        if left[..a] != right[..b] {
            return Ok(false);
        }
        if a == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file at its end.
pub(super) fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match from.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(done)
}
