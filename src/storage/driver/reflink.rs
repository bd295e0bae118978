//! `reflink`: a tree whose files share their extents with what they were copied from (`ioctl_ficlone(2)`).
//!
//! The copy is that of `dir`, which shares what can be shared; this driver promises that it can, within one file system.

use std::fs::File;
use std::io::Write as _;

use nix::errno::Errno;

use super::{Driver, Job, Made, copy, make_root, unsupported};
use crate::error::{Context as _, Error, Result};
use crate::guest::Storage;
use crate::storage::layer::Holds;
use crate::storage::scratch::Scratch;
use crate::storage::{Files, Layout};
use crate::sys;

pub(super) struct Reflink;

impl Driver for Reflink {
    fn storage(&self) -> Storage {
        Storage::Reflink
    }

    fn check(&self, layout: &Layout) -> Result<()> {
        let scratch = Scratch::new(layout)?;
        let make = |name: &str| {
            let path = scratch.path().join(name);
            File::create_new(&path).context(|| format!("make `{}`", path.display()))
        };
        let (mut one, other) = (make("one")?, make("other")?);
        // An empty file shares nothing, and would say nothing.
        one.write_all(&[1; 4096]).context(|| "write a scratch file")?;
        match sys::file::share_extents(&one, &other) {
            Ok(()) => Ok(()),
            Err(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::EINVAL | Errno::EXDEV | Errno::ENOSYS) => {
                Err(unsupported("this file system cannot share extents between files"))
            }
            Err(errno) => Err(Error::os("share the extents of a scratch file", errno)),
        }
    }

    fn make(&self, job: &Job<'_>) -> Result<Made> {
        let to = make_root(job)?;
        let copied = copy(job, &to)?;
        Ok(Made {
            files: Files::Reflink,
            devices_skipped: copied.devices_skipped,
            holds: Holds::default(),
        })
    }
}
