//! Everything of its own again: layers with their content, trees whose files share no extents.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::layers::{self, Home};
use super::scan::Done;
use super::{Options, Outcome, Report, Run, Told, extents, sort, store};
use crate::error::{Context as _, Kind, Result};
use crate::guest::{GuestName, Storage};
use crate::storage::driver::btrfs;
use crate::storage::files::{self, Below, Files, Stack};
use crate::storage::layer::{self, LayerId, New};
use crate::storage::lock::{self, Wait};
use crate::storage::scratch::Scratch;
use crate::storage::still::Source;
use crate::storage::{Bounds, Layout, Progress, tree};

/// Takes back what unification has done to `guests`.
pub fn undo(
    layout: &Layout,
    guests: &[GuestName],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    // Remembered for nobody: which files are shared is not so any more.
    let (known, done) = (super::known::Known::default(), Done::default());
    let run = Run {
        layout,
        options,
        known: &known,
        done: &done,
        progress,
    };
    let sorted = sort(layout, guests)?;
    let mut told = sorted.told;
    let homes = layers::homes(layout, &sorted.stopped)?;
    let mut guests: BTreeMap<GuestName, Told> = sorted
        .stopped
        .iter()
        .map(|guest| {
            (
                guest.name.clone(),
                Told::new(&guest.name, Storage::Overlay, Outcome::Unchanged),
            )
        })
        .collect();
    for name in undo_layers(&run, &homes)? {
        if let Some(told) = guests.get_mut(&name) {
            told.outcome = Outcome::Undone;
        }
    }
    told.extend(guests.into_values());
    told.extend(undo_trees(&run, &sorted.trees)?);
    if !options.is_dry {
        store::sweep(layout)?;
    }
    Ok(Report::of(told, &done, options.is_dry))
}

fn undo_layers(run: &Run<'_>, homes: &[Home]) -> Result<Vec<GuestName>> {
    let (mut names, mut own) = (Vec::new(), HashMap::new());
    let undone = undo_each(run, homes, &mut names, &mut own);
    layers::settle(run.layout, undone, own)?;
    Ok(names)
}

/// Gives each a list without what is shared; `own` are the layers that were made for those of before.
fn undo_each(
    run: &Run<'_>,
    homes: &[Home],
    names: &mut Vec<GuestName>,
    own: &mut HashMap<LayerId, New>,
) -> Result<()> {
    let layout = run.layout;
    for home in homes {
        let unified = home.stack.below.iter().filter_map(|below| match below {
            Below::Unified(id) => Some(id.clone()),
            _ => None,
        });
        let unified: Vec<LayerId> = unified.collect();
        if unified.is_empty() {
            continue;
        }
        names.push(home.guest.clone());
        if run.options.is_dry {
            continue;
        }
        run.progress.stage(&format!("copying what {} shares", home.guest));
        let mut below = home.stack.below.clone();
        for id in &unified {
            if !own.contains_key(id) {
                own.insert(id.clone(), copy(run, id)?);
            }
            for entry in &mut below {
                if *entry == Below::Unified(id.clone()) {
                    *entry = Below::Layer(own[id].id().clone());
                }
            }
        }
        let root = File::open(layout.layers()).context(|| "open the layers")?;
        nix::unistd::syncfs(&root).context(|| "write the layers to the disk")?;
        let stack = Stack {
            top: home.stack.top.clone(),
            below,
        };
        files::write(&home.place, &Files::Overlay(stack))?;
    }
    Ok(())
}

/// A layer like a unified one, with the content.
fn copy(run: &Run<'_>, id: &LayerId) -> Result<New> {
    let layout: &Layout = run.layout;
    let new = layer::create(layout, &Bounds::NONE)?;
    let open = |id: &LayerId| {
        let path = id.dir(layout).join("root");
        File::open(&path).context(|| format!("open `{}`", path.display()))
    };
    let options = tree::Options {
        devices: tree::Devices::Keep,
        is_layer: true,
        content: Some(store::contents(layout)?),
        ..tree::Options::default()
    };
    tree::copy(open(id)?, open(new.id())?, &options, run.progress)
        .context(|| format!("copy the layer `{id}`"))?;
    Ok(new)
}

fn undo_trees(run: &Run<'_>, trees: &[(GuestName, Storage)]) -> Result<Vec<Told>> {
    if extents::refusal(run.layout, trees)?.is_some() {
        // They never shared any.
        return Ok(trees
            .iter()
            .map(|(name, storage)| Told::new(name, *storage, Outcome::Unchanged))
            .collect());
    }
    trees
        .iter()
        .map(|(name, storage)| undo_tree(run, name, *storage))
        .collect()
}

/// A copy that shares nothing, in the place of the tree. fallocate(2) could give a file extents of its own where it is,
/// and would change its time and take its set-id bits away.
fn undo_tree(run: &Run<'_>, name: &GuestName, storage: Storage) -> Result<Told> {
    let layout = run.layout;
    let _lock = match lock::acquire(layout, name, Wait::No) {
        Err(err) if err.kind() == Kind::Busy => return Ok(Told::left(name, storage, err.to_string())),
        other => other?,
    };
    if Source::look(layout, name)?.is_running() {
        return Ok(Told::left(
            name,
            storage,
            "it runs, and its files are to be copied",
        ));
    }
    if run.options.is_dry {
        return Ok(Told::new(name, storage, Outcome::Undone));
    }
    run.progress.stage(&format!("copying the files of {name}"));
    let (scratch, place) = (Scratch::new(layout)?, layout.rootfs(name));
    let fresh = scratch.path().join("rootfs");
    match storage {
        Storage::Btrfs => btrfs::make_root(&fresh)?,
        _ => fs::create_dir(&fresh).context(|| format!("make `{}`", fresh.display()))?,
    }
    let options = tree::Options {
        devices: tree::Devices::Keep,
        is_apart: true,
        ..tree::Options::default()
    };
    let inside = extents::open(layout, name, &files::read(layout, name)?)?;
    let to = File::open(&fresh).context(|| format!("open `{}`", fresh.display()))?;
    tree::copy(inside.root(), &to, &options, run.progress)
        .context(|| format!("copy the files of `{name}`"))?;
    nix::unistd::syncfs(&to).context(|| "write the copy to the disk")?;
    // In one step: it has the old tree or the new one.
    renameat2(AT_FDCWD, &fresh, AT_FDCWD, &place, RenameFlags::RENAME_EXCHANGE)
        .context(|| format!("exchange `{}` and `{}`", fresh.display(), place.display()))?;
    Ok(Told::new(name, storage, Outcome::Undone))
}
