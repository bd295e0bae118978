//! Trees on file systems whose files can share extents: the kernel compares two files and makes them share.
//!
//! It is safe whatever a guest does meanwhile: nothing that a guest can see changes, and what it writes goes to extents
//! of its own as always.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, XFS_SUPER_MAGIC, statfs};

use super::key::Key;
use super::known::Known;
use super::rest::{Mark, Rest};
use super::scan::{Found, Scan};
use super::{Outcome, Run, Told};
use crate::error::{Context as _, Kind, Result};
use crate::guest::{GuestName, Storage};
use crate::storage::files::{self, Access, Files};
use crate::storage::{Inside, Layout, driver};
use crate::sys;
use crate::sys::file::Shared;

/// The size from which a file has extents of its own. Smaller ones lie with their inode, and there is nothing to share.
fn least(layout: &Layout) -> Result<i64> {
    let guests = layout.guests();
    let found = statfs(&guests).context(|| format!("examine the file system of `{}`", guests.display()))?;
    Ok(match found.filesystem_type() {
        // Every file that has content has a block of its own.
        XFS_SUPER_MAGIC => 1,
        // `max_inline` of btrfs(5). More than its usual value can be asked for, and is then refused file by file.
        BTRFS_SUPER_MAGIC => 2049,
        _ => 4096,
    })
}

/// The most that btrfs shares in one call.
const STEP: u64 = 16 << 20;

/// Why those cannot take part, if they cannot.
pub(super) fn refusal(layout: &Layout, trees: &[(GuestName, Storage)]) -> Result<Option<String>> {
    if trees.is_empty() {
        return Ok(None);
    }
    match driver::of(Storage::Reflink).check(layout) {
        Ok(()) => Ok(None),
        Err(err) if err.kind() == Kind::Unsupported => Ok(Some(format!(
            "{err}; `hostel convert GUEST --to overlay` makes it layers, which can"
        ))),
        Err(err) => Err(err),
    }
}

/// A guest's tree and what it has.
struct Tree {
    at: usize,
    inside: Inside,
    found: Vec<Found>,
    /// Of before it was looked at.
    mark: Option<Mark>,
}

/// One file of a tree.
#[derive(Clone, Copy)]
struct Member<'a> {
    tree: &'a Tree,
    found: &'a Found,
}

/// `all` are the guests that there are, if the run is over all of them: what it has compared with each other need not be
/// compared again.
pub(super) fn unify(
    run: &Run<'_>,
    trees: &[(GuestName, Storage)],
    all: Option<&[GuestName]>,
) -> Result<Vec<Told>> {
    let mut told: Vec<Told> = trees
        .iter()
        .map(|(name, storage)| Told::new(name, *storage, Outcome::Unchanged))
        .collect();
    if let Some(why) = refusal(run.layout, trees)? {
        return Ok(trees
            .iter()
            .map(|(name, storage)| Told::left(name, *storage, why.clone()))
            .collect());
    }
    let scan = run.scan(least(run.layout)?);
    let rules = format!("{} {}", scan.least, run.options.paths.text());
    let mut rest = if run.options.is_full {
        Rest::default()
    } else {
        Rest::read(run.layout)
    };
    let numbered = trees.iter().map(|(name, _)| name).enumerate();
    let (idle, awake): (Vec<_>, Vec<_>) = numbered.partition(|(_, name)| rest.has(run.layout, name, &rules));
    let mut found = look(run, &scan, &rules, &awake)?;
    if !idle.is_empty() && may_be_elsewhere(run.known, &found) {
        found.extend(look(run, &scan, &rules, &idle)?);
    } else {
        run.done.idle.store(idle.len() as u64, Ordering::Relaxed);
    }
    for (at, bytes) in share_all(run, &found)? {
        if let Some(told) = told.get_mut(at) {
            told.add(1, bytes);
        }
    }
    if let Some(all) = all
        && !run.options.is_dry
        && !found.is_empty()
    {
        rest.keep(all);
        for tree in found {
            if let Some(mark) = tree.mark {
                rest.note(run.layout, &trees[tree.at].0, mark, &tree.found)?;
            }
        }
        rest.write(run.layout)?;
    }
    Ok(told)
}

