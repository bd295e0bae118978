//! How a guest's files are kept, and how they are reached while it does not run.
//!
//! `guests/NAME/files.json` says it; a guest without it is a plain tree at `guests/NAME/rootfs`.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::fcntl::{OFlag, open as open_fd};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::layer::LayerId;
use super::{Inside, Layout, disk_image, state, tree};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::context::Overlay;
use crate::guest::{GuestName, Invalid, Storage, serde_as_text};
use crate::sys::mount::Attr;
use crate::sys::overlay::{self, Layers};

/// How a guest's files are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "storage", rename_all = "lowercase")]
pub enum Files {
    /// A subvolume, `rootfs`.
    Btrfs,
    /// A tree, `rootfs`, whose files share extents with others where they are equal.
    Reflink,
    /// A tree, `rootfs`.
    Dir,
    /// A file system in one file, `disk.img`.
    Image,
    /// Layers.
    Overlay(Stack),
}

/// The layers of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// The one that it writes to; no other guest has it.
    pub top: LayerId,
    /// What lies below and never changes, the topmost first.
    pub below: Vec<Below>,
}

/// Something below a guest's own layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Below {
    /// What was the top of a guest that was cloned.
    Layer(LayerId),
    /// A layer whose files have their content in the store (`unify::store`).
    Unified(LayerId),
    /// An image, by its key.
    Image(String),
}

impl Below {
    /// The directory that stands for it when it is held.
    pub fn dir(&self, layout: &Layout) -> PathBuf {
        match self {
            Self::Layer(id) | Self::Unified(id) => id.dir(layout),
            Self::Image(key) => layout.images().join(key),
        }
    }

    /// Its files.
    pub fn root(&self, layout: &Layout) -> PathBuf {
        self.dir(layout).join(match self {
            Self::Layer(_) | Self::Unified(_) => "root",
            Self::Image(_) => "rootfs",
        })
    }
}

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(id) => write!(f, "layer:{id}"),
            Self::Unified(id) => write!(f, "unified:{id}"),
            Self::Image(key) => write!(f, "image:{key}"),
        }
    }
}

impl FromStr for Below {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once(':') {
            Some(("layer", id)) => id.parse().map(Self::Layer),
            Some(("unified", id)) => id.parse().map(Self::Unified),
            Some(("image", key)) if !key.is_empty() && !key.starts_with('.') && !key.contains('/') => {
                Ok(Self::Image(key.to_owned()))
            }
            _ => Err(Invalid::new(
                format!("`{}` is neither a layer nor an image", text.escape_debug()),
                "`layer:ID`, `unified:ID` or `image:KEY`",
            )),
        }
    }
}

serde_as_text!(Below);

impl Files {
    /// The word for it.
    pub fn storage(&self) -> Storage {
        match self {
            Self::Btrfs => Storage::Btrfs,
            Self::Reflink => Storage::Reflink,
            Self::Dir => Storage::Dir,
            Self::Image => Storage::Image,
            Self::Overlay(_) => Storage::Overlay,
        }
    }

    /// Whether it has a tree of its own, `rootfs`.
    pub fn has_tree(&self) -> bool {
        matches!(self, Self::Btrfs | Self::Reflink | Self::Dir)
    }

    /// What of a guest's directory they are in.
    pub fn in_home(&self) -> Option<&'static str> {
        match self {
            Self::Btrfs | Self::Reflink | Self::Dir => Some("rootfs"),
            Self::Image => Some(disk_image::NAME),
            Self::Overlay(_) => None,
        }
    }

    /// The layers, if it has any.
    pub fn stack(&self) -> Option<&Stack> {
        match self {
            Self::Overlay(stack) => Some(stack),
            _ => None,
        }
    }
}

impl Stack {
    /// Where the layers are, for a start.
    pub fn overlay(&self, layout: &Layout) -> Overlay {
        Overlay {
            lower: self.lower(layout),
            upper: self.top.dir(layout),
        }
    }

