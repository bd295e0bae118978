//! What a file has besides its bytes: extended attributes (`xattr(7)`) and shared extents (`ioctl_ficlone(2)`).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

mod ioctl {
    nix::ioctl_write_int_bad!(ficlone, nix::libc::FICLONE);
    // The size in the number is that of the part before the list (`linux/fs.h`).
    nix::ioctl_readwrite_bad!(
        fidedupe,
        nix::request_code_readwrite!(0x94, 54, 24),
        super::DedupeRange
    );
}

/// `struct file_dedupe_range` with one destination (`ioctl_fideduperange(2)`).
#[repr(C)]
struct DedupeRange {
    src_offset: u64,
    src_length: u64,
    dest_count: u16,
    reserved1: u16,
    reserved2: u32,
    dest_fd: i64,
    dest_offset: u64,
    bytes_deduped: u64,
    status: i32,
    reserved: u32,
}

/// What came of asking for two ranges to be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// So many bytes are, from the beginning of the ranges.
    Bytes(u64),
    /// They differ.
    Differ,
}

/// Makes `to` share the `length` bytes at `offset` with `from`, if they are equal. The kernel compares them and keeps
/// both still meanwhile; neither the content nor a time of either changes. A writer may be at work.
pub fn share_if_equal(from: impl AsFd, to: impl AsFd, offset: u64, length: u64) -> Result<Shared, Errno> {
    let mut range = DedupeRange {
        src_offset: offset,
        src_length: length,
        dest_count: 1,
        reserved1: 0,
        reserved2: 0,
        dest_fd: i64::from(to.as_fd().as_raw_fd()),
        dest_offset: offset,
        bytes_deduped: 0,
        status: 0,
        reserved: 0,
    };
    // SAFETY: the argument has as many destinations as it says, and lives across the call, as both descriptors do.
    unsafe { ioctl::fidedupe(from.as_fd().as_raw_fd(), &raw mut range) }?;
    match range.status {
        0 => Ok(Shared::Bytes(range.bytes_deduped)),
        // FILE_DEDUPE_RANGE_DIFFERS
        1 => Ok(Shared::Differ),
        errno => Err(Errno::from_raw(-errno)),
    }
}

/// `FS_IOC_FIEMAP` with room for so many extents (`Documentation/filesystems/fiemap.rst`).
const EXTENTS: usize = 64;

#[repr(C)]
#[derive(Clone, Copy)]
struct RawExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct RawMap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [RawExtent; EXTENTS],
}

mod fiemap {
    nix::ioctl_readwrite_bad!(fiemap, nix::request_code_readwrite!(b'f', 11, 32), super::RawMap);
}

/// Offset, place and length of a part of a file, in bytes.
pub type Extent = (u64, u64, u64);

/// Where a file lies on its disk: offset, place and length of each extent. `None` when that is not known yet, or there
/// are very many.
pub fn extents(file: impl AsFd) -> Result<Option<Vec<Extent>>, Errno> {
    // FIEMAP_EXTENT_UNKNOWN, DELALLOC, ENCODED with DATA_ENCRYPTED, NOT_ALIGNED, DATA_INLINE
    const VAGUE: u32 = 0x2 | 0x4 | 0x80 | 0x100 | 0x200;
    const LAST: u32 = 0x1;
    let mut map = RawMap {
        start: 0,
        length: u64::MAX,
        flags: 0,
        mapped: 0,
        count: u32::try_from(EXTENTS).unwrap_or(0),
        reserved: 0,
        extents: [RawExtent {
            logical: 0,
            physical: 0,
            length: 0,
            reserved64: [0; 2],
            flags: 0,
            reserved: [0; 3],
        }; EXTENTS],
    };
    // SAFETY: the argument has room for as many extents as it says, and lives across the call.
    unsafe { fiemap::fiemap(file.as_fd().as_raw_fd(), &raw mut map) }?;
    let found = &map.extents[..usize::try_from(map.mapped).unwrap_or(0).min(EXTENTS)];
    let is_whole = found.last().is_some_and(|last| last.flags & LAST != 0);
    let is_vague = found.iter().any(|extent| extent.flags & VAGUE != 0);
    Ok((is_whole && !is_vague).then(|| found.iter().map(|e| (e.logical, e.physical, e.length)).collect()))
}

/// A pipe, both ends closed on exec: what is read comes first.
pub fn pipe() -> crate::Result<(OwnedFd, OwnedFd)> {
    use crate::error::Context as _;
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(|| "make a pipe")
}

/// Waits for a byte from the other end of a pipe; false at the end of file. A signal is no word, and no end.
pub fn await_word(pipe: impl AsFd) -> bool {
    loop {
        match nix::unistd::read(&pipe, &mut [0]) {
            Err(Errno::EINTR) => {}
            read => return read == Ok(1),
        }
    }
}

/// Makes `to` share every extent of `from`. Both are on one file system that can, or it is an errno.
pub fn share_extents(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    // SAFETY: FICLONE takes an open descriptor as its argument; both are borrowed for the whole call.
    unsafe { ioctl::ficlone(to.as_fd().as_raw_fd(), from.as_fd().as_raw_fd()) }.map(drop)
}

/// The names of the extended attributes of an open file.
pub fn xattr_names(file: impl AsFd) -> Result<Vec<CString>, Errno> {
    let fd = file.as_fd().as_raw_fd();
    let list = sized(|buffer| {
        // SAFETY: the pointer and the length are those of one live, writable buffer.
        unsafe { libc::flistxattr(fd, buffer.as_mut_ptr().cast(), buffer.len()) }
    })?;
    Ok(list
        .split_inclusive(|b| *b == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .map(CStr::to_owned)
        .collect())
}

/// The value of one extended attribute of an open file.
pub fn xattr(file: impl AsFd, name: &CStr) -> Result<Vec<u8>, Errno> {
    let fd = file.as_fd().as_raw_fd();
    sized(|buffer| {
        // SAFETY: the name ends in NUL; the pointer and the length are those of one live, writable buffer.
        unsafe { libc::fgetxattr(fd, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    })
}

/// Sets one extended attribute of an open file.
pub fn set_xattr(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the name ends in NUL; the pointer and the length are those of one live slice.
    let done = unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(done).map(drop)
}

/// Takes one extended attribute of an open file away.
pub fn remove_xattr(file: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the name ends in NUL and lives through the call.
    let done = unsafe { libc::fremovexattr(fd, name.as_ptr()) };
    Errno::result(done).map(drop)
}

/// Calls with a buffer that grows until the answer fits. 64 KiB is the kernel's own limit for both a list and a
/// value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
fn sized(mut call: impl FnMut(&mut [u8]) -> libc::ssize_t) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 512];
    loop {
        match Errno::result(call(&mut buffer)) {
            Ok(length) => {
                buffer.truncate(usize::try_from(length).unwrap_or(0));
                return Ok(buffer);
            }
            Err(Errno::ERANGE) if buffer.len() < (1 << 16) => buffer.resize(1 << 16, 0),
            Err(errno) => return Err(errno),
        }
    }
}
