//! Subvolumes of btrfs: making, snapshotting, destroying, and what each takes and may take (`linux/btrfs.h`).
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

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
pub struct Lookup {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

/// `struct btrfs_ioctl_fs_info_args`.
#[repr(C)]
pub struct FsInfo {
    max_id: u64,
    devices: u64,
    fsid: [u8; 16],
    rest: [u64; 124],
}

/// `struct btrfs_ioctl_qgroup_limit_args`.
#[repr(C)]
pub struct QgroupLimit {
    id: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved: [u64; 2],
}

/// `struct btrfs_ioctl_qgroup_create_args`.
#[repr(C)]
pub struct QgroupCreate {
    create: u64,
    id: u64,
}

/// `BTRFS_QGROUP_LIMIT_MAX_RFER`.
const MAX_REFERENCED: u64 = 1;

mod ioctl {
    nix::ioctl_readwrite!(lookup, 0x94, 18, super::Lookup);
    nix::ioctl_read!(fs_info, 0x94, 31, super::FsInfo);
    nix::ioctl_write_ptr!(qgroup_create, 0x94, 42, super::QgroupCreate);
    // The kernel has it as `_IOR`, and reads.
    nix::ioctl_read!(qgroup_limit, 0x94, 43, super::QgroupLimit);
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

/// The number of the subvolume that a directory is in.
pub fn subvolume_id(dir: impl AsFd) -> Result<u64, Errno> {
    let mut lookup = Lookup {
        tree: 0,
        object: ROOT_INODE,
        name: [0; 4080],
    };
    // SAFETY: `lookup` is the structure of this request and lives across the call.
    unsafe { ioctl::lookup(dir.as_fd().as_raw_fd(), &raw mut lookup) }?;
    Ok(lookup.tree)
}

/// The UUID of the file system, by which `/sys/fs/btrfs` knows it.
pub fn fsid(file: impl AsFd) -> Result<String, Errno> {
    let mut info = FsInfo {
        max_id: 0,
        devices: 0,
        fsid: [0; 16],
        rest: [0; 124],
    };
    // SAFETY: `info` is the structure of this request and lives across the call.
    unsafe { ioctl::fs_info(file.as_fd().as_raw_fd(), &raw mut info) }?;
    let mut text = String::new();
    for (place, byte) in info.fsid.iter().enumerate() {
        use std::fmt::Write as _;
        let dash = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{dash}{byte:02x}");
    }
    Ok(text)
}

/// Sets how many bytes the subvolume that a directory is in may refer to; `None` is no limit. ENOTCONN where quotas are
/// off.
pub fn limit(dir: impl AsFd, bytes: Option<u64>) -> Result<(), Errno> {
    let mut limit = QgroupLimit {
        // Its own group.
        id: 0,
        flags: MAX_REFERENCED,
        // All ones take the limit away.
        max_referenced: bytes.unwrap_or(u64::MAX),
        max_exclusive: 0,
        reserved: [0; 2],
    };
    // SAFETY: `limit` is the structure of this request and lives across the call.
    unsafe { ioctl::qgroup_limit(dir.as_fd().as_raw_fd(), &raw mut limit) }.map(drop)
}

/// Removes what is kept of the usage of a subvolume that is gone. Newer kernels do it themselves.
pub fn forget(file: impl AsFd, subvolume: u64) -> Result<(), Errno> {
    let args = QgroupCreate {
        create: 0,
        id: subvolume,
    };
    // SAFETY: `args` is the structure of this request and lives across the call.
    unsafe { ioctl::qgroup_create(file.as_fd().as_raw_fd(), &raw const args) }.map(drop)
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
        assert_eq!(size_of::<Lookup>(), 4096);
        assert_eq!(size_of::<FsInfo>(), 1024);
        assert_eq!(size_of::<QgroupLimit>(), 48);
        assert_eq!(size_of::<QgroupCreate>(), 16);
    }
}
