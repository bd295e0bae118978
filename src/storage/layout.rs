//! Where things are below `HOSTEL_ROOT`, and that nobody else can write there.
//!
//! ```text
//! guests/NAME/spec.json     what was applied (state.rs)
//! guests/NAME/files.json    how its files are kept (files.rs); without it, as a plain tree
//! guests/NAME/rootfs/       its files, with the ids that the guest sees; an overlay guest has layers instead
//! guests/NAME/snapshots/    its snapshots, each laid out as a guest (snapshot.rs)
//! layers/ID/                one layer of overlay guests (layer.rs)
//! store/                    the content that layers of several guests share (unify/store.rs)
//! images/KEY/rootfs/        a prepared image, shared by the guests made from it (may be a link)
//! volumes/NAME/             a volume: volume.json (volume.rs), and the rest as a guest's
//! volume-number/N -> NAME   whose project numbers begin with which (volume.rs)
//! xid/N -> NAME             who has which context id (xid.rs)
//! lock/NAME                 one command a guest at a time (lock.rs)
//! flows/ID/                 the journal of a workflow's run, and its lock (flow.rs)
//! tmp/                      what is being made; swept when its maker is gone (scratch.rs)
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Kind, Result};
use crate::guest::{GuestName, VolumeName, Xid};

/// The state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Where the state directory is when `HOSTEL_ROOT` does not say.
    pub const DEFAULT: &str = "/var/lib/hostel";

    /// The one that `HOSTEL_ROOT` names, else the default.
    pub fn from_env() -> Self {
        match std::env::var_os("HOSTEL_ROOT") {
            Some(root) if !root.is_empty() => Self::at(PathBuf::from(root)),
            _ => Self::at(PathBuf::from(Self::DEFAULT)),
        }
    }

    /// The one at `root`, made absolute.
    pub fn at(root: PathBuf) -> Self {
        let root = std::path::absolute(&root).unwrap_or(root);
        Self { root }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All guests.
    pub fn guests(&self) -> PathBuf {
        self.root.join("guests")
    }

    /// What belongs to one guest.
    pub fn guest_dir(&self, name: &GuestName) -> PathBuf {
        self.guests().join(name.as_str())
    }

    /// The guest's files.
    pub fn rootfs(&self, name: &GuestName) -> PathBuf {
        self.guest_dir(name).join("rootfs")
    }

    /// What was applied to the guest.
    pub fn spec(&self, name: &GuestName) -> PathBuf {
        self.guest_dir(name).join("spec.json")
    }

    /// How the guest's files are kept.
    pub fn files(&self, name: &GuestName) -> PathBuf {
        self.guest_dir(name).join("files.json")
    }

    /// All volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// What belongs to one volume.
    pub fn volume_dir(&self, name: &VolumeName) -> PathBuf {
        self.volumes().join(name.as_str())
    }

    /// The volume's lock file. No guest is called so.
    pub fn volume_lock(&self, name: &VolumeName) -> PathBuf {
        self.locks().join(format!("volume:{name}"))
    }

    /// Which numbers volumes have.
    pub fn volume_numbers(&self) -> PathBuf {
        self.root.join("volume-number")
    }

    /// Layers of overlay guests.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The content that layers of several guests share.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// What `hostel unify` remembers of files that it has read.
    pub fn known(&self) -> PathBuf {
        self.root.join("known-files")
    }

    /// What `hostel unify` remembers of trees that it has looked at.
    pub fn known_trees(&self) -> PathBuf {
        self.root.join("known-trees")
    }

    /// Prepared images, by key.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// What is being made.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Images that are being made: beside the others, so that a finished one is only renamed.
    pub fn images_tmp(&self) -> PathBuf {
        self.images().join(".tmp")
    }

    /// Lock files.
    pub fn locks(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The guest's lock file.
    pub fn lock(&self, name: &GuestName) -> PathBuf {
        self.locks().join(name.as_str())
    }

    /// Context ids.
    pub fn xids(&self) -> PathBuf {
        self.root.join("xid")
    }

    /// The link that says whose context id this is.
    pub fn xid(&self, xid: Xid) -> PathBuf {
        self.xids().join(xid.to_string())
    }

    /// The journals of workflows.
    pub fn flows(&self) -> PathBuf {
        self.root.join("flows")
    }

    /// Makes what is missing, each directory for its owner alone, and refuses a state directory that anybody
    /// else could write to or replace: every file below is believed.
    pub fn ensure(&self) -> Result<()> {
        if let Some(parent) = self.root.parent() {
            fs::create_dir_all(parent).context(|| format!("make `{}`", parent.display()))?;
        }
        for dir in [
            self.root.clone(),
            self.guests(),
            self.tmp(),
            self.locks(),
            self.xids(),
            self.flows(),
        ] {
            make_private(&dir)?;
            trusted(&dir, Sticky::Refused)?;
        }
        ancestors(&self.root)?;
        // Images are large and can be made again, so they may be kept elsewhere: a link that root has put here.
        make_private(&self.images())?;
        let images =
            fs::canonicalize(self.images()).context(|| format!("resolve `{}`", self.images().display()))?;
        trusted(&images, Sticky::Refused)?;
        ancestors(&images)
    }
}

/// Whether a directory in which everybody may make files, but replace only their own, will do.
#[derive(Clone, Copy, PartialEq)]
enum Sticky {
    Accepted,
    Refused,
}

fn make_private(dir: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.context(|| format!("make `{}`", dir.display())),
    }
}