    /// What is mounted below its top, the topmost first. The store lies below everything; over the first layer that
    /// looks into it lies one that hides it from the guest.
    fn lower(&self, layout: &Layout) -> Vec<PathBuf> {
        let mut roots: Vec<PathBuf> = self.below.iter().map(|below| below.root(layout)).collect();
        let is_unified = |below: &Below| matches!(below, Below::Unified(_));
        if let Some(first) = self.below.iter().position(is_unified) {
            roots.insert(first, layout.store().join("hide"));
            roots.push(layout.store().join("root"));
        }
        roots
    }

    /// Whether no further layer fits below the top.
    pub fn is_deep(&self) -> bool {
        let is_unified = |below: &Below| matches!(below, Below::Unified(_));
        let hidden = if self.below.iter().any(is_unified) { 2 } else { 0 };
        self.below.len() + hidden >= overlay::MAX_LOWER
    }

    /// Every layer that it names.
    pub fn layers(&self) -> impl Iterator<Item = LayerId> + '_ {
        let below = self.below.iter().filter_map(|below| match below {
            Below::Layer(id) | Below::Unified(id) => Some(id.clone()),
            Below::Image(_) => None,
        });
        std::iter::once(self.top.clone()).chain(below)
    }
}

/// A list of layers is short; more is not ours.
const MAX_BYTES: u64 = 64 << 10;

/// How the guest's files are kept. One that has none yet is a plain tree too.
pub fn read(layout: &Layout, name: &GuestName) -> Result<Files> {
    read_in(&layout.guest_dir(name))
}

/// The same of a guest's directory, or of what is laid out as one.
pub fn read_in(home: &Path) -> Result<Files> {
    let path = home.join("files.json");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(&path);
    let file = match file {
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Files::Dir);
        }
        other => other.context(|| format!("open `{}`", path.display()))?,
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut text)
        .context(|| format!("read `{}`", path.display()))?;
    serde_json::from_slice(&text).map_err(|err| {
        Error::new(
            Kind::Invalid,
            format!("`{}` is not what hostel writes", path.display()),
        )
        .with_source(err)
        .with_hint("it may be of a newer hostel; the layers that it names are in `layers`")
    })
}

/// Writes it into a guest's directory, in one step.
pub fn write(dir: &Path, files: &Files) -> Result<()> {
    let path = dir.join("files.json");
    match text(files, &path)? {
        // With the layers that it names, some of which may just have been made.
        Some(text) => state::replace_as(&path, &text, state::Durable::WithAllBefore),
        // As guests are that were made before there was a choice.
        None => match fs::remove_file(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.context(|| format!("remove `{}`", path.display())),
        },
    }
}

/// The same into a directory that nobody knows of yet: who makes it known flushes it.
pub fn put(dir: &Path, files: &Files) -> Result<()> {
    let path = dir.join("files.json");
    text(files, &path)?.map_or(Ok(()), |text| state::put(&path, &text))
}

fn text(files: &Files, path: &Path) -> Result<Option<Vec<u8>>> {
    if *files == Files::Dir {
        return Ok(None);
    }
    let mut text = serde_json::to_vec_pretty(files)
        .map_err(|err| Error::new(Kind::Internal, format!("write `{}`", path.display())).with_source(err))?;
    text.push(b'\n');
    Ok(Some(text))
}

/// What may be done with a tree that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It may be written to. Only while the guest does not run: two mounts of one top layer undo each other's work.
    Write,
    /// It is only looked at; the guest may run.
    Read,
}

/// The guest's tree, with the ids that the guest sees.
pub fn open(layout: &Layout, name: &GuestName, access: Access) -> Result<Inside> {
    open_as(layout, name, &read(layout, name)?, access)
}

