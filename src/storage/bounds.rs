//! What a guest's files may take at most, and who keeps them within it: the quota of a project, the quota of a
//! subvolume, or the size of a file system of their own ([`disk_image`]).
//!
//! Which of them there is is asked of the file system by its descriptor; where there is none, a limit is refused. A
//! directory counts from the moment it is made, so that nothing in it was ever outside. The number of a project is one of the
//! 65,536 that belong to the guest, as its user ids do: a tree that takes the place of another has another, and both are
//! counted apart.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use serde::Serialize;

use super::files::Files;
use super::{Layout, disk_image, tree};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{Bytes, Limits, Xid};
use crate::sys::{btrfs, open as sys_open, quota};

/// At most this. Nothing is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Bytes of content.
    pub space: Option<u64>,
    /// Inodes.
    pub inodes: Option<u64>,
    /// The first of the project numbers that are its own.
    pub projects: u32,
}

/// Who keeps files within their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeper {
    /// The quota of a project, on ext4, xfs and others.
    Project,
    /// The quota of a subvolume of btrfs.
    Subvolume,
    /// The size of a file system of its own.
    Image,
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Project => "project quota",
            Self::Subvolume => "quota of its subvolume",
            Self::Image => "size of its image",
        })
    }
}

/// What files take, as their keeper counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Who counts.
    pub kept_by: Keeper,
    /// Bytes in use.
    pub used: u64,
    /// Bytes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Inodes in use, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Inodes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode_limit: Option<u64>,
}

/// Project numbers below this are the host's: the ranges of guests begin with their user ids.
const FIRST_PROJECT: u32 = 1 << 16;

impl Bounds {
    /// No limit.
    pub const NONE: Bounds = Bounds {
        space: None,
        inodes: None,
        projects: 0,
    };

    /// Those of a guest.
    pub fn of(limits: &Limits, xid: Xid) -> Self {
        Self {
            space: limits.disk.map(|bytes| bytes.0),
            inodes: limits.inodes.map(u64::from),
            projects: xid.id_base(),
        }
    }

    /// Whether there is no limit.
    pub fn is_none(&self) -> bool {
        self.space.is_none() && self.inodes.is_none()
    }

    /// Those that hold for a directory now; none where nobody counts.
    pub fn of_dir(dir: &Path) -> Result<Self> {
        let opened = open(dir)?;
        let Some(usage) = usage_of(&opened)? else {
            return Ok(Self::NONE);
        };
        let projects = match usage.kept_by {
            Keeper::Project => quota::project_of(&opened).unwrap_or(0) & !0xffff,
            _ => FIRST_PROJECT,
        };
        Ok(Self {
            space: usage.limit,
            inodes: usage.inode_limit,
            projects,
        })
    }
}

/// What can keep a directory here within bounds.
enum Means {
    Projects,
    Subvolumes,
}

/// What there is where this file is; the error says what is missing.
fn means(file: impl AsFd) -> Result<Means> {
    if quota::are_projects_enforced(file.as_fd()) {
        return Ok(Means::Projects);
    }
    match btrfs::fsid(file.as_fd()) {
        Ok(fsid) if qgroups(&fsid).is_dir() => {
            // Then what it counts is wrong, and so is what it lets pass.
            let state = fs::read_to_string(qgroups(&fsid).join("inconsistent")).unwrap_or_default();
            if state.trim() == "1" {
                return Err(unsupported(
                    "the quotas of this btrfs are inconsistent",
                    "`btrfs quota rescan -w` on its mount point counts anew",
                ));
            }
            Ok(Means::Subvolumes)
        }
        Ok(_) => Err(unsupported(
            "quotas are off on this btrfs",
            "`btrfs quota enable --simple` on its mount point turns them on (before Linux 6.7: without `--simple`), or choose `storage = \"image\"`",
        )),
        Err(_) => Err(unsupported(
            "this file system has no project quotas",
            "mount it with `prjquota` (ext4 also needs `tune2fs -O quota,project -Q prjquota`), or choose `storage = \"image\"`",
        )),
    }
}

/// Whether a limit on disk space can be kept in the state directory other than by an image; the error says what is
/// missing.
pub fn check(layout: &Layout) -> Result<Keeper> {
    // Before the first guest the state directory is not there: what it will be made on counts.
    let there = layout
        .root()
        .ancestors()
        .find(|at| at.exists())
        .unwrap_or(Path::new("/"));
    Ok(match means(open(there)?)? {
        Means::Projects => Keeper::Project,
        Means::Subvolumes => Keeper::Subvolume,
    })
}

fn unsupported(what: &str, hint: &str) -> Error {
    Error::new(Kind::Unsupported, what.to_owned()).with_hint(hint)
}

