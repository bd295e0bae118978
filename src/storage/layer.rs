//! Layers of overlay guests: `layers/ID`, with `root`, the files, and `work`, which overlayfs needs beside them.
//!
//! A layer is the top of one guest, which writes to it, or lies below others and never changes again. Nothing counts who
//! uses one: it is read from the guests' own lists ([`Files`]). Who makes a layer, or is about to refer to one or to an
//! image, has a shared `flock(2)` on its directory until the reference is written; it is removed under an exclusive one.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::files::{self, Below, Files};
use super::{Bounds, Home, Layout, bounds, scratch};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::{GuestName, Invalid, serde_as_text};

/// The name of a layer. It tells nothing but that it is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(String);

impl LayerId {
    /// Where the layer is.
    pub fn dir(&self, layout: &Layout) -> PathBuf {
        layout.layers().join(&self.0)
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for LayerId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // Never a path, and nothing hidden.
        let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if !text.is_empty() && text.len() <= 64 && text.bytes().all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                format!("`{}` is not a layer", text.escape_debug()),
                "letters, digits and `-`",
            ))
        }
    }
}

serde_as_text!(LayerId);

/// Keeps a layer or an image from being removed.
#[derive(Debug)]
pub struct Hold {
    _lock: Flock<File>,
}

/// A layer that was just made, and is held. Dropped, it is taken away again, unless a list names it by then.
#[derive(Debug)]
pub struct New {
    id: LayerId,
    hold: Option<Hold>,
    layout: Layout,
}

impl New {
    /// Its name.
    pub fn id(&self) -> &LayerId {
        &self.id
    }

    /// A list names it: there is nothing to look for.
    pub fn kept(mut self) {
        self.hold = None;
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if self.hold.take().is_some() {
            // Whatever stays is unused, and the next sweep takes it.
            if let Err(err) = remove_unused(&self.layout, [self.id.clone()]) {
                tracing::debug!("the layer `{}` stays: {err}", self.id);
            }
        }
    }
}

/// What stays as it is until a list refers to it, and what was made for that.
#[derive(Debug, Default)]
pub struct Holds {
    /// What lies below. Given up first: one may be a layer that was made.
    pub old: Vec<Hold>,
    /// Layers that were made.
    pub new: Vec<New>,
}

impl Holds {
    /// A list names them. Dropped without that, what was made goes.
    pub fn kept(self) {
        self.new.into_iter().for_each(New::kept);
    }
}

/// Makes an empty layer, whose root belongs to the guest's root.
pub fn create(layout: &Layout, bounds: &Bounds) -> Result<New> {
    make_dir(&layout.layers(), 0o700, true)?;
    loop {
        let id = LayerId(scratch::unique());
        let dir = id.dir(layout);
        bounds::make_dir(&dir, 0o700, bounds)?;
        // A sweeper may have come between the two lines.
        let held = hold(&dir).inspect_err(|_| drop(fs::remove_dir(&dir)))?;
        if let Some(hold) = held {
            let new = New {
                id,
                hold: Some(hold),
                layout: layout.clone(),
            };
            make_dir(&dir.join("root"), 0o755, false)?;
            make_dir(&dir.join("work"), 0o700, false)?;
            return Ok(new);
        }
    }
}

fn make_dir(path: &Path, mode: u32, may_exist: bool) -> Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(err) if may_exist && err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.context(|| format!("make `{}`", path.display())),
    }
}

/// Holds the layer or image in this directory; `None` when it is gone.
pub fn hold(dir: &Path) -> Result<Option<Hold>> {
    Ok(lock(dir, FlockArg::LockShared)?.map(|lock| Hold { _lock: lock }))
}

/// Holds what lies below a stack.
pub fn hold_all(layout: &Layout, below: &[Below]) -> Result<Vec<Hold>> {
    below
        .iter()
        .map(|below| {
            hold(&below.dir(layout))?.ok_or_else(|| {
                Error::new(Kind::NotFound, format!("`{below}` is not there any more"))
                    .with_hint("it was removed at the same moment; try again")
            })
        })
        .collect()
}

/// The right to remove the layer or image in this directory; `None` when somebody holds it, or it is gone.
pub fn claim(dir: &Path) -> Result<Option<Flock<File>>> {
    lock(dir, FlockArg::LockExclusiveNonblock)
}