/// The tree of what is laid out as a guest's directory.
pub fn open_in(layout: &Layout, home: &Path, files: &Files, label: &str, access: Access) -> Result<Inside> {
    match files {
        Files::Overlay(stack) => {
            let tree = merged(layout, stack, access).context(|| format!("open the files of `{label}`"))?;
            Ok(Inside::from_fd(tree, label))
        }
        Files::Image => {
            let attr = DATA.and(match access {
                Access::Write => Attr::DATA,
                Access::Read => Attr::RDONLY,
            });
            let tree = disk_image::open(&home.join(disk_image::NAME), attr)
                .context(|| format!("open the files of `{label}`"))?;
            Ok(Inside::from_fd(tree, label))
        }
        _ => Inside::open(&home.join("rootfs"), label),
    }
}

/// The same for a caller who knows how the files are kept.
pub fn open_as(layout: &Layout, name: &GuestName, files: &Files, access: Access) -> Result<Inside> {
    open_in(layout, &layout.guest_dir(name), files, name.as_str(), access)
}

/// What hostel looks at it does not run.
const DATA: Attr = Attr::DATA;

/// A mount of the layers that is attached nowhere: it goes with its descriptor.
fn merged(layout: &Layout, stack: &Stack, access: Access) -> Result<OwnedFd> {
    let open = |path: PathBuf| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open_fd(&path, flags, Mode::empty()).context(|| format!("open `{}`", path.display()))
    };
    let below: Vec<OwnedFd> = stack.lower(layout).into_iter().map(open).collect::<Result<_>>()?;
    let top = stack.top.dir(layout);
    let top = open(match access {
        Access::Write => top,
        Access::Read => top.join("root"),
    })?;
    let mut lower: Vec<_> = below.iter().map(|fd| fd.as_fd()).collect();
    let attr = DATA;
    match access {
        Access::Write => overlay::mount(
            &Layers {
                lower,
                upper: Some(top.as_fd()),
            },
            attr,
        ),
        Access::Read => {
            lower.insert(0, top.as_fd());
            overlay::mount(&Layers { lower, upper: None }, attr.and(Attr::RDONLY))
        }
    }
}

/// What the files occupy that no other guest has, in bytes; extents that are shared are counted as its own.
pub fn size_in(layout: &Layout, home: &Path, files: &Files) -> Result<u64> {
    let path = match files {
        Files::Overlay(stack) => stack.top.dir(layout),
        Files::Image => return disk_image::usage(&home.join(disk_image::NAME)).map(|usage| usage.used),
        _ => home.join("rootfs"),
    };
    let opened = File::open(&path).context(|| format!("open `{}`", path.display()))?;
    tree::size(&opened).context(|| format!("measure `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_is_a_plain_tree() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        let web: GuestName = "web".parse().unwrap();
        assert_eq!(read(&layout, &web).unwrap(), Files::Dir);
        fs::create_dir(layout.guest_dir(&web)).unwrap();
        let stack = Stack {
            top: "a-1".parse().unwrap(),
            below: vec![
                Below::Layer("b".parse().unwrap()),
                Below::Unified("c".parse().unwrap()),
                Below::Image("busybox-1".into()),
            ],
        };
        for files in [
            Files::Overlay(stack),
            Files::Btrfs,
            Files::Reflink,
            Files::Image,
            Files::Dir,
        ] {
            write(&layout.guest_dir(&web), &files).unwrap();
            assert_eq!(read(&layout, &web).unwrap(), files);
        }
        assert!(!layout.files(&web).exists());
        for garbage in ["", "{}", r#"{"storage":"overlay","top":"../x","below":[]}"#] {
            fs::write(layout.files(&web), garbage).unwrap();
            assert_eq!(
                read(&layout, &web).unwrap_err().kind(),
                Kind::Invalid,
                "{garbage}"
            );
        }
        for bad in ["image:", "image:../x", "image:.tmp", "layer:", "x"] {
            assert!(bad.parse::<Below>().is_err(), "{bad}");
        }
    }
}
