//! Guests of layers: layers with files that another has too are made anew, with those in the store.
//!
//! A layer never changes. The new one is made whole and on the disk before a guest's list names it; until then the list
//! names the old one, and after the last list the old one is nobody's. So whenever it is cut off each guest has one or
//! the other, and both show it the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use super::farm::{self, Made};
use super::key::Key;
use super::scan::Found;
use super::store::{self, Store};
use super::{Outcome, Run, Stopped, Told};
use crate::error::{Context as _, Result};
use crate::guest::{GuestName, Storage};
use crate::storage::files::{self, Below, Files, Stack};
use crate::storage::layer::{self, Hold, LayerId, New};
use crate::storage::{Bounds, Layout, tree};
use crate::sys::overlay::MAX_LOWER;

/// A layer is made anew for no less: it costs a file of metadata for each name, and a top that is made one costs a layer.
const LEAST: u64 = 64 << 10;

/// A list of layers: that of a guest, or of a snapshot of it.
pub(super) struct Home {
    pub(super) guest: GuestName,
    pub(super) place: PathBuf,
    pub(super) stack: Stack,
}

/// The lists of those guests.
pub(super) fn homes(layout: &Layout, guests: &[Stopped]) -> Result<Vec<Home>> {
    let mut homes = Vec::new();
    for guest in guests {
        for place in layer::homes_of(layout, &guest.name) {
            if let Files::Overlay(stack) = files::read_in(&place)? {
                homes.push(Home {
                    guest: guest.name.clone(),
                    place,
                    stack,
                });
            }
        }
    }
    Ok(homes)
}

/// A layer that may be made anew, and what it has.
struct Candidate {
    id: LayerId,
    root: OwnedFd,
    found: Vec<Found>,
}

pub(super) fn unify(run: &Run<'_>, guests: &[Stopped]) -> Result<Vec<Told>> {
    let mut told: BTreeMap<GuestName, Told> = guests
        .iter()
        .map(|guest| {
            (
                guest.name.clone(),
                Told::new(&guest.name, Storage::Overlay, Outcome::Unchanged),
            )
        })
        .collect();
    if guests.is_empty() {
        return Ok(Vec::new());
    }
    let layout = run.layout;
    let homes = homes(layout, guests)?;
    let ids = candidates(layout, &homes)?;
    // Held while they are read and linked: nobody removes them.
    let holds: Vec<Hold> = ids
        .iter()
        .filter_map(|id| layer::hold(&id.dir(layout)).transpose())
        .collect::<Result<_>>()?;
    let scan = run.scan(1);
    let candidates = run.each("reading layers", &ids, |id| {
        let root = open_root(layout, id)?;
        let found = scan.tree(root.as_fd())?;
        Ok(Candidate {
            id: id.clone(),
            root,
            found,
        })
    })?;
    let store = if run.options.is_dry {
        None
    } else {
        Some(Store::open(layout)?)
    };
    let stored = store::keys_of(layout)?;
    let chosen = choose(&candidates, &stored);
    let Some(store) = store else {
        would_save(&candidates, &chosen, &stored, &homes, &mut told);
        return Ok(told.into_values().collect());
    };
    let chosen: Vec<&Candidate> = candidates.iter().filter(|one| chosen.contains(&one.id)).collect();
    if chosen.is_empty() {
        return Ok(told.into_values().collect());
    }
    let made = run.each("sharing what is equal", &chosen, |one| anew(layout, one, &store))?;
    let anew: HashMap<LayerId, (New, Made)> = chosen
        .iter()
        .zip(made)
        .map(|(one, made)| (one.id.clone(), made))
        .collect();
    // On the disk before any list says so.
    let root = File::open(layout.layers()).context(|| "open the layers")?;
    nix::unistd::syncfs(&root).context(|| "write the layers to the disk")?;
    let named = refer(layout, &homes, &anew, &mut told);
    drop(holds);
    drop(store);
    let replaced = anew.into_iter().map(|(old, (new, _))| (old, new));
    settle(layout, named, replaced)?;
    Ok(told.into_values().collect())
}

/// After lists were given new layers for old ones, or only some were: of either kind those go that no list names.
pub(super) fn settle(
    layout: &Layout,
    named: Result<()>,
    replaced: impl IntoIterator<Item = (LayerId, New)>,
) -> Result<()> {
    let (old, new): (Vec<LayerId>, Vec<New>) = replaced.into_iter().unzip();
    if named.is_ok() {
        new.into_iter().for_each(New::kept);
    } else {
        drop(new);
    }
    let removed = layer::remove_unused(layout, old);
    named.and(removed.map(drop))
}

/// Gives each list the new layers.
fn refer(
    layout: &Layout,
    homes: &[Home],
    anew: &HashMap<LayerId, (New, Made)>,
    told: &mut BTreeMap<GuestName, Told>,
) -> Result<()> {
    let mut counted = HashSet::new();
    for home in homes {
        let Some((stack, top)) = renewed(layout, home, anew)? else {
            continue;
        };
        files::write(&home.place, &Files::Overlay(stack))?;
        if let Some(top) = top {
            top.kept();
        }
        // Also the one whose content became that of the others, and which saves nothing itself.
        told.get_mut(&home.guest).map(Told::shares);
        for id in home.stack.layers() {
            // One that several guests have is saved once.
            if let (Some((_, made)), true) = (anew.get(&id), counted.insert(id.clone()))
                && let Some(told) = told.get_mut(&home.guest)
            {
                told.add(made.shared, made.saved);
            }
        }
    }
    Ok(())
}

