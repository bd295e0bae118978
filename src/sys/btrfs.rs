//! Subvolumes of btrfs: making, snapshotting, destroying (`linux/btrfs.h`).
//!
//! A subvolume is known by its root directory's inode number, 256, on a file system of btrfs's kind.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};

/// `BTRFS_FIRST_FREE_OBJECTID`.
const ROOT_INODE: u64 = 256;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
pub struct Args {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
pub struct Args2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

mod ioctl {
    nix::ioctl_write_ptr!(destroy, 0x94, 15, super::Args);
    nix::ioctl_write_ptr!(snapshot, 0x94, 23, super::Args2);
    nix::ioctl_write_ptr!(create, 0x94, 24, super::Args2);
}

/// Whether the directory is the root of a subvolume.
pub fn is_subvolume(dir: impl AsFd) -> Result<bool, Errno> {
    if fstat(dir.as_fd())?.st_ino != ROOT_INODE {
        return Ok(false);
    }
    Ok(fstatfs(dir)?.filesystem_type() == BTRFS_SUPER_MAGIC)
}

/// Makes the empty subvolume `name` in `dir`. ENOTTY where the file system has none.
pub fn create(dir: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let args = args2(0, name)?;
    // SAFETY: `args` is the structure of this request and lives across the call.
    unsafe { ioctl::create(dir.as_fd().as_raw_fd(), &raw const args) }.map(drop)
}

/// Makes `name` in `dir` a snapshot of the subvolume that `of` is the root of. EXDEV between file systems.
pub fn snapshot(of: impl AsFd, dir: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let args = args2(of.as_fd().as_raw_fd(), name)?;
    // SAFETY: `args` is the structure of this request and lives across the call, as does the descriptor in it.
    unsafe { ioctl::snapshot(dir.as_fd().as_raw_fd(), &raw const args) }.map(drop)
}

/// Removes the subvolume `name` of `dir` with all that is in it. ENOTEMPTY when another subvolume is.
pub fn destroy(dir: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let mut args = Args {
        fd: 0,
        name: [0; 4088],
    };
    copy(name, &mut args.name)?;
    // SAFETY: `args` is the structure of this request and lives across the call.
    unsafe { ioctl::destroy(dir.as_fd().as_raw_fd(), &raw const args) }.map(drop)
}

fn args2(fd: i32, name: &OsStr) -> Result<Args2, Errno> {
    let mut args = Args2 {
        fd: i64::from(fd),
        transid: 0,
        flags: 0,
        unused: [0; 4],
        name: [0; 4040],
    };
    copy(name, &mut args.name)?;
    Ok(args)
}

/// The name with the NUL that ends it.
fn copy(name: &OsStr, to: &mut [u8]) -> Result<(), Errno> {
    let name = name.as_bytes();
    if name.len() > 255 || name.contains(&0) {
        return Err(Errno::ENAMETOOLONG);
    }
    to[..name.len()].copy_from_slice(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!(size_of::<Args>(), 4096);
        assert_eq!(size_of::<Args2>(), 4096);
    }
}
