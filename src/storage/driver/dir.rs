//! `dir`: a tree of the guest's own, on any file system.

use super::{Driver, Job, Made, copy, make_root};
use crate::Result;
use crate::guest::Storage;
use crate::storage::layer::Holds;
use crate::storage::{Files, Layout};

pub(super) struct Dir;

impl Driver for Dir {
    fn storage(&self) -> Storage {
        Storage::Dir
    }

    fn check(&self, _layout: &Layout) -> Result<()> {
        Ok(())
    }

    fn make(&self, job: &Job<'_>) -> Result<Made> {
        let to = make_root(job)?;
        let copied = copy(job, &to)?;
        Ok(Made {
            files: Files::Dir,
            devices_skipped: copied.devices_skipped,
            holds: Holds::default(),
        })
    }
}