fn ancestors(dir: &Path) -> Result<()> {
    dir.ancestors()
        .skip(1)
        .try_for_each(|above| trusted(above, Sticky::Accepted))
}

fn trusted(dir: &Path, sticky: Sticky) -> Result<()> {
    let meta = fs::symlink_metadata(dir).context(|| format!("stat `{}`", dir.display()))?;
    let refuse = |what: &str, hint: String| {
        Err(Error::new(Kind::Denied, format!("`{}` {what}", dir.display())).with_hint(hint))
    };
    // A link among the ancestors is judged by where it leads: its own directory is on the list too.
    let meta = if meta.is_symlink() && sticky == Sticky::Accepted {
        fs::metadata(dir).context(|| format!("stat `{}`", dir.display()))?
    } else {
        meta
    };
    if !meta.is_dir() {
        return refuse("is not a directory", "HOSTEL_ROOT names another one".into());
    }
    if meta.uid() != 0 && meta.uid() != nix::unistd::geteuid().as_raw() {
        let hint = format!("chown 0 {}", dir.display());
        return refuse(&format!("belongs to user {}", meta.uid()), hint);
    }
    let others_may_write = meta.mode() & 0o022 != 0;
    if others_may_write && !(sticky == Sticky::Accepted && meta.mode() & 0o1000 != 0) {
        return refuse(
            &format!("may be written by others (mode {:04o})", meta.mode() & 0o7777),
            format!("chmod go-w {}", dir.display()),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn makes_private_directories_once_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        layout.ensure().unwrap();
        for made in [layout.root().to_owned(), layout.guests(), layout.tmp()] {
            assert_eq!(fs::metadata(made).unwrap().mode() & 0o7777, 0o700);
        }
    }

    #[test]
    fn refuses_what_others_can_write() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        fs::set_permissions(layout.images(), fs::Permissions::from_mode(0o770)).unwrap();
        let err = layout.ensure().unwrap_err();
        assert_eq!(err.kind(), Kind::Denied);
        assert!(err.to_string().contains("(mode 0770)"), "{err}");

        fs::set_permissions(layout.images(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(layout.ensure().unwrap_err().kind(), Kind::Denied);
    }

    #[test]
    fn refuses_a_link_in_place_of_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        fs::remove_dir(layout.tmp()).unwrap();
        std::os::unix::fs::symlink("/tmp", layout.tmp()).unwrap();
        assert!(
            layout
                .ensure()
                .unwrap_err()
                .to_string()
                .contains("is not a directory")
        );
        fs::remove_file(layout.tmp()).unwrap();
        fs::rename(layout.images(), dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", layout.images()).unwrap();
        layout.ensure().unwrap();
        fs::set_permissions(dir.path().join("elsewhere"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(layout.ensure().unwrap_err().kind(), Kind::Denied);
    }
}
