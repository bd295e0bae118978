//! `overlay`: a layer of the guest's own over what it shares with others.
//!
//! A new guest of an image has an empty layer over the image itself. A clone of a guest that is stopped freezes that
//! guest's own layer where it is, under an empty one for each: nothing is copied, whatever the size. While the guest
//! runs, its layer is copied.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use super::{Driver, From, Job, Made, copy, open, unsupported};
use crate::error::{Context as _, Kind, Result};
use crate::guest::{Storage, Xid};
use crate::storage::files::{self, Below, Files, Stack};
use crate::storage::layer::{self, Holds, LayerId};
use crate::storage::scratch::Scratch;
use crate::storage::{Bounds, Layout, tree};
use crate::sys::mount::Attr;
use crate::sys::overlay::{self, Layers};

pub(super) struct Overlay;

impl Driver for Overlay {
    fn storage(&self) -> Storage {
        Storage::Overlay
    }

    fn check(&self, layout: &Layout) -> Result<()> {
        // It is there once a guest has had a layer: then it could.
        if layout.layers().is_dir() {
            return Ok(());
        }
        let scratch = Scratch::new(layout)?;
        for dir in ["below", "top/root", "top/work"] {
            let path = scratch.path().join(dir);
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&path);
            made.context(|| format!("make `{}`", path.display()))?;
        }
        let (below, top) = (
            open(&scratch.path().join("below"))?,
            open(&scratch.path().join("top"))?,
        );
        let layers = Layers {
            lower: vec![std::os::fd::AsFd::as_fd(&below)],
            upper: Some(std::os::fd::AsFd::as_fd(&top)),
        };
        // With the owners of no guest in particular.
        let ids = (Xid::FIRST_AUTOMATIC.id_base(), Xid::IDS);
        match overlay::mount_mapped(&layers, ids, Attr::NODEV) {
            Ok(_) => Ok(()),
            Err(err) if err.kind() == Kind::Unsupported => {
                Err(unsupported("this file system cannot carry id-mapped overlay layers").and_also(err))
            }
            Err(err) => Err(err),
        }
    }

    fn make(&self, job: &Job<'_>) -> Result<Made> {
        match job.from {
            From::Image { key, .. } => {
                let below = vec![Below::Image((*key).to_owned())];
                over(job, below, Holds::default(), job.bounds)
            }
            From::Guest { home, files, is_live } => match files.stack() {
                Some(stack) => self::clone(job, home, stack, *is_live),
                None => copied(job),
            },
            From::Dir(_) | From::Fill(_) => copied(job),
        }
    }
}

/// An empty layer over those.
fn over(job: &Job<'_>, below: Vec<Below>, mut holds: Holds, bounds: &Bounds) -> Result<Made> {
    // First held, then referred to.
    holds.old.extend(layer::hold_all(job.layout, &below)?);
    let new = layer::create(job.layout, bounds)?;
    let top = new.id().clone();
    holds.new.push(new);
    let first = below.first().map(|below| below.root(job.layout));
    if let Some(first) = first {
        // The root of the merged tree is that of the topmost layer.
        like(&first, &top.dir(job.layout).join("root"))?;
    }
    Ok(Made {
        files: Files::Overlay(Stack { top, below }),
        devices_skipped: 0,
        holds,
    })
}

/// A copy of the whole as a layer that others can share, and an empty one over it.
fn copied(job: &Job<'_>) -> Result<Made> {
    // What is below is not its own layer.
    let new = layer::create(job.layout, &Bounds::NONE)?;
    let id = new.id().clone();
    let copied = copy(job, &id.dir(job.layout).join("root"))?;
    let holds = Holds {
        old: Vec::new(),
        new: vec![new],
    };
    let made = over(job, vec![Below::Layer(id)], holds, job.bounds)?;
    Ok(Made {
        devices_skipped: copied.devices_skipped,
        ..made
    })
}

fn clone(job: &Job<'_>, home: &Path, stack: &Stack, is_live: bool) -> Result<Made> {
    if is_pristine(job.layout, stack)? {
        return over(job, stack.below.clone(), Holds::default(), job.bounds);
    }
    if is_live || stack.is_deep() {
        return with_copied_top(job, stack);
    }
    // The source's new list is the one step: before it the layer is the source's, after it that of both.
    let mut below = vec![Below::Layer(stack.top.clone())];
    below.extend(stack.below.iter().cloned());
    let made = over(job, below.clone(), Holds::default(), job.bounds)?;
    let bounds = Bounds::of_dir(&stack.top.dir(job.layout))?;
    let sources = over(job, below, Holds::default(), &bounds)?;
    files::write(home, &sources.files)?;
    sources.holds.kept();
    Ok(made)
}

/// The same layers with a copy of the topmost: whiteouts, marks and all.
fn with_copied_top(job: &Job<'_>, stack: &Stack) -> Result<Made> {
    let made = over(job, stack.below.clone(), Holds::default(), job.bounds)?;
    let Files::Overlay(copy) = &made.files else {
        return Ok(made);
    };
    job.progress.stage(&format!("copying the layer of {}", job.name));
    let root = |id: &LayerId| open(&id.dir(job.layout).join("root"));
    let options = tree::Options {
        devices: tree::Devices::Keep,
        is_layer: true,
        ..tree::Options::default()
    };
    tree::copy(root(&stack.top)?, root(&copy.top)?, &options, job.progress)
        .context(|| format!("copy the layer of `{}`", job.name))?;
    Ok(made)
}

/// Whether nothing was ever written to the topmost layer.
fn is_pristine(layout: &Layout, stack: &Stack) -> Result<bool> {
    let top = stack.top.dir(layout).join("root");
    let mut entries = fs::read_dir(&top).context(|| format!("list `{}`", top.display()))?;
    let Some(first) = stack.below.first() else {
        return Ok(false);
    };
    let stat = |path: &Path| fs::metadata(path).context(|| format!("stat `{}`", path.display()));
    let (top, below) = (stat(&top)?, stat(&first.root(layout))?);
    let is_like = (top.mode(), top.uid(), top.gid()) == (below.mode(), below.uid(), below.gid());
    Ok(is_like && entries.next().is_none())
}

/// Gives a directory the owner, mode, attributes and time of another.
fn like(from: &Path, to: &Path) -> Result<()> {
    tree::copy_attributes(open(from)?, open(to)?).context(|| format!("make `{}`", to.display()))
}
