//! `image`: a file system of the guest's own in one file, whose size is its limit, on any file system.

use super::{Driver, From, Job, Made, copy_into, unsupported};
use crate::error::{Error, Kind, Result};
use crate::guest::Storage;
use crate::storage::disk_image::{self, NAME};
use crate::storage::files::{self, Access, Files};
use crate::storage::layer::Holds;
use crate::storage::{Bounds, Layout};

pub(super) struct Image;

impl Driver for Image {
    fn storage(&self) -> Storage {
        Storage::Image
    }

    fn check(&self, _layout: &Layout) -> Result<()> {
        disk_image::check().map_err(|err| unsupported("this host cannot mount an image").and_also(err))
    }

    fn make(&self, job: &Job<'_>) -> Result<Made> {
        let image = job.place.join(NAME);
        let made = |devices_skipped| Made {
            files: Files::Image,
            devices_skipped,
            holds: Holds::default(),
        };
        let source = match job.from {
            From::Guest {
                home,
                files: Files::Image,
                ..
            } => Some(home.join(NAME)),
            _ => None,
        };
        let space = match (job.bounds.space, &source) {
            (Some(space), _) => space,
            // A snapshot is as large as what it is of.
            (None, Some(source)) => disk_image::usage(source)?.limit.unwrap_or(0),
            (None, None) => return Err(without_size()),
        };
        if let Some(source) = &source
            && let Some(mut claimed) = disk_image::claim(source)?
        {
            job.progress.stage(&format!("copying the image of {}", job.name));
            disk_image::copy(&mut claimed, &image, job.progress)?;
            drop(claimed);
            disk_image::hold(
                &image,
                &Bounds {
                    space: Some(space),
                    inodes: None,
                    projects: 0,
                },
            )?;
            return Ok(made(0));
        }
        disk_image::make(&image, space, job.bounds.inodes)?;
        let inside = files::open_in(job.layout, job.place, &Files::Image, job.name, Access::Write)?;
        let copied = copy_into(job, inside.root())?;
        Ok(made(copied.devices_skipped))
    }
}

fn without_size() -> Error {
    Error::new(
        Kind::Invalid,
        "`storage = \"image\"` needs to know how large the image is",
    )
    .with_hint("give `limits.disk`, such as `limits = { disk = \"2G\" }`")
}
