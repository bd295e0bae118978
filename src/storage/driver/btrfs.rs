//! `btrfs`: a subvolume a guest. From another subvolume it is made as a snapshot, in one step whatever its size.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use nix::errno::Errno;

use super::{Driver, From, Job, Made, copy, open, rootfs, unsupported};
use crate::error::{Context as _, Error, Result};
use crate::guest::Storage;
use crate::storage::layer::Holds;
use crate::storage::scratch::Scratch;
use crate::storage::{Files, Layout, bounds};
use crate::sys::btrfs;

pub(super) struct Btrfs;

impl Driver for Btrfs {
    fn storage(&self) -> Storage {
        Storage::Btrfs
    }

    fn check(&self, layout: &Layout) -> Result<()> {
        let scratch = Scratch::new(layout)?;
        let dir = open(scratch.path())?;
        match btrfs::create(&dir, OsStr::new("probe")) {
            Ok(()) => Ok(()),
            Err(Errno::ENOTTY | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => {
                Err(unsupported("this file system has no subvolumes"))
            }
            Err(errno) => Err(Error::os("make a scratch subvolume", errno)),
        }
    }

    fn make(&self, job: &Job<'_>) -> Result<Made> {
        let made = |devices_skipped| Made {
            files: Files::Btrfs,
            devices_skipped,
            holds: Holds::default(),
        };
        if let Some(of) = subvolume(job) {
            let of = open(&of)?;
            if btrfs::is_subvolume(&of).context(|| "look for a subvolume")? {
                job.progress
                    .stage(&format!("taking the snapshot for {}", job.name));
                match btrfs::snapshot(&of, open(job.place)?, OsStr::new("rootfs")) {
                    Ok(()) => {
                        bounds::hold_dir(&rootfs(job.place), job.bounds).context(|| "limit disk space")?;
                        return Ok(made(0));
                    }
                    // Images may be kept elsewhere: then it is a copy.
                    Err(Errno::EXDEV) => {}
                    Err(errno) => {
                        return Err(Error::os(format!("take a snapshot for `{}`", job.name), errno));
                    }
                }
            }
        }
        let subvolume = rootfs(job.place);
        btrfs::create(open(job.place)?, OsStr::new("rootfs"))
            .context(|| format!("make the subvolume `{}`", subvolume.display()))?;
        bounds::hold_dir(&subvolume, job.bounds).context(|| "limit disk space")?;
        let copied = copy(job, &subvolume)?;
        Ok(made(copied.devices_skipped))
    }
}

/// The directory that a snapshot can be taken of. Not one of the host's, of which not all is taken.
fn subvolume(job: &Job<'_>) -> Option<std::path::PathBuf> {
    match job.from {
        From::Image { path, .. } => Some((*path).to_owned()),
        From::Guest { home, files, .. } if files.has_tree() => Some(rootfs(home)),
        _ => None,
    }
}

/// Makes the directory for an image: a subvolume where there are any, so that guests are snapshots of it.
pub(in crate::storage) fn make_root(path: &Path) -> Result<()> {
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        && btrfs::create(open(parent)?, name).is_ok()
    {
        // As `mkdir` with this mode would have made it.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        return fs::set_permissions(path, mode)
            .context(|| format!("change the mode of `{}`", path.display()));
    }
    bounds::make_dir(path, 0o755, &bounds::Bounds::NONE)
}