fn look(run: &Run<'_>, scan: &Scan<'_>, rules: &str, trees: &[(usize, &GuestName)]) -> Result<Vec<Tree>> {
    let found = run.each("reading trees", trees, |(at, name)| {
        let mark = Mark::of(run.layout, name, rules);
        // Destroyed meanwhile, or kept in another way.
        let files = files::read(run.layout, name)?;
        if files.stack().is_some() || !run.layout.guest_dir(name).join("rootfs").is_dir() {
            return Ok(None);
        }
        let inside = open(run.layout, name, &files)?;
        let found = scan.tree(inside.root())?;
        Ok(Some(Tree {
            at: *at,
            inside,
            found,
            mark,
        }))
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Whether one of those files that share nothing yet may be equal to one of another tree.
fn may_be_elsewhere(known: &Known, found: &[Tree]) -> bool {
    let all = || found.iter().flat_map(|tree| &tree.found);
    let fresh = all()
        .filter(|file| !file.is_shared)
        .map(|file| file.key)
        .collect();
    let seen = all().map(|file| (file.stat.st_dev, file.stat.st_ino)).collect();
    known.has_elsewhere(&fresh, &seen)
}

/// Makes equal files share; of each that did the number of its tree, and what it occupied.
fn share_all(run: &Run<'_>, found: &[Tree]) -> Result<Vec<(usize, u64)>> {
    let mut groups: BTreeMap<Key, Vec<Member<'_>>> = BTreeMap::new();
    let mut inodes = HashSet::new();
    let all = || {
        found
            .iter()
            .flat_map(|tree| tree.found.iter().map(move |file| (tree, file)))
    };
    // Where nothing has changed there are none, and hundreds of thousands of files need not be sorted.
    let fresh: HashSet<Key> = all()
        .filter(|(_, file)| !file.is_shared)
        .map(|(_, file)| file.key)
        .collect();
    for (tree, file) in all() {
        if fresh.contains(&file.key) && inodes.insert((file.stat.st_dev, file.stat.st_ino)) {
            groups
                .entry(file.key)
                .or_default()
                .push(Member { tree, found: file });
        }
    }
    let groups: Vec<Vec<Member<'_>>> = groups
        .into_values()
        .filter(|group| group.len() > 1)
        .map(|mut group| {
            // Others share with the first already.
            group.sort_by_key(|member| !member.found.is_shared);
            group
        })
        .collect();
    let (known, is_dry) = (run.known, run.options.is_dry);
    let shared = run.each("sharing what is equal", &groups, |group| {
        share(known, is_dry, group)
    })?;
    Ok(shared.into_iter().flatten().collect())
}

pub(super) fn open(layout: &Layout, name: &GuestName, files: &Files) -> Result<Inside> {
    files::open_as(layout, name, files, Access::Read)
}

/// Makes all of a group share with the first. Each that did, by the number of its tree, and what it occupied.
fn share(known: &Known, is_dry: bool, group: &[Member<'_>]) -> Result<Vec<(usize, u64)>> {
    let mut shared = Vec::new();
    sys::interrupt::check()?;
    let Some((first, others)) = group.split_first() else {
        return Ok(shared);
    };
    let Some((leader, leads)) = member(first) else {
        return Ok(shared);
    };
    let place = sys::file::extents(&leader).ok().flatten();
    for other in others.iter().filter(|other| !other.found.is_shared) {
        let Some((file, stat)) = member(other) else {
            continue;
        };
        let is_shared = place.is_some() && sys::file::extents(&file).ok().flatten() == place;
        if !is_shared {
            if is_dry {
                shared.push((other.tree.at, other.found.occupied()));
                continue;
            }
            if !whole(&leader, &file, stat.st_size.cast_unsigned()) {
                continue;
            }
            shared.push((other.tree.at, other.found.occupied()));
        }
        if !is_dry {
            known.note(&stat, other.found.key, true);
        }
    }
    if !is_dry {
        known.note(&leads, first.found.key, true);
    }
    Ok(shared)
}

/// Shares the whole of two files; `false` when they differ, or have changed so much that one ends before.
fn whole(from: &OwnedFd, to: &OwnedFd, size: u64) -> bool {
    let mut at = 0;
    while at < size {
        match sys::file::share_if_equal(from, to, at, (size - at).min(STEP)) {
            Ok(Shared::Bytes(done)) if done > 0 => at += done,
            _ => return false,
        }
    }
    true
}

/// Opens a file that was found, if it is still there and as it was.
fn member(member: &Member<'_>) -> Option<(OwnedFd, FileStat)> {
    opened(&member.tree.inside, member.found).ok().flatten()
}

pub(super) fn opened(inside: &Inside, found: &Found) -> Result<Option<(OwnedFd, FileStat)>, Errno> {
    // Looked at before it is opened for good: something else may be in its place by now.
    let seen = sys::open::beneath(inside.root(), &found.path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let stat = fstat(&seen)?;
    let is_it = (stat.st_dev, stat.st_ino, stat.st_size)
        == (found.stat.st_dev, found.stat.st_ino, found.stat.st_size)
        && SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
    if !is_it {
        return Ok(None);
    }
    Ok(Some((sys::open::reopen(seen.as_fd())?, stat)))
}
