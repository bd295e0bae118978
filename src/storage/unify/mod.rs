//! Unification: equal files of several guests have their content once. No guest sees anything of it.
//!
//! Where guests are layers (`overlay`), equal content is in a store below them, once on the disk and once in memory; this
//! is done to guests that do not run, for what is mounted must not change. Where files share extents (`btrfs`,
//! `reflink`, or `dir` on such a file system) the kernel is asked to share those of equal files (`ioctl_fideduperange(2)`):
//! once on the disk, also of guests that run. Nothing is shared whose bytes were not compared.

mod crew;
mod extents;
mod farm;
mod key;
mod known;
mod layers;
mod paths;
mod rest;
mod scan;
mod store;
mod undo;

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

pub use paths::{EXCLUDED, Paths};
pub use store::sweep;
pub use undo::undo;

use super::files::{self, Files};
use super::lock::{self, GuestLock, Wait};
use super::still::Source;
use super::{Layout, Progress, state};
use crate::error::{Kind, Result};
use crate::guest::{Bytes, GuestName, Storage};
use known::Known;
use scan::Done;

/// Below a block there is a block to gain, by as much work of the kernel as for a large file.
pub const MIN_SIZE: Bytes = Bytes(4096);

/// How it is done.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which files take part.
    pub paths: Paths,
    /// Whether it is only found out what would be saved.
    pub is_dry: bool,
    /// Whether also those are looked at that have not run since the last run over all guests.
    pub is_full: bool,
    /// Where extents are shared, smaller files are left alone.
    pub min_size: Bytes,
    /// How many threads work.
    pub threads: usize,
}

/// What became of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It shares more than before.
    Unified,
    /// There was nothing more to share.
    Unchanged,
    /// It took no part.
    Left,
    /// It shares nothing any more by unification.
    Undone,
}

/// One guest of a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Its name.
    pub guest: GuestName,
    /// How its files are kept.
    pub storage: Storage,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Files whose content another has too, since this run.
    pub files: u64,
    /// What those occupied, in bytes.
    pub saved: u64,
}

impl Told {
    fn left(guest: &GuestName, storage: Storage, why: impl Into<String>) -> Self {
        Self {
            why: Some(why.into()),
            ..Self::new(guest, storage, Outcome::Left)
        }
    }

    fn new(guest: &GuestName, storage: Storage, outcome: Outcome) -> Self {
        Self {
            guest: guest.clone(),
            storage,
            outcome,
            why: None,
            files: 0,
            saved: 0,
        }
    }

    fn shares(&mut self) {
        self.outcome = Outcome::Unified;
    }

    fn add(&mut self, files: u64, saved: u64) {
        self.files += files;
        self.saved += saved;
        if files > 0 {
            self.shares();
        }
    }
}

/// What a run has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each guest.
    pub guests: Vec<Told>,
    /// Files whose content another has too, since this run.
    pub files: u64,
    /// What is saved, in bytes.
    pub saved: u64,
    /// Files that were looked at.
    pub looked_at: u64,
    /// Bytes that were read of them: those that had changed since the last run.
    pub read: u64,
    /// Guests whose files were not looked at, because they have not run since the last run over all guests.
    pub idle: u64,
    /// Whether nothing was done.
    pub dry_run: bool,
}

impl Report {
    fn of(mut guests: Vec<Told>, done: &Done, dry_run: bool) -> Self {
        guests.sort_by(|a, b| a.guest.cmp(&b.guest));
        let load = |number: &std::sync::atomic::AtomicU64| number.load(std::sync::atomic::Ordering::Relaxed);
        Self {
            files: guests.iter().map(|told| told.files).sum(),
            saved: guests.iter().map(|told| told.saved).sum(),
            looked_at: load(&done.files),
            read: load(&done.read),
            idle: load(&done.idle),
            dry_run,
            guests,
        }
    }
}

/// A guest of layers that does not run, and will not until this value is dropped.
struct Stopped {
    name: GuestName,
    _lock: GuestLock,
}

/// Those that take part, by how their files are kept.
#[derive(Default)]
struct Sorted {
    stopped: Vec<Stopped>,
    trees: Vec<(GuestName, Storage)>,
    told: Vec<Told>,
}

fn sort(layout: &Layout, guests: &[GuestName]) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    for name in guests {
        let storage = files::read(layout, name)?.storage();
        if storage != Storage::Overlay {
            sorted.trees.push((name.clone(), storage));
            continue;
        }
        let lock = match lock::acquire(layout, name, Wait::No) {
            Err(err) if err.kind() == Kind::Busy => {
                sorted.told.push(Told::left(name, storage, err.to_string()));
                continue;
            }
            other => other?,
        };
        if Source::look(layout, name)?.is_running() {
            let why = "it runs, and layers that are mounted must not change";
            sorted.told.push(Told::left(name, storage, why));
            continue;
        }
        // Converted, or destroyed, in between.
        if matches!(files::read(layout, name)?, Files::Overlay(_)) {
            sorted.stopped.push(Stopped {
                name: name.clone(),
                _lock: lock,
            });
        }
    }
    Ok(sorted)
}

/// How often what was read is written down: a run that is killed is not begun anew.
const REMEMBER: Duration = Duration::from_secs(2);

/// Shares what is equal among `guests`.
pub fn unify(
    layout: &Layout,
    guests: &[GuestName],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    let known = Known::read(&layout.known());
    let done = Done::default();
    let run = Run {
        layout,
        options,
        known: &known,
        done: &done,
        progress,
    };
    let sorted = sort(layout, guests)?;
    let mut told = sorted.told;
    let all = state::list(layout)?;
    let named: HashSet<&GuestName> = guests.iter().collect();
    let all = all.iter().all(|name| named.contains(name)).then_some(&all[..]);
    let shared = layers::unify(&run, &sorted.stopped).and_then(|more| {
        told.extend(more);
        told.extend(extents::unify(&run, &sorted.trees, all)?);
        Ok(())
    });
    // Also of a run that failed: what it has read it has read.
    known.write(&layout.known())?;
    if shared.is_err() && !options.is_dry {
        // What no layer came to have; whatever stays is taken away by `gc`.
        let _ = store::sweep(layout);
    }
    shared?;
    Ok(Report::of(told, &done, options.is_dry))
}

/// One run.
struct Run<'a> {
    layout: &'a Layout,
    options: &'a Options,
    known: &'a Known,
    done: &'a Done,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    /// Does something with each item, several at once, and tells of it.
    fn each<T: Sync, R: Send>(
        &self,
        what: &str,
        items: &[T],
        work: impl Fn(&T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        self.progress.stage(what);
        let mut remembered = std::time::Instant::now();
        crew::each(self.options.threads, items, work, || {
            let read = self.done.read.load(std::sync::atomic::Ordering::Relaxed);
            self.progress.bytes(read, None);
            if remembered.elapsed() >= REMEMBER {
                remembered = std::time::Instant::now();
                return self.known.write(&self.layout.known());
            }
            Ok(())
        })
    }

    fn scan(&self, least: i64) -> scan::Scan<'_> {
        scan::Scan {
            paths: &self.options.paths,
            known: self.known,
            done: self.done,
            least,
            guesses: None,
        }
    }
}