fn qgroups(fsid: &str) -> PathBuf {
    Path::new("/sys/fs/btrfs").join(fsid).join("qgroups")
}

/// Makes the directory, which is kept within `bounds` from the beginning.
pub fn make_dir(path: &Path, mode: u32, bounds: &Bounds) -> Result<()> {
    let plain = || {
        DirBuilder::new()
            .mode(mode)
            .create(path)
            .context(|| format!("make `{}`", path.display()))
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return plain();
    };
    if bounds.is_none() {
        return plain();
    }
    let parent = open(parent)?;
    match means(&parent).context(|| "limit disk space")? {
        Means::Projects => plain()?,
        Means::Subvolumes => {
            btrfs::create(&parent, name).context(|| format!("make the subvolume `{}`", path.display()))?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .context(|| format!("change the mode of `{}`", path.display()))?;
        }
    }
    hold_dir(path, bounds)
}

/// Makes `bounds` hold for the files of a guest, from now on. `home` is its directory.
pub fn hold(layout: &Layout, home: &Path, files: &Files, bounds: &Bounds) -> Result<()> {
    match files {
        Files::Image => disk_image::hold(&home.join(disk_image::NAME), bounds),
        Files::Overlay(stack) => hold_dir(&stack.top.dir(layout), bounds),
        _ => hold_dir(&home.join("rootfs"), bounds),
    }
    .context(|| "limit disk space")
}

/// Whether `bounds` can be made to hold only while nothing writes: files that are there already must be made to count.
pub fn is_new(layout: &Layout, home: &Path, files: &Files, bounds: &Bounds) -> Result<bool> {
    let dir = match files {
        Files::Image => return Ok(false),
        Files::Overlay(stack) => stack.top.dir(layout),
        _ => home.join("rootfs"),
    };
    Ok(!bounds.is_none() && usage_of(open(&dir)?)?.is_none())
}

/// The same for a directory, which may have been made without.
pub fn hold_dir(path: &Path, bounds: &Bounds) -> Result<()> {
    let dir = open(path)?;
    let is_subvolume = btrfs::is_subvolume(&dir).context(|| "look for a subvolume")?;
    if bounds.is_none()
        && usage_of(&dir)?.is_none_or(|usage| usage.limit.is_none() && usage.inode_limit.is_none())
    {
        return Ok(());
    }
    match means(&dir)? {
        Means::Subvolumes if bounds.inodes.is_some() => Err(unsupported(
            "btrfs has no limit on inodes",
            "leave `limits.inodes` out, or choose `storage = \"image\"`",
        )),
        Means::Subvolumes if is_subvolume => {
            btrfs::limit(&dir, bounds.space).context(|| "limit the subvolume")
        }
        Means::Subvolumes => Err(unsupported(
            "its files are no subvolume, because they were made without a limit",
            "convert it to another storage and back, or to `storage = \"btrfs\"`",
        )),
        Means::Projects => {
            let own = quota::project_of(&dir).context(|| "ask for the project")?;
            let is_own = own >= FIRST_PROJECT;
            let project = if is_own { own } else { free_project(&dir, bounds)? };
            if !is_own {
                // First counted, then limited: a limit on what nobody uses is nobody's.
                count(&dir, project, 0)?;
            }
            quota::limit(&dir, project, bounds.space, bounds.inodes).context(|| "limit the project")
        }
    }
}

/// The first number of the guest's own that no file has.
fn free_project(dir: &File, bounds: &Bounds) -> Result<u32> {
    for number in bounds.projects..=bounds.projects | 0xffff {
        if quota::read(dir, number).context(|| "read a quota")?.inodes == 0 {
            return Ok(number);
        }
    }
    Err(Error::new(Kind::Internal, "every project of the guest is in use"))
}