fn lock(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>> {
    let mut dir = match File::open(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context(|| format!("open `{}`", path.display()))?,
    };
    let lock = loop {
        match Flock::lock(dir, how) {
            Ok(lock) => break lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((back, Errno::EINTR)) => {
                crate::sys::interrupt::heed()?;
                dir = back;
            }
            Err((_, errno)) => return Err(Error::os(format!("lock `{}`", path.display()), errno)),
        }
    };
    let ours = lock.metadata().context(|| format!("stat `{}`", path.display()))?;
    let is_there = fs::symlink_metadata(path).is_ok_and(|there| there.ino() == ours.ino());
    Ok(is_there.then_some(lock))
}

/// Everything that a guest's list names, each layer as [`Below::Layer`].
pub fn used(layout: &Layout) -> Result<BTreeSet<Below>> {
    let mut used = BTreeSet::new();
    for home in homes(layout)? {
        if let Files::Overlay(stack) = files::read_in(&home)? {
            used.extend(stack.layers().map(Below::Layer));
            let images = stack.below.into_iter();
            used.extend(images.filter(|below| matches!(below, Below::Image(_))));
        }
    }
    Ok(used)
}

/// Every directory that may have a list of layers: those of guests, and of their snapshots.
pub(super) fn homes(layout: &Layout) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(layout.guests()) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("list `{}`", layout.guests().display()))?,
    };
    // Also of a guest that is only half there: it is swept as a whole.
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(names.flat_map(|name| homes_of(layout, &name)).collect())
}

/// Those of one guest, its own first.
pub(super) fn homes_of(layout: &Layout, name: &GuestName) -> Vec<PathBuf> {
    let snapshots = fs::read_dir(Home::of_guest(layout, name).snapshots())
        .into_iter()
        .flatten()
        .flatten();
    let mut homes = vec![layout.guest_dir(name)];
    homes.extend(snapshots.map(|entry| entry.path()));
    homes
}

/// Removes those of `layers` that nobody uses or holds.
pub fn remove_unused(layout: &Layout, layers: impl IntoIterator<Item = LayerId>) -> Result<Vec<LayerId>> {
    /// As many at once as there may be descriptors for, by far; all lists are read once for them.
    const AT_ONCE: usize = 64;
    let layers: Vec<LayerId> = layers.into_iter().collect();
    let mut removed = Vec::new();
    for some in layers.chunks(AT_ONCE) {
        let mut claimed = Vec::new();
        for id in some {
            if let Some(claim) = claim(&id.dir(layout))? {
                claimed.push((id, claim));
            }
        }
        if claimed.is_empty() {
            continue;
        }
        // Looked at under the claims: who could add a reference has none without holding the layer.
        let used = used(layout)?;
        claimed.retain(|(id, _)| !used.contains(&Below::Layer((*id).clone())));
        for (id, _claim) in claimed {
            let dir = id.dir(layout);
            let scratch = scratch::Scratch::new(layout)?;
            fs::rename(&dir, scratch.path().join("layer"))
                .context(|| format!("remove `{}`", dir.display()))?;
            removed.push(id.clone());
        }
    }
    Ok(removed)
}

/// Removes every layer that nobody uses or holds: what makers left that were killed.
pub fn sweep(layout: &Layout) -> Result<Vec<LayerId>> {
    let entries = match fs::read_dir(layout.layers()) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("list `{}`", layout.layers().display()))?,
    };
    let ids: Vec<LayerId> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    remove_unused(layout, ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::files::Stack;

    #[test]
    fn a_layer_goes_when_nobody_uses_or_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        let layers = || fs::read_dir(layout.layers()).unwrap().count();
        // One that nobody came to refer to goes by itself.
        drop(create(&layout, &Bounds::NONE).unwrap());
        assert_eq!(layers(), 0);
        let held = create(&layout, &Bounds::NONE).unwrap();
        let other = create(&layout, &Bounds::NONE).unwrap();
        let (kept, below) = (held.id().clone(), other.id().clone());
        // Of a maker that was killed.
        other.kept();
        assert_eq!(sweep(&layout).unwrap(), vec![below]);
        assert_eq!(layers(), 1);
        let other = create(&layout, &Bounds::NONE).unwrap();
        let below = other.id().clone();
        let web: GuestName = "web".parse().unwrap();
        fs::create_dir(layout.guest_dir(&web)).unwrap();
        let stack = Stack {
            top: kept.clone(),
            below: vec![Below::Layer(below.clone())],
        };
        files::write(&layout.guest_dir(&web), &Files::Overlay(stack)).unwrap();
        // Said or not, what a list names stays.
        held.kept();
        drop(other);
        assert_eq!(layers(), 2);
        assert_eq!(sweep(&layout).unwrap(), vec![]);
        fs::remove_dir_all(layout.guest_dir(&web)).unwrap();
        let mut both = vec![kept, below];
        both.sort();
        let mut swept = sweep(&layout).unwrap();
        swept.sort();
        assert_eq!(swept, both);
        assert_eq!(fs::read_dir(layout.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn an_id_is_never_a_path() {
        for bad in ["", ".", "..", "a/b", "x\n"] {
            assert!(bad.parse::<LayerId>().is_err(), "{bad:?}");
        }
    }
}
