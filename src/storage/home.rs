//! What has files: a guest or a volume. Both are a directory that is laid out in the same way (`layout`).

use std::fmt;
use std::path::{Path, PathBuf};

use super::Layout;
use crate::guest::{GuestName, VolumeName};

/// The directory of a guest or volume, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
    name: String,
    listing: &'static str,
}

impl Home {
    /// That of a guest.
    pub fn of_guest(layout: &Layout, name: &GuestName) -> Self {
        Self {
            dir: layout.guest_dir(name),
            name: name.to_string(),
            listing: "hostel snapshots",
        }
    }

    /// That of a volume.
    pub fn of_volume(layout: &Layout, name: &VolumeName) -> Self {
        Self {
            dir: layout.volume_dir(name),
            name: name.to_string(),
            listing: "hostel volume snapshots",
        }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its snapshots, each laid out as itself.
    pub fn snapshots(&self) -> PathBuf {
        self.dir.join("snapshots")
    }

    /// The command that lists its snapshots.
    pub fn listing(&self) -> String {
        format!("{} {}", self.listing, self.name)
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}