/// Makes a tree count for the project: directories first, so that what is made meanwhile counts already. Links and nodes,
/// which cannot be opened, take no space.
fn count(dir: &(impl AsFd + ?Sized), project: u32, depth: usize) -> Result<()> {
    let fail = |errno| Error::os("make files count for a project", errno);
    let at = sys_open::child_dir(dir, Path::new(".")).map_err(fail)?;
    quota::set_project(&at, project, true).map_err(fail)?;
    for name in tree::names(&at)? {
        let path = tree::as_path(&name);
        let stat = match fstatat(&at, path, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => continue,
            other => other.map_err(fail)?,
        };
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR => {
                if depth >= tree::DEPTH {
                    return Err(tree::too_deep(path));
                }
                match sys_open::child_dir(&at, path) {
                    Ok(child) => count(&child, project, depth + 1)?,
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {}
                    Err(errno) => return Err(fail(errno)),
                }
            }
            SFlag::S_IFREG => {
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = match openat(&at, path, flags, Mode::empty()) {
                    Err(Errno::ENOENT) => continue,
                    other => other.map_err(fail)?,
                };
                // Of what was opened: opening a device that took the name would do something.
                let stat = nix::sys::stat::fstat(&file).map_err(fail)?;
                if stat.st_mode & libc::S_IFMT == libc::S_IFREG {
                    quota::set_project(sys_open::reopen(&file).map_err(fail)?, project, false)
                        .map_err(fail)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the files of a guest take, where somebody counts it.
pub fn usage(layout: &Layout, home: &Path, files: &Files) -> Result<Option<Usage>> {
    match files {
        Files::Image => disk_image::usage(&home.join(disk_image::NAME)).map(Some),
        Files::Overlay(stack) => usage_of(open(&stack.top.dir(layout))?),
        _ => usage_of(open(&home.join("rootfs"))?),
    }
}

fn usage_of(dir: impl AsFd) -> Result<Option<Usage>> {
    let dir = dir.as_fd();
    if btrfs::is_subvolume(dir).context(|| "look for a subvolume")? {
        return subvolume(dir);
    }
    // Where files have no project, or nobody counts, there is nothing to tell.
    let Some(project) = quota::project_of(dir)
        .ok()
        .filter(|project| *project >= FIRST_PROJECT)
    else {
        return Ok(None);
    };
    if !quota::are_projects_enforced(dir) {
        return Ok(None);
    }
    let read = quota::read(dir, project).context(|| "read a quota")?;
    Ok(Some(Usage {
        kept_by: Keeper::Project,
        used: read.space,
        limit: read.space_limit,
        inodes: Some(read.inodes),
        inode_limit: read.inode_limit,
    }))
}

/// The kernel shows what it counts right now below `/sys/fs/btrfs`; the quota tree has it as of the last commit.
fn subvolume(dir: impl AsFd) -> Result<Option<Usage>> {
    let fsid = btrfs::fsid(dir.as_fd()).context(|| "ask for the file system")?;
    let id = btrfs::subvolume_id(dir).context(|| "ask for the subvolume")?;
    let group = qgroups(&fsid).join(format!("0_{id}"));
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(group.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let Some(used) = number("referenced") else {
        return Ok(None);
    };
    // `BTRFS_QGROUP_LIMIT_MAX_RFER`; the value without it means nothing.
    let is_limited = number("limit_flags").is_some_and(|flags| flags & 1 != 0);
    Ok(Some(Usage {
        kept_by: Keeper::Subvolume,
        used,
        limit: number("max_referenced").filter(|max| is_limited && *max != 0 && *max != u64::MAX),
        inodes: None,
        inode_limit: None,
    }))
}

/// Whether the file system keeps the guest's files within these bounds and no others.
pub fn is_held(layout: &Layout, home: &Path, files: &Files, bounds: &Bounds) -> Result<bool> {
    let usage = usage(layout, home, files)?;
    let (limit, inodes) = usage.map_or((None, None), |usage| (usage.limit, usage.inode_limit));
    let whole = |unit: u64, up: bool| {
        bounds.space.map(|space| {
            if up {
                space.div_ceil(unit) * unit
            } else {
                space - space % unit
            }
        })
    };
    Ok(match usage.map(|usage| usage.kept_by) {
        // It is counted in KiB.
        Some(Keeper::Project) => limit == whole(1024, true) && inodes == bounds.inodes,
        Some(Keeper::Image) => limit == whole(disk_image::BLOCK, false),
        Some(Keeper::Subvolume) | None => limit == bounds.space && bounds.inodes.is_none(),
    })
}

/// Takes away what is kept of the 65,536 projects from `first` on, whose files are gone.
pub fn forget(layout: &Layout, first: u32) -> Result<()> {
    let root = open(layout.root())?;
    if !quota::are_projects_enforced(&root) {
        return Ok(());
    }
    let last = first | 0xffff;
    let mut from = first;
    while let Some(project) = quota::next(&root, from).context(|| "read a quota")? {
        if project.id > last {
            break;
        }
        // Whether anything counts is not asked: xfs counts what was removed until it comes to it, and what a clone
        // still has of a frozen layer does not grow.
        if project.space_limit.is_some() || project.inode_limit.is_some() {
            quota::limit(&root, project.id, None, None).context(|| "take a limit away")?;
        }
        let Some(after) = project.id.checked_add(1) else {
            break;
        };
        from = after;
    }
    Ok(())
}

/// The space as it is shown in messages.
pub(super) fn shown(bytes: u64) -> Bytes {
    Bytes(bytes)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).context(|| format!("open `{}`", path.display()))
}