/// The layers that only those lists name, and which are none of the store's yet.
fn candidates(layout: &Layout, homes: &[Home]) -> Result<Vec<LayerId>> {
    let ours: HashSet<&PathBuf> = homes.iter().map(|home| &home.place).collect();
    let mut others = HashSet::new();
    for place in layer::homes(layout)? {
        if !ours.contains(&place)
            && let Files::Overlay(stack) = files::read_in(&place)?
        {
            others.extend(stack.layers());
        }
    }
    // The store, and what hides it, must find room below each that has them.
    let is_full = |home: &&Home| home.stack.below.len() + 2 > MAX_LOWER;
    others.extend(homes.iter().filter(is_full).flat_map(|home| home.stack.layers()));
    let mut ids = Vec::new();
    for home in homes {
        let below = home.stack.below.iter().filter_map(|below| match below {
            Below::Layer(id) => Some(id),
            Below::Unified(_) | Below::Image(_) => None,
        });
        // A top that becomes a layer needs room too.
        let top = (home.stack.below.len() + 3 <= MAX_LOWER).then_some(&home.stack.top);
        for id in below.chain(top) {
            if !others.contains(id) && !ids.contains(id) {
                ids.push(id.clone());
            }
        }
    }
    Ok(ids)
}

fn open_root(layout: &Layout, id: &LayerId) -> Result<OwnedFd> {
    let path = id.dir(layout).join("root");
    File::open(&path)
        .map(Into::into)
        .context(|| format!("open `{}`", path.display()))
}

/// Those for which it is worth it.
fn choose(candidates: &[Candidate], stored: &HashSet<Key>) -> HashSet<LayerId> {
    let mut layers_with: HashMap<Key, (usize, u32)> = HashMap::new();
    for (at, one) in candidates.iter().enumerate() {
        for found in &one.found {
            let (last, count) = layers_with.entry(found.key).or_insert((usize::MAX, 0));
            if *last != at {
                (*last, *count) = (at, *count + 1);
            }
        }
    }
    let is_shared = |found: &&Found| stored.contains(&found.key) || layers_with[&found.key].1 > 1;
    candidates
        .iter()
        .filter(|one| {
            one.found
                .iter()
                .filter(is_shared)
                .map(Found::occupied)
                .sum::<u64>()
                >= LEAST
        })
        .map(|one| one.id.clone())
        .collect()
}

fn would_save(
    candidates: &[Candidate],
    chosen: &HashSet<LayerId>,
    stored: &HashSet<Key>,
    homes: &[Home],
    told: &mut BTreeMap<GuestName, Told>,
) {
    let mut seen = stored.clone();
    for one in candidates.iter().filter(|one| chosen.contains(&one.id)) {
        let mut inodes = HashSet::new();
        let (mut files, mut saved) = (0, 0);
        for found in &one.found {
            if inodes.insert(found.stat.st_ino) && !seen.insert(found.key) {
                files += 1;
                saved += found.occupied();
            }
        }
        let owner = homes
            .iter()
            .find(|home| home.stack.layers().any(|id| id == one.id));
        if let Some(told) = owner.and_then(|home| told.get_mut(&home.guest)) {
            told.add(files, saved);
        }
    }
    for home in homes {
        if home.stack.layers().any(|id| chosen.contains(&id)) {
            told.get_mut(&home.guest).map(Told::shares);
        }
    }
}

fn anew(layout: &Layout, one: &Candidate, store: &Store) -> Result<(New, Made)> {
    let new = layer::create(layout, &Bounds::NONE)?;
    let keys: HashMap<u64, Key> = one
        .found
        .iter()
        .map(|found| (found.stat.st_ino, found.key))
        .collect();
    let mut made = farm::plant(&one.root, &open_root(layout, new.id())?, &keys, store)
        .context(|| format!("unify the layer `{}`", one.id))?;
    store::write_keys(&new.id().dir(layout), &mut made.keys)?;
    Ok((new, made))
}

/// A list with the new layers; `None` when it has none of them.
fn renewed(
    layout: &Layout,
    home: &Home,
    anew: &HashMap<LayerId, (New, Made)>,
) -> Result<Option<(Stack, Option<New>)>> {
    let unified = |id: &LayerId| anew.get(id).map(|(new, _)| Below::Unified(new.id().clone()));
    let mut below: Vec<Below> = home
        .stack
        .below
        .iter()
        .map(|below| match below {
            Below::Layer(id) => unified(id).unwrap_or_else(|| below.clone()),
            _ => below.clone(),
        })
        .collect();
    let (mut top, mut held) = (home.stack.top.clone(), None);
    if let Some(frozen) = unified(&home.stack.top) {
        let made = new_top(layout, &home.stack.top)?;
        (top, held) = (made.id().clone(), Some(made));
        below.insert(0, frozen);
    }
    let stack = Stack { top, below };
    Ok((stack != home.stack).then_some((stack, held)))
}

/// An empty layer whose root is like that of another, and which may take as much.
fn new_top(layout: &Layout, like: &LayerId) -> Result<New> {
    let bounds = Bounds::of_dir(&like.dir(layout))?;
    let new = layer::create(layout, &bounds)?;
    tree::copy_attributes(open_root(layout, like)?, open_root(layout, new.id())?)?;
    Ok(new)
}
