//! Looking for files that may be shared in one tree, which its own processes may change at the same time.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::key::{self, Key};
use super::known::Known;
use super::paths::{Paths, conffiles};
use crate::error::Result;
use crate::storage::tree::{self, DEPTH, as_path, type_of};
use crate::sys;

/// A file that takes part.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is in its tree.
    pub(super) path: PathBuf,
    /// What it was when it was read.
    pub(super) stat: FileStat,
    /// What it is equal to.
    pub(super) key: Key,
    /// Whether it was shared before.
    pub(super) is_shared: bool,
    /// Whether it was not read, and has the key of a file like it.
    pub(super) is_guess: bool,
}

/// The keys of files by what is seen of them without reading: path, size, mode and owner. Ten guests of one distribution
/// have most files in common, and whoever is about to share two compares their bytes anyway.
#[derive(Default)]
pub(super) struct Guesses {
    keys: Mutex<HashMap<u64, Key>>,
    /// Another order of the same is a right answer too, so this may be a hash that two of them have.
    state: RandomState,
}

impl Guesses {
    fn place(&self, path: &Path, stat: &FileStat) -> u64 {
        self.state
            .hash_one((path, stat.st_size, stat.st_mode, stat.st_uid, stat.st_gid))
    }

    fn of(&self, place: u64) -> Option<Key> {
        self.keys.lock().ok()?.get(&place).copied()
    }

    fn note(&self, place: u64, key: Key) {
        if let Ok(mut keys) = self.keys.lock() {
            keys.entry(place).or_insert(key);
        }
    }
}

impl Found {
    /// What it occupies.
    pub(super) fn occupied(&self) -> u64 {
        u64::try_from(self.stat.st_blocks).unwrap_or(0) * 512
    }
}

/// How much was done, told while it is.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Files looked at.
    pub(super) files: AtomicU64,
    /// Bytes read.
    pub(super) read: AtomicU64,
    /// Trees that were not looked at, for nothing can have changed in them.
    pub(super) idle: AtomicU64,
}

/// How trees are looked through.
pub(super) struct Scan<'a> {
    pub(super) paths: &'a Paths,
    pub(super) known: &'a Known,
    pub(super) done: &'a Done,
    /// Smaller files are left alone.
    pub(super) least: i64,
    /// Where whoever shares compares: files like one that was read are not read.
    pub(super) guesses: Option<Guesses>,
}

impl Scan<'_> {
    /// Reads an open file of that state.
    pub(super) fn key(&self, file: &mut File, stat: &FileStat) -> Result<Option<Key>, Errno> {
        let told = |bytes| {
            self.done.read.fetch_add(bytes, Ordering::Relaxed);
        };
        let key = key::read(file, stat, told)?;
        if let Some(key) = key {
            self.known.note(stat, key, false);
        }
        Ok(key)
    }

    /// All files of a tree that take part.
    pub(super) fn tree(&self, root: BorrowedFd<'_>) -> Result<Vec<Found>> {
        let mut run = Run {
            scan: self,
            conffiles: conffiles(root),
            found: Vec::new(),
        };
        if let Ok(top) = sys::open::child_dir(root, Path::new(".")) {
            run.dir(&top, Path::new(""), 0)?;
        }
        Ok(run.found)
    }
}

/// A directory, and what holds for all files in it.
struct Here<'a> {
    dir: &'a OwnedFd,
    path: &'a Path,
    /// As [`Paths::has_all_of`].
    takes_part: Option<bool>,
    has_conffiles: bool,
}

struct Run<'a> {
    scan: &'a Scan<'a>,
    conffiles: BTreeSet<PathBuf>,
    found: Vec<Found>,
}

impl Run<'_> {
    fn dir(&mut self, dir: &OwnedFd, path: &Path, depth: usize) -> Result<()> {
        sys::interrupt::check()?;
        // Gone meanwhile: a tree that changes has what it has.
        let Ok(names) = tree::names(dir) else {
            return Ok(());
        };
        let here = Here {
            dir,
            path,
            takes_part: self.scan.paths.has_all_of(path),
            has_conffiles: self
                .conffiles
                .range::<Path, _>((Bound::Excluded(path), Bound::Unbounded))
                .next()
                .is_some_and(|first| first.starts_with(path)),
        };
        for name in names {
            let name = as_path(&name);
            let Ok(stat) = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) else {
                continue;
            };
            match type_of(&stat) {
                SFlag::S_IFDIR => {
                    let path = path.join(name);
                    // Deeper than any package goes.
                    if depth < DEPTH
                        && self.scan.paths.may_have(&path)
                        && let Ok(child) = sys::open::child_dir(dir, name)
                    {
                        self.dir(&child, &path, depth + 1)?;
                    }
                }
                SFlag::S_IFREG if stat.st_size >= self.scan.least && is_dense(&stat) => {
                    self.file(&here, name, &stat);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, here: &Here<'_>, name: &Path, stat: &FileStat) {
        if here.takes_part == Some(false) {
            return;
        }
        let path = here.path.join(name);
        let is_wanted = here.takes_part.unwrap_or_else(|| self.scan.paths.has(&path))
            && !(here.has_conffiles && self.conffiles.contains(&path));
        if !is_wanted {
            return;
        }
        self.scan.done.files.fetch_add(1, Ordering::Relaxed);
        let found = |stat: &FileStat, key, is_shared, is_guess| Found {
            path: path.clone(),
            stat: *stat,
            key,
            is_shared,
            is_guess,
        };
        if let Some((key, is_shared)) = self.scan.known.find(stat) {
            self.found.push(found(stat, key, is_shared, false));
            return;
        }
        let guesses = self.scan.guesses.as_ref();
        let guess = guesses.map(|guesses| (guesses, guesses.place(&path, stat)));
        if let Some(key) = guess.and_then(|(guesses, place)| guesses.of(place)) {
            self.found.push(found(stat, key, false, true));
            return;
        }
        // What cannot be read takes no part.
        if let Ok(Some((stat, key))) = self.read(here.dir, name, stat) {
            if let Some((guesses, place)) = guess {
                guesses.note(place, key);
            }
            self.found.push(found(&stat, key, false, false));
        }
    }

    fn read(&self, dir: &OwnedFd, name: &Path, stat: &FileStat) -> Result<Option<(FileStat, Key)>, Errno> {
        let Some((mut file, stat)) = open(dir.as_fd(), name, stat)? else {
            return Ok(None);
        };
        let key = self.scan.key(&mut file, &stat)?;
        Ok(key.map(|key| (stat, key)))
    }
}

/// Opens a file that was seen, for reading; `None` when something else is in its place.
pub(super) fn open(
    dir: BorrowedFd<'_>,
    name: &Path,
    seen: &FileStat,
) -> Result<Option<(File, FileStat)>, Errno> {
    // A FIFO may have taken its place since: NONBLOCK, and what was opened is compared with what was seen.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    let is_seen =
        (stat.st_dev, stat.st_ino) == (seen.st_dev, seen.st_ino) && type_of(&stat) == SFlag::S_IFREG;
    Ok(is_seen.then(|| (File::from(file), stat)))
}

/// Whether it has no holes. One with holes can be a terabyte long and take an hour to read, for nothing; one without
/// any block of its own is a mark of a layer, or so small that it lies in its inode.
fn is_dense(stat: &FileStat) -> bool {
    stat.st_blocks > 0 && stat.st_blocks.saturating_mul(512) >= stat.st_size
}
