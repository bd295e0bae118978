//! Project quotas: the project of a file (`FS_IOC_FSSETXATTR`, `ioctl_xfs_fssetxattr(2)`) and what a project may take
//! (`quotactl_fd(2)`, Linux 5.14). ext4, xfs and others answer the same calls.

use std::os::fd::{AsFd, AsRawFd as _};

use nix::errno::Errno;

/// `PRJQUOTA` of `linux/quota.h`.
const PROJECT: libc::c_uint = 2;
const Q_GETQUOTA: libc::c_uint = 0x0080_0007;
const Q_SETQUOTA: libc::c_uint = 0x0080_0008;
const Q_GETNEXTQUOTA: libc::c_uint = 0x0080_0009;
/// `Q_XGETQSTAT` of `linux/dqblk_xfs.h`; every file system answers it.
const Q_XGETQSTAT: libc::c_uint = 0x5805;
/// `FS_QUOTA_PDQ_ENFD`: limits of projects are enforced.
const PROJECTS_ENFORCED: u16 = 1 << 5;
/// `QIF_BLIMITS | QIF_ILIMITS`.
const LIMITS: u32 = 5;
/// `QIF_DQBLKSIZE`: limits are counted in these.
const BLOCK: u64 = 1024;
/// `FS_XFLAG_PROJINHERIT`.
const INHERIT: u32 = 0x200;

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
pub struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

mod ioctl {
    nix::ioctl_read!(get, b'X', 31, super::Attributes);
    nix::ioctl_write_ptr!(set, b'X', 32, super::Attributes);
}

/// `struct if_nextdqblk`, of which `struct if_dqblk` is the beginning.
#[repr(C)]
#[derive(Default)]
struct Quota {
    space_hard: u64,
    space_soft: u64,
    space: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    inodes: u64,
    space_time: u64,
    inodes_time: u64,
    valid: u32,
    id: u32,
}

/// The beginning of `struct fs_quota_stat`, with room for all of it.
#[repr(C)]
struct State {
    version: i8,
    flags: u16,
    rest: [u64; 16],
}

/// What a project takes and may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Project {
    /// Its number.
    pub id: u32,
    /// Bytes in use.
    pub space: u64,
    /// Bytes at most.
    pub space_limit: Option<u64>,
    /// Inodes in use.
    pub inodes: u64,
    /// Inodes at most.
    pub inode_limit: Option<u64>,
}

/// The project that a file or directory counts for.
pub fn project_of(file: impl AsFd) -> Result<u32, Errno> {
    attributes(file).map(|attributes| attributes.project)
}

/// Makes a file count for a project; what is made in a directory then counts for it too.
pub fn set_project(file: impl AsFd, project: u32, is_dir: bool) -> Result<(), Errno> {
    let mut attributes = attributes(file.as_fd())?;
    attributes.project = project;
    if is_dir {
        attributes.flags |= INHERIT;
    }
    // SAFETY: `attributes` is the structure of this request and lives across the call.
    unsafe { ioctl::set(file.as_fd().as_raw_fd(), &raw const attributes) }.map(drop)
}

fn attributes(file: impl AsFd) -> Result<Attributes, Errno> {
    let mut attributes = Attributes::default();
    // SAFETY: `attributes` is the structure of this request and lives across the call.
    unsafe { ioctl::get(file.as_fd().as_raw_fd(), &raw mut attributes) }?;
    Ok(attributes)
}

/// Whether the file system that this is on keeps projects within their limits. One that has none of it says so by
/// its errno, each by another.
pub fn are_projects_enforced(file: impl AsFd) -> bool {
    let mut state = State {
        version: 0,
        flags: 0,
        rest: [0; 16],
    };
    let asked = control(file, Q_XGETQSTAT, 0, (&raw mut state).cast());
    asked.is_ok() && state.flags & PROJECTS_ENFORCED != 0
}

/// What the project takes and may take.
pub fn read(file: impl AsFd, project: u32) -> Result<Project, Errno> {
    let mut quota = Quota::default();
    match control(file, Q_GETQUOTA, project, (&raw mut quota).cast()) {
        // xfs has no record of who never had a file.
        Ok(()) | Err(Errno::ENOENT) => Ok(told(&quota, project)),
        Err(errno) => Err(errno),
    }
}

/// The first project from `project` on that has a record.
pub fn next(file: impl AsFd, project: u32) -> Result<Option<Project>, Errno> {
    let mut quota = Quota::default();
    match control(file, Q_GETNEXTQUOTA, project, (&raw mut quota).cast()) {
        Ok(()) => Ok(Some(told(&quota, quota.id))),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn told(quota: &Quota, id: u32) -> Project {
    let limit = |value: u64| (value != 0).then_some(value);
    Project {
        id,
        space: quota.space,
        space_limit: limit(quota.space_hard).map(|blocks| blocks.saturating_mul(BLOCK)),
        inodes: quota.inodes,
        inode_limit: limit(quota.inodes_hard),
    }
}

/// Sets what the project may take: bytes, rounded up to whole KiB, and inodes. `None` is no limit.
pub fn limit(file: impl AsFd, project: u32, space: Option<u64>, inodes: Option<u64>) -> Result<(), Errno> {
    // Zero is no limit: what is meant to be nothing is the least there is.
    let blocks = space.map_or(0, |bytes| bytes.div_ceil(BLOCK).max(1));
    let inodes = inodes.map_or(0, |count| count.max(1));
    let mut quota = Quota {
        space_hard: blocks,
        space_soft: blocks,
        inodes_hard: inodes,
        inodes_soft: inodes,
        valid: LIMITS,
        ..Quota::default()
    };
    control(file, Q_SETQUOTA, project, (&raw mut quota).cast())
}

fn control(
    file: impl AsFd,
    command: libc::c_uint,
    project: u32,
    argument: *mut libc::c_void,
) -> Result<(), Errno> {
    // `QCMD` of `linux/quota.h`.
    let command = (command << 8) | PROJECT;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: each caller gives the structure of its command, at least as large as the kernel's, alive across the call.
    let done = unsafe { libc::syscall(libc::SYS_quotactl_fd, fd, command, project, argument) };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert_eq!(size_of::<Quota>(), 72);
        assert_eq!(std::mem::offset_of!(Quota, valid), 64);
        // `struct fs_quota_stat` has 80.
        assert!(size_of::<State>() >= 80);
        assert_eq!(std::mem::offset_of!(State, flags), 2);
    }

    #[test]
    fn a_file_system_without_projects_says_so() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(!are_projects_enforced(&proc));
        assert!(read(&proc, 1 << 20).is_err());
    }
}
