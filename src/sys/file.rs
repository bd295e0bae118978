//! What a file has besides its bytes: extended attributes (`xattr(7)`) and shared extents (`ioctl_ficlone(2)`).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

mod ioctl {
    nix::ioctl_write_int_bad!(ficlone, nix::libc::FICLONE);
}

/// A pipe, both ends closed on exec: what is read comes first.
pub fn pipe() -> crate::Result<(OwnedFd, OwnedFd)> {
    use crate::error::Context as _;
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(|| "make a pipe")
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
