//! What of `/proc` and `/sys` a guest does not see, and what it cannot write.
//!
//! Everything goes through one descriptor of the file system that was just mounted, never by a path, so no link and no
//! volume can stand in between. A mask that fails ends the start.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::inside::Failure;
use crate::sys::mount::{self, Attr};

/// Files that read as empty: memory, keys, addresses and timings of the host's kernel.
const HIDDEN_FILES: [&CStr; 9] = [
    c"kcore",
    c"keys",
    c"kallsyms",
    c"latency_stats",
    c"timer_list",
    c"timer_stats",
    c"sched_debug",
    c"interrupts",
    c"kmsg",
];
/// Directories that are empty.
const HIDDEN_DIRS: [&CStr; 3] = [c"acpi", c"asound", c"scsi"];
/// Of a guest whose root is the host's: what only the host's root may read or set. Others cannot anyway.
const HIDDEN_FROM_ROOT: [&CStr; 8] = [
    c"slabinfo",
    c"kpagecount",
    c"kpageflags",
    c"kpagecgroup",
    c"vmallocinfo",
    c"pagetypeinfo",
    c"allocinfo",
    c"mtrr",
];
/// Directories of `/sys` that are empty: tables of the firmware, some with keys and addresses of the host.
const HIDDEN_SYS: [&CStr; 1] = [c"firmware"];
/// Directories and files that cannot be written, whatever their owner.
const READONLY: [&CStr; 5] = [c"bus", c"fs", c"irq", c"sys", c"sysrq-trigger"];

/// The hidden ones by path, for the keeper, which hides them again in the procfs of the guest's own init.
pub(super) fn hidden_paths(ids: Ids) -> Vec<&'static str> {
    let mut paths = HIDDEN_PATHS.to_vec();
    if ids == Ids::Hosts {
        paths.extend(HIDDEN_PATHS_FROM_ROOT);
    }
    paths
}

/// Whose user ids a guest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// A range of its own.
    Own,
    /// The host's.
    Hosts,
}

/// [`HIDDEN_FROM_ROOT`] by path.
const HIDDEN_PATHS_FROM_ROOT: [&str; 8] = [
    "/proc/slabinfo",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/kpagecgroup",
    "/proc/vmallocinfo",
    "/proc/pagetypeinfo",
    "/proc/allocinfo",
    "/proc/mtrr",
];

/// [`HIDDEN_FILES`] and [`HIDDEN_DIRS`] by path.
const HIDDEN_PATHS: [&str; 12] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/kallsyms",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/interrupts",
    "/proc/kmsg",
    "/proc/acpi",
    "/proc/asound",
    "/proc/scsi",
];
/// [`READONLY`] by path.
pub(super) const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A read-only file system with an empty file and an empty directory, for [`hide`]. It must be attached before it
/// covers anything: before Linux 6.15 a mount that is attached nowhere cannot be cloned.
pub(super) fn empty() -> Result<OwnedFd, Errno> {
    let empty = mount::new_fs(c"tmpfs", &[(c"mode", Some(c"0555"))], Attr::DATA)?;
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    nix::fcntl::openat(&empty, c"file", flags, Mode::empty())?;
    nix::sys::stat::mkdirat(&empty, c"dir", Mode::from_bits_truncate(0o555))?;
    mount::set_attr(&empty, Attr::RDONLY)?;
    Ok(empty)
}

/// Hides and protects what is the host's in a procfs. Nothing in the mount namespace is shared with another any more
/// (`Step::PrivateMounts`), so no copy has to be made private by itself.
pub(super) fn hide(proc: &OwnedFd, empty: &OwnedFd, ids: Ids) -> Result<(), Failure> {
    let at = |name: &CStr| {
        let what = format!("`/proc/{}`", name.to_string_lossy());
        move |errno| Failure { errno, what }
    };
    let from_root: &[&CStr] = match ids {
        Ids::Own => &[],
        Ids::Hosts => &HIDDEN_FROM_ROOT,
    };
    for name in HIDDEN_FILES.iter().chain(from_root).copied() {
        let Some(target) = target(proc, name).map_err(at(name))? else {
            continue;
        };
        let cover = mount::clone_private(empty.as_fd(), c"file").map_err(at(name))?;
        mount::attach(cover, target).map_err(at(name))?;
    }
    for name in HIDDEN_DIRS {
        let Some(target) = target(proc, name).map_err(at(name))? else {
            continue;
        };
        let cover = mount::clone_private(empty.as_fd(), c"dir").map_err(at(name))?;
        mount::attach(cover, target).map_err(at(name))?;
    }
    for name in READONLY {
        let Some(target) = target(proc, name).map_err(at(name))? else {
            continue;
        };
        let same = mount::clone_private(target.as_fd(), c"").map_err(at(name))?;
        mount::set_attr(&same, Attr::DATA.and(Attr::RDONLY)).map_err(at(name))?;
        mount::attach(same, target).map_err(at(name))?;
    }
    Ok(())
}

/// Hides what is the host's in a sysfs, which is read-only as a whole.
pub(super) fn hide_sys(sys: &OwnedFd, empty: &OwnedFd) -> Result<(), Failure> {
    for name in HIDDEN_SYS {
        let at = |errno| Failure {
            errno,
            what: format!("`/sys/{}`", name.to_string_lossy()),
        };
        let Some(target) = target(sys, name).map_err(at)? else {
            continue;
        };
        let cover = mount::clone_private(empty.as_fd(), c"dir").map_err(at)?;
        mount::attach(cover, target).map_err(at)?;
    }
    Ok(())
}

/// What of `fs` is to be covered; `None` when this kernel's configuration has no such file.
fn target(fs: &OwnedFd, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match nix::fcntl::openat(fs, name, flags, Mode::empty()) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
