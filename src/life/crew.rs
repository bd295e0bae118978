//! Work on several guests at once: each in a process of its own.
//!
//! The kernel side of a start needs one thread, and a copy of this process is cheaper than a new one. A worker dies
//! with this process, so a killed command is a set of killed verbs, each of which is safe to kill.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sched::CloneFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context as _, Error, Kind, Result, report};
use crate::guest::GuestName;
use crate::sys::{clone, interrupt, pidfd};

/// The workers that are busy.
#[derive(Default)]
pub(super) struct Crew(Vec<Worker>);

/// A process that works on one guest.
struct Worker {
    guest: GuestName,
    child: clone::Child,
    report: OwnedFd,
    /// Whether the signal that asked us to end has been passed on to it.
    is_told: bool,
}

impl Crew {
    /// How many are busy.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Begins `work` on `guest`.
    pub(super) fn begin<T: Serialize>(
        &mut self,
        guest: &GuestName,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<()> {
        let (report, write) = crate::sys::file::pipe()?;
        let child = clone::spawn(CloneFlags::empty(), None, || {
            let result = clone::die_with_parent()
                .context(|| "watch the parent")
                .and_then(|()| work());
            // A reader that is gone does not need it.
            let _ = nix::unistd::write(&write, &report::to_bytes(result));
            0
        })?;
        self.0.push(Worker {
            guest: guest.clone(),
            child,
            report,
            is_told: false,
        });
        Ok(())
    }

    /// Tells the workers of the signal that asked us to end. A terminal has sent it to them too; `kill` has not.
    /// Told twice, they undo once.
    fn pass_on(&mut self, again: bool) {
        let Some(signal) = interrupt::pending() else {
            return;
        };
        for worker in self.0.iter_mut().filter(|worker| again || !worker.is_told) {
            worker.is_told = true;
            // ESRCH: it has just ended.
            let _ = pidfd::signal(&worker.child.pidfd, signal as i32);
        }
    }

    /// Waits for a worker to end: whose it was, and what it has to say.
    pub(super) fn finished<T: DeserializeOwned>(&mut self) -> Result<(GuestName, Result<T>)> {
        // Whether the signal is passed on to those that have had one, too.
        let mut again = false;
        let index = loop {
            if interrupt::check().is_err() {
                self.pass_on(again);
            }
            let mut fds: Vec<PollFd> = self
                .0
                .iter()
                .map(|w| PollFd::new(w.child.pidfd.as_fd(), PollFlags::POLLIN))
                .collect();
            match interrupt::poll(&mut fds, None) {
                Err(Errno::EINTR) => again = true,
                Err(errno) => return Err(Error::os("wait for the work on guests", errno)),
                Ok(_) => {
                    if let Some(index) = fds.iter().position(|fd| fd.any().unwrap_or(false)) {
                        break index;
                    }
                }
            }
        };
        let worker = self.0.swap_remove(index);
        let ended = pidfd::wait(&worker.child.pidfd)?;
        let mut text = Vec::new();
        std::fs::File::from(worker.report)
            .read_to_end(&mut text)
            .context(|| "read the report of the work on a guest")?;
        let result = report::from_bytes(&text).unwrap_or_else(|| {
            Err(Error::new(
                Kind::Internal,
                format!(
                    "the work on `{}` ended with {ended:?} and said nothing",
                    worker.guest
                ),
            ))
        });
        Ok((worker.guest, result))
    }
}

/// Does `work` on every guest of `names`, as many as `jobs` at once, each after those that `after` names for it. What
/// came of each is told to `done` in the order of `names`, as soon as what is before it has been told.
///
/// A failure is told like a success and keeps nobody from their turn. After a signal, and when `done` fails, nothing
/// new begins; those that are busy are waited for.
pub fn each<T: Serialize + DeserializeOwned>(
    names: &[GuestName],
    after: &BTreeMap<GuestName, Vec<GuestName>>,
    jobs: usize,
    work: impl Fn(&GuestName) -> Result<T>,
    mut done: impl FnMut(&GuestName, Result<T>) -> Result<()>,
) -> Result<()> {
    let mut crew = Crew::default();
    let mut waiting: Vec<&GuestName> = names.iter().collect();
    let mut open: BTreeSet<GuestName> = names.iter().cloned().collect();
    let mut results: BTreeMap<GuestName, Result<T>> = BTreeMap::new();
    let mut untold = names.iter().peekable();
    let mut failed: Result<()> = Ok(());
    loop {
        if failed.is_ok() {
            failed = interrupt::check();
        }
        while failed.is_ok() && crew.len() < jobs.max(1) {
            let is_free = |name: &GuestName| {
                let first = after.get(name).map_or(&[][..], Vec::as_slice);
                !first.iter().any(|first| open.contains(first))
            };
            let Some(next) = waiting.iter().position(|name| is_free(name)) else {
                break;
            };
            let name = waiting.remove(next);
            failed = crew.begin(name, || work(name));
        }
        if crew.len() == 0 {
            break;
        }
        let (name, result) = crew.finished::<T>()?;
        open.remove(&name);
        results.insert(name, result);
        while let Some(result) = untold.peek().and_then(|name| results.remove(*name)) {
            if let Some(name) = untold.next() {
                failed = failed.and(done(name, result));
            }
        }
    }
    // After a failure: what came of those behind one that never had its turn.
    for name in untold {
        if let Some(result) = results.remove(name) {
            failed = failed.and(done(name, result));
        }
    }
    failed
}
