//! Trees on file systems whose files can share extents: the kernel compares two files and makes them share.
//!
//! It is safe whatever a guest does meanwhile: nothing that a guest can see changes, and what it writes goes to extents
//! of its own as always.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, statfs};

use super::key::{self, Key};
use super::known::Known;
use super::rest::{Before, Rest};
use super::scan::{Found, Guesses, Scan};
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
        // `max_inline` of btrfs(5). More than its usual value can be asked for, and is then refused file by file.
        BTRFS_SUPER_MAGIC => 2049,
        // Every file that has content has a block of its own.
        _ => 1,
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
    before: Option<Before>,
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
    let asked = i64::try_from(run.options.min_size.0).unwrap_or(i64::MAX);
    let scan = Scan {
        // What is only told must be read.
        guesses: (!run.options.is_dry).then(Guesses::default),
        ..run.scan(least(run.layout)?.max(asked))
    };
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
    for (at, bytes) in share_all(run, &scan, &found)? {
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
            if let Some(before) = tree.before {
                rest.note(run.layout, &trees[tree.at].0, before, &tree.found)?;
            }
        }
        rest.write(run.layout)?;
    }
    Ok(told)
}

fn look(run: &Run<'_>, scan: &Scan<'_>, rules: &str, trees: &[(usize, &GuestName)]) -> Result<Vec<Tree>> {
    let found = run.each("reading trees", trees, |(at, name)| {
        let before = Before::of(run.layout, name, rules);
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
            before,
        }))
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Whether one of those files that share nothing yet may be equal to one of another tree.
fn may_be_elsewhere(known: &Known, found: &[Tree]) -> bool {
    let all = || found.iter().flat_map(|tree| &tree.found);
    let fresh: HashSet<Key> = all()
        .filter(|file| !file.is_shared)
        .map(|file| file.key)
        .collect();
    if fresh.is_empty() {
        return false;
    }
    let seen = all().map(|file| (file.stat.st_dev, file.stat.st_ino)).collect();
    known.has_elsewhere(&fresh, &seen)
}

/// Makes equal files share; of each that did the number of its tree, and what it occupied.
fn share_all(run: &Run<'_>, scan: &Scan<'_>, found: &[Tree]) -> Result<Vec<(usize, u64)>> {
    let all = || {
        found
            .iter()
            .flat_map(|tree| tree.found.iter().map(move |found| Member { tree, found }))
    };
    // Where nothing has changed there are none, and hundreds of thousands of files need not be sorted.
    let fresh = all().filter(|member| !member.found.is_shared);
    let fresh: HashSet<Key> = fresh.map(|member| member.found.key).collect();
    let (mut shared, wrong) = share_groups(run, &fresh, all())?;
    // Those that were not what files like them are.
    let read = run.each("reading what differs", &wrong, |member| {
        let Some((file, stat)) = self::member(member) else {
            return Ok(None);
        };
        let key = scan.key(&mut File::from(file), &stat).ok().flatten();
        Ok(key.map(|key| Found {
            path: member.found.path.clone(),
            stat,
            key,
            is_shared: false,
            is_guess: false,
        }))
    })?;
    let late: Vec<(&Tree, Found)> = wrong
        .iter()
        .zip(read)
        .filter_map(|(member, found)| Some((member.tree, found?)))
        .collect();
    let keys: HashSet<Key> = late.iter().map(|(_, found)| found.key).collect();
    // Behind those that share with each other by now.
    let read = all().filter(|member| !member.found.is_guess);
    let members = read.chain(late.iter().map(|(tree, found)| Member { tree, found }));
    shared.extend(share_groups(run, &keys, members)?.0);
    Ok(shared)
}

type Shares = Vec<(usize, u64)>;

/// Makes those of `members` share whose keys are among `keys`. What was shared, and whose key was guessed wrong.
fn share_groups<'a>(
    run: &Run<'_>,
    keys: &HashSet<Key>,
    members: impl Iterator<Item = Member<'a>>,
) -> Result<(Shares, Vec<Member<'a>>)> {
    let mut groups: BTreeMap<Key, Vec<Member<'a>>> = BTreeMap::new();
    let mut inodes = HashSet::new();
    for member in members {
        let stat = &member.found.stat;
        if keys.contains(&member.found.key) && inodes.insert((stat.st_dev, stat.st_ino)) {
            groups.entry(member.found.key).or_default().push(member);
        }
    }
    let groups: Vec<Vec<Member<'a>>> = groups
        .into_values()
        .filter(|group| group.len() > 1)
        .map(|mut group| {
            // Others share with the first already, and what was not read is no measure.
            group.sort_by_key(|member| (member.found.is_guess, !member.found.is_shared));
            group
        })
        .collect();
    let (known, is_dry) = (run.known, run.options.is_dry);
    let done = run.each("sharing what is equal", &groups, |group| {
        share(known, is_dry, group)
    })?;
    let (mut shared, mut wrong) = (Vec::new(), Vec::new());
    for (shares, others) in done {
        shared.extend(shares);
        wrong.extend(others);
    }
    Ok((shared, wrong))
}

pub(super) fn open(layout: &Layout, name: &GuestName, files: &Files) -> Result<Inside> {
    files::open_as(layout, name, files, Access::Read)
}

/// Makes all of a group share with the first. Each that did, by the number of its tree, and what it occupied; and those
/// whose key was guessed and is not this one.
fn share<'a>(known: &Known, is_dry: bool, group: &[Member<'a>]) -> Result<(Shares, Vec<Member<'a>>)> {
    let (mut shared, mut wrong) = (Vec::new(), Vec::new());
    sys::interrupt::check()?;
    let guesses = || group.iter().filter(|member| member.found.is_guess).copied();
    let Some((first, others)) = group.split_first() else {
        return Ok((shared, wrong));
    };
    // Gone meanwhile; those behind it are looked at by themselves.
    let Some((leader, leads)) = (!first.found.is_guess).then(|| member(first)).flatten() else {
        return Ok((shared, guesses().collect()));
    };
    let place = sys::file::extents(&leader).ok().flatten();
    let mut attributes = None;
    for other in others.iter().filter(|other| !other.found.is_shared) {
        let Some((file, stat)) = member(other) else {
            continue;
        };
        if other.found.is_guess {
            let of = |file: &OwnedFd| key::attributes(file.as_fd()).ok().flatten();
            let leaders = attributes.get_or_insert_with(|| of(&leader));
            let is_like =
                (leads.st_mode, leads.st_uid, leads.st_gid) == (stat.st_mode, stat.st_uid, stat.st_gid);
            if !is_like || leaders.is_none() || of(&file) != *leaders {
                wrong.push(*other);
                continue;
            }
        }
        let is_shared = place.is_some() && sys::file::extents(&file).ok().flatten() == place;
        if !is_shared {
            if is_dry {
                shared.push((other.tree.at, other.found.occupied()));
                continue;
            }
            if !whole(&leader, &file, stat.st_size.cast_unsigned()) {
                if other.found.is_guess {
                    wrong.push(*other);
                }
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
    Ok((shared, wrong))
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
