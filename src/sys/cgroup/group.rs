//! The cgroup of one guest or context.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::signal::Signal;
use nix::unistd::fchownat;

use super::dir::Dir;
use super::host::{Controller, Host, Place};
use super::knob::{self, Knob};
use super::root::{Root, name_is_plain};
use super::{events, id, kill, stats, v1, v2};
use crate::error::{Error, Kind, Result};
use crate::guest::{Bytes, HostPid, Limits};

/// How deep, and how many, cgroups a guest may make below its own. A guest with its own cgroup namespace could
/// else eat the host's memory with empty ones; systemd with containers in it stays far below.
const BELOW: [(&str, &str); 2] = [("cgroup.max.depth", "32"), ("cgroup.max.descendants", "4096")];

/// The cgroup of one guest or context: a directory on cgroup2, and one of the same name on each v1 hierarchy that
/// a limit needs. Nothing is remembered; each call asks the kernel.
#[derive(Debug)]
pub struct Group {
    root: Root,
    name: String,
    dir: Dir,
}

/// What a live change of limits could not reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "tell the user what does not hold before a restart"]
pub struct Change {
    /// Memory is limited, but pages that the guest already had are not counted against it, because it ran
    /// without a v1 memory cgroup until now and this kernel does not move charges (gone in Linux 6.13).
    pub uncounted: bool,
}

impl Change {
    /// What to tell the user, if anything.
    pub fn warning(self) -> Option<&'static str> {
        self.uncounted.then_some(
            "memory that the guest has already does not count towards its new limit before a restart: this host's \
             cgroup v1 does not move it",
        )
    }
}

impl Group {
    /// Makes the group `name` with `limits`, before any process is in it. An empty left-over one is replaced, so
    /// that its id and its counters are new; one with processes is [`Kind::Busy`]. On failure nothing is left.
    pub fn create(root: &Root, name: &str, limits: &Limits) -> Result<Self> {
        name_is_plain(name)?;
        tracing::debug!("make the cgroup `{}`", root.dir().path().join(name).display());
        root.host().require(limits)?;
        root.enable(&Host::needed(limits))?;
        let (mut dir, is_new) = root.dir().ensure(name)?;
        if !is_new || Self::is_on_v1(root, name, limits)? {
            root.discard(name)?;
            dir = root.dir().ensure(name)?.0;
        }
        let group = Self {
            root: root.clone(),
            name: name.to_owned(),
            dir,
        };
        match group.furnish(limits) {
            Ok(()) => Ok(group),
            Err(err) => Err(match root.discard(name) {
                Ok(_) => err,
                Err(also) => err.and_also(also),
            }),
        }
    }

    fn furnish(&self, limits: &Limits) -> Result<()> {
        for (file, value) in BELOW {
            self.dir.write(file, value)?;
        }
        // The least work, and the most usual: nothing is limited.
        if *limits == Limits::default() {
            return Ok(());
        }
        let host = self.root.host();
        let devices = knob::devices(&limits.io)?;
        let fresh = knob::knobs(host, &Limits::default(), &knob::Devices::new());
        let knobs = knob::changes(knob::knobs(host, limits, &devices), &fresh);
        for index in self.hierarchies(&knobs) {
            self.ensure_v1(index)?;
        }
        self.write(knobs, &mut Vec::new())
    }

    /// Adds limits to the group that the caller is in, alone or with what it has started. Nothing is frozen, as
    /// [`set`](Self::set) does: the caller would stop with the rest.
    pub fn narrow(&self, added: &Limits) -> Result<()> {
        let host = self.root.host();
        host.require(added)?;
        self.root.enable(&Host::needed(added))?;
        let fresh = knob::knobs(host, &Limits::default(), &knob::Devices::new());
        let knobs = knob::changes(knob::knobs(host, added, &knob::devices(&added.io)?), &fresh);
        for index in self.hierarchies(&knobs) {
            self.ensure_v1(index)?;
        }
        self.write(knobs, &mut Vec::new())?;
        self.attach(HostPid(nix::unistd::getpid().as_raw()))
    }

    /// Whether a v1 hierarchy that `limits` need has one of this name. One that was left over on another is not
    /// joined by anybody and goes with the group.
    fn is_on_v1(root: &Root, name: &str, limits: &Limits) -> Result<bool> {
        for controller in Host::needed(limits) {
            if let Place::V1(index) = root.host().place(controller)
                && let Some(parent) = root.v1(index)?
                && parent.child(name)?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The group `name` if it is there.
    pub fn open(root: &Root, name: &str) -> Result<Option<Self>> {
        name_is_plain(name)?;
        Ok(root.dir().child(name)?.map(|dir| Self {
            root: root.clone(),
            name: name.to_owned(),
            dir,
        }))
    }

    /// Its directory on cgroup2, for `CLONE_INTO_CGROUP`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Its id: the key of its entry in BPF maps, never used again while the kernel runs.
    pub fn id(&self) -> Result<u64> {
        id::of(&self.dir)
    }

    /// Its name below hostel's own cgroup.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cgroup `name` below this one on cgroup2, made if it is not there; for an init that keeps its own.
    pub fn child(&self, name: &str) -> Result<OwnedFd> {
        name_is_plain(name)?;
        let (dir, _) = self.dir.ensure(name)?;
        dir.as_fd()
            .try_clone_to_owned()
            .map_err(|source| Error::io(format!("open cgroup `{}`", dir.path().display()), source))
    }

    /// The cgroup `name` below this one on cgroup2, given to the user `owner` as cgroups(7) says under "delegation":
    /// to make cgroups below it and to move processes among them, while its own limits stay the host's. `owner` may
    /// also move processes between the cgroups directly below this one, which `clone3(2)` into `name` from beside
    /// it takes; who sees no further up than `name` cannot use that.
    ///
    /// The controllers that this one has go with it, so that an init can limit its own services; from then on this
    /// one can have no process itself. `name`'s own files of them stay the host's, and this one's limits stand above
    /// them.
    pub fn delegate(&self, name: &str, owner: u32) -> Result<OwnedFd> {
        let child = self.child(name)?;
        let controllers = self.dir.read("cgroup.controllers")?;
        let all: Vec<_> = controllers
            .split_whitespace()
            .map(|name| format!("+{name}"))
            .collect();
        // None, where they are all on v1.
        if !all.is_empty() {
            self.dir.write("cgroup.subtree_control", &all.join(" "))?;
        }
        chown(self.fd(), "cgroup.procs", owner)?;
        chown(child.as_fd(), "", owner)?;
        for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            chown(child.as_fd(), file, owner)?;
        }
        Ok(child)
    }

    /// As [`attach`](Self::attach), for a group that was just made with `limits`.
    pub fn attach_limited(&self, pid: HostPid, limits: &Limits) -> Result<()> {
        // The usual case, and no directory is looked for.
        if *limits == Limits::default() {
            return Ok(());
        }
        self.attach(pid)
    }

    /// Adds `pid` to the v1 hierarchies that this group has. Do it while the process waits to be released: what it
    /// forks later is inside, what it forked before is not. On cgroup2 it is a member by birth.
    pub fn attach(&self, pid: HostPid) -> Result<()> {
        for index in 0..self.root.host().v1.len() {
            if let Some(dir) = self.v1(index)? {
                attach(&dir, pid)?;
            }
        }
        Ok(())
    }

    /// As [`attach`](Self::attach), on cgroup2 too: for a process that was born elsewhere.
    pub fn attach_all(&self, pid: HostPid) -> Result<()> {
        attach(&self.dir, pid)?;
        self.attach(pid)
    }

    /// Changes the limits of a running group from `before` to `limits`; only what differs is written, and taken
    /// back when a later write fails. A memory limit below what is used and cannot be reclaimed is
    /// [`Kind::Busy`]: nobody is killed for it.
    pub fn set(&self, limits: &Limits, before: &Limits) -> Result<Change> {
        let host = self.root.host();
        host.require(limits)?;
        self.root.enable(&Host::needed(limits))?;
        let old = knob::knobs(host, before, &knob::devices_left(&before.io));
        let knobs = knob::changes(knob::knobs(host, limits, &knob::devices(&limits.io)?), &old);
        let mut late = Vec::new();
        for index in self.hierarchies(&knobs) {
            if self.v1(index)?.is_none() {
                late.push(index);
            }
        }
        let mut journal = Vec::new();
        let result = self.change(knobs, &late, &mut journal);
        if let Err(err) = result {
            return Err(self
                .take_back(journal, &late)
                .into_iter()
                .fold(err, Error::and_also));
        }
        result
    }

    fn change(&self, knobs: Vec<Knob>, late: &[usize], journal: &mut Vec<Knob>) -> Result<Change> {
        let mut change = Change::default();
        for &index in late {
            let dir = self.ensure_v1(index)?;
            if self.root.host().v1[index]
                .controllers
                .contains(&Controller::Memory)
            {
                // 3: anonymous memory and page cache move with their process. Accepted and without effect
                // (or refused) since Linux 6.13, so it is read back.
                let moves = dir.write("memory.move_charge_at_immigrate", "3").is_ok()
                    && dir.number("memory.move_charge_at_immigrate")? == Some(3);
                change.uncounted = !moves && self.is_populated()?;
            }
        }
        self.write(knobs, journal)?;
        if !late.is_empty() {
            self.move_all(late)?;
        }
        Ok(change)
    }

    /// Writes old values back, the last first, and removes v1 directories made for nothing. What fails is returned.
    fn take_back(&self, journal: Vec<Knob>, late: &[usize]) -> Vec<Error> {
        let mut failed = Vec::new();
        for knob in journal.into_iter().rev() {
            if let Err(err) = self.home(&knob).and_then(|dir| self.put(&dir, &knob)) {
                failed.push(err.context("take back a limit"));
            }
        }
        for &index in late {
            // A process that was moved already stays, in a cgroup that is unlimited again: EBUSY is fine.
            match self
                .root
                .v1(index)
                .map(|parent| parent.map(|dir| dir.remove(&self.name)))
            {
                Ok(None | Some(Ok(_) | Err(Errno::EBUSY))) => {}
                Ok(Some(Err(errno))) => failed.push(Error::os("remove a v1 cgroup", errno)),
                Err(err) => failed.push(err),
            }
        }
        failed
    }

    /// Moves every process into the group's new v1 directories. Frozen, so that none forks away from the list.
    fn move_all(&self, into: &[usize]) -> Result<()> {
        if !self.is_populated()? {
            return Ok(());
        }
        self.while_frozen(|| {
            for &index in into {
                let Some(dir) = self.v1(index)? else { continue };
                loop {
                    let inside = list(&dir)?;
                    let outside: Vec<_> = self
                        .pids()?
                        .into_iter()
                        .filter(|pid| !inside.contains(pid))
                        .collect();
                    if outside.is_empty() {
                        break;
                    }
                    // A process may join by clone(2) from outside at any moment: until a look finds all inside.
                    for pid in outside {
                        match attach(&dir, pid) {
                            Err(err) if err.errno() == Some(Errno::ESRCH) => {}
                            other => other?,
                        }
                    }
                }
            }
            Ok(())
        })
    }

    fn while_frozen<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_frozen()? {
            return work();
        }
        self.freeze(Instant::now() + FREEZE)?;
        let result = work();
        match (result, self.write_freeze(false)) {
            (result, Ok(())) => result,
            (Ok(_), Err(err)) => Err(err),
            (Err(err), Err(also)) => Err(err.and_also(also)),
        }
    }

    /// Writes `knobs` in an order that the kernel takes; what undoes each goes into `journal` first.
    fn write(&self, mut knobs: Vec<Knob>, journal: &mut Vec<Knob>) -> Result<()> {
        if let Place::V1(index) = self.root.host().place(Controller::Memory)
            && let Some(dir) = self.v1(index)?
        {
            v1::order_memory(&mut knobs, dir.number("memory.memsw.limit_in_bytes")?);
        }
        for knob in knobs {
            // No directory: that limit is on a v1 hierarchy that this group never used, and goes to unlimited.
            let Some(dir) = self.home_if(&knob)? else { continue };
            let now = dir.read(knob.file)?;
            let undo = knob.inverse(&now);
            journal.push(undo);
            if knob.file == "memory.max" {
                self.set_memory_max(&knob.value)?;
            } else {
                self.put(&dir, &knob).map_err(|err| explain(err, &knob))?;
            }
        }
        Ok(())
    }

    fn put(&self, dir: &Dir, knob: &Knob) -> Result<()> {
        if knob.file != "cpuset.cpus" || !knob.value.is_empty() {
            return dir.write(knob.file, &knob.value);
        }
        let all = || dir.write(knob.file, &self.all_cpus()?);
        match self.root.host().place(Controller::Cpuset) {
            Place::V1(_) => all(),
            // ENOSPC: a cpuset with processes cannot be emptied again. v1 always said so, cgroup2 still does on
            // Linux 6.1; every processor that the parent has comes to the same.
            _ => match dir.write(knob.file, "") {
                Err(err) if err.errno() == Some(Errno::ENOSPC) => all(),
                other => other,
            },
        }
    }

    /// The processors that a group without a `cpuset` runs on.
    fn all_cpus(&self) -> Result<String> {
        let text = match self.root.host().place(Controller::Cpuset) {
            Place::V1(index) => match self.root.v1(index)? {
                Some(parent) => parent.read_if("cpuset.cpus")?,
                None => None,
            },
            Place::Unified => self.root.dir().read_if("cpuset.cpus.effective")?,
            Place::Absent => None,
        };
        Ok(text.unwrap_or_default().trim().to_owned())
    }

    /// Writing `memory.max` below what is used makes the kernel kill. So the guest stands still while pages are
    /// reclaimed, and the limit is only set when it then fits.
    fn set_memory_max(&self, value: &str) -> Result<()> {
        let (Some(max), Some(used)) = (value.parse::<u64>().ok(), self.dir.number("memory.current")?) else {
            return self.dir.write("memory.max", value);
        };
        if used <= max {
            return self.dir.write("memory.max", value);
        }
        self.while_frozen(|| {
            // EAGAIN says that less could be reclaimed than asked; what counts is what is used now.
            match self.dir.write("memory.reclaim", &(used - max).to_string()) {
                Err(err) if err.errno() != Some(Errno::EAGAIN) && err.kind() != Kind::Unsupported => {
                    return Err(err);
                }
                _ => {}
            }
            let left = self.dir.number("memory.current")?.unwrap_or(0);
            if left > max {
                return Err(in_use(max, left));
            }
            self.dir.write("memory.max", value)
        })
    }

    /// The limits that the kernel holds this group to: what drift is seen by. Limits that are no cgroup's (disk,
    /// nice, rlimits) are `None`.
    pub fn read_limits(&self) -> Result<Limits> {
        let mut limits = Limits::default();
        for controller in Controller::ALL {
            match self.root.host().place(controller) {
                Place::Unified => v2::read(&self.dir, controller, &mut limits)?,
                Place::V1(index) => {
                    if let Some(dir) = self.v1(index)? {
                        v1::read(&dir, controller, &mut limits)?;
                    }
                }
                Place::Absent => {}
            }
        }
        self.forget_all_cpus(&mut limits)?;
        Ok(limits)
    }

    /// A list of all processors is no limit, and what an emptied one reads as.
    fn forget_all_cpus(&self, limits: &mut Limits) -> Result<()> {
        if let Some(list) = &limits.cpuset
            && super::host::processors(list.as_str()) == super::host::processors(&self.all_cpus()?)
        {
            limits.cpuset = None;
        }
        Ok(())
    }

    /// The fields of `wanted` that the kernel does not hold this group to exactly, or that it does and `wanted`
    /// does not; sorted. Values are compared as the kernel rounds them.
    pub fn drift(&self, wanted: &Limits) -> Result<Vec<&'static str>> {
        let host = self.root.host();
        let found = self.read_limits()?;
        let mut wanted = wanted.clone();
        self.forget_all_cpus(&mut wanted)?;
        let found = knob::knobs(host, &found, &knob::devices_left(&found.io));
        let wanted = knob::knobs(host, &wanted, &knob::devices_left(&wanted.io));
        let mut fields: Vec<_> = knob::changes(wanted, &found)
            .iter()
            .map(|knob| knob.field)
            .collect();
        fields.sort_unstable();
        fields.dedup();
        Ok(fields)
    }

    /// The processes in it and below it, sorted. One that the caller's pid namespace does not see is left out.
    pub fn pids(&self) -> Result<Vec<HostPid>> {
        let mut pids = Vec::new();
        collect(&self.dir, &mut pids)?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Whether a process is in it or below it.
    pub fn is_populated(&self) -> Result<bool> {
        events::is(&self.dir, "populated")
    }

    /// Whether every process in it stands still.
    pub fn is_frozen(&self) -> Result<bool> {
        events::is(&self.dir, "frozen")
    }

    /// Stops every process where it is, and waits until they stand. When one does not before `deadline` (it waits
    /// for a disk or NFS), all run on and the error is [`Kind::Timeout`].
    pub fn freeze(&self, deadline: Instant) -> Result<()> {
        self.write_freeze(true)?;
        match events::wait(&self.dir, "frozen", true, deadline) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let err = Error::new(
                    Kind::Timeout,
                    format!(
                        "freeze cgroup `{}`: not all of its processes stand still",
                        self.dir.path().display()
                    ),
                )
                .with_hint("one of them waits inside the kernel (state D in ps); the others run again");
                Err(self.undo_freeze(err))
            }
            Err(err) => Err(self.undo_freeze(err)),
        }
    }

    fn undo_freeze(&self, err: Error) -> Error {
        match self.write_freeze(false) {
            Ok(()) => err,
            Err(also) => err.and_also(also),
        }
    }

    /// Lets every process run on, and waits until they do.
    pub fn thaw(&self, deadline: Instant) -> Result<()> {
        self.write_freeze(false)?;
        if events::wait(&self.dir, "frozen", false, deadline)? {
            return Ok(());
        }
        Err(Error::new(
            Kind::Timeout,
            format!("thaw cgroup `{}`", self.dir.path().display()),
        )
        .with_hint("a cgroup above it is frozen: cat cgroup.freeze there"))
    }

    fn write_freeze(&self, frozen: bool) -> Result<()> {
        self.dir.write("cgroup.freeze", if frozen { "1" } else { "0" })
    }

    /// SIGKILL to every process in it and below it, also to those that are being forked. It does not wait:
    /// [`wait_empty`](Self::wait_empty) does.
    pub fn kill(&self) -> Result<()> {
        match self.dir.write("cgroup.kill", "1") {
            // A threaded cgroup, or a kernel before 5.14.
            Err(err) if matches!(err.errno(), Some(Errno::EOPNOTSUPP | Errno::ENOENT)) => {
                // Not waited for: a process that does not freeze is killed as well, only less surely at once.
                self.write_freeze(true)?;
                let result = kill::each(self, Signal::SIGKILL).map(drop);
                self.write_freeze(false)?;
                result
            }
            other => other,
        }
    }

    /// `signal` to every process that is in it now; how many there were. For a context without an init to ask.
    pub fn signal(&self, signal: Signal) -> Result<usize> {
        kill::each(self, signal)
    }

    /// Waits until no process is in it. [`Kind::Timeout`] names those that are left at `deadline`.
    pub fn wait_empty(&self, deadline: Instant) -> Result<()> {
        if events::wait(&self.dir, "populated", false, deadline)? {
            return Ok(());
        }
        let left: Vec<_> = self.pids()?.iter().map(ToString::to_string).collect();
        Err(Error::new(
            Kind::Timeout,
            format!(
                "cgroup `{}` still has processes: {}",
                self.dir.path().display(),
                left.join(" ")
            ),
        ))
    }

    /// Removes it from every hierarchy, with all below it. One with processes is [`Kind::Busy`].
    pub fn remove(&self) -> Result<()> {
        tracing::debug!(
            "remove the cgroup `{}`",
            self.root.dir().path().join(&self.name).display()
        );
        self.root.discard(&self.name).map(|_| ())
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its directory on a v1 hierarchy, if it has one there.
    pub(super) fn v1(&self, index: usize) -> Result<Option<Dir>> {
        match self.root.v1(index)? {
            Some(parent) => parent.child(&self.name),
            None => Ok(None),
        }
    }

    fn ensure_v1(&self, index: usize) -> Result<Dir> {
        let parent = self.root.ensure_v1(index)?;
        let (dir, _) = parent.ensure(&self.name)?;
        if self.root.host().v1[index]
            .controllers
            .contains(&Controller::Cpuset)
        {
            v1::inherit_cpuset(parent, &dir)?;
        }
        Ok(dir)
    }

    /// The v1 hierarchies that `knobs` are on.
    fn hierarchies(&self, knobs: &[Knob]) -> Vec<usize> {
        let mut all: Vec<_> = knobs
            .iter()
            .filter_map(|knob| match self.root.host().place(knob.controller) {
                Place::V1(index) => Some(index),
                Place::Unified | Place::Absent => None,
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn home_if(&self, knob: &Knob) -> Result<Option<Dir>> {
        match self.root.host().place(knob.controller) {
            Place::Unified => self.root.dir().child(&self.name),
            Place::V1(index) => self.v1(index),
            Place::Absent => Ok(None),
        }
    }

    fn home(&self, knob: &Knob) -> Result<Dir> {
        self.home_if(knob)?
            .ok_or_else(|| Error::os(format!("open cgroup `{}`", self.name), Errno::ENOENT))
    }
}

/// How long a live change waits for the guest to stand still.
const FREEZE: std::time::Duration = std::time::Duration::from_secs(5);

fn attach(dir: &Dir, pid: HostPid) -> Result<()> {
    dir.write("cgroup.procs", &pid.to_string())
}

/// Gives a file of a cgroup, or with an empty name the directory, to `owner`.
fn chown(dir: BorrowedFd<'_>, file: &str, owner: u32) -> Result<()> {
    let flags = AtFlags::AT_EMPTY_PATH | AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(dir, file, Some(owner.into()), Some(owner.into()), flags).map_err(|errno| {
        let what = if file.is_empty() { "a cgroup" } else { file };
        Error::os(format!("give `{what}` to the user {owner}"), errno)
    })
}

fn list(dir: &Dir) -> Result<Vec<HostPid>> {
    let text = dir.read_if("cgroup.procs")?.unwrap_or_default();
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid != 0)
        .map(HostPid)
        .collect())
}

fn collect(dir: &Dir, pids: &mut Vec<HostPid>) -> Result<()> {
    match list(dir) {
        Ok(found) => pids.extend(found),
        // A threaded child: its processes are in the list of the cgroup above it.
        Err(err) if err.errno() == Some(Errno::EOPNOTSUPP) => {}
        Err(err) => return Err(err),
    }
    for child in stats::children(dir)? {
        collect(&child, pids)?;
    }
    Ok(())
}

/// EBUSY of a memory limit is the kernel's word for "in use".
fn explain(err: Error, knob: &Knob) -> Error {
    match (knob.controller, err.errno()) {
        (Controller::Memory, Some(Errno::EBUSY)) => err.with_kind(Kind::Busy).with_hint(
            "the guest uses more than that, and the kernel cannot take it back; stop something in it first",
        ),
        (Controller::Io, Some(Errno::ENODEV)) => {
            err.with_hint("the kernel bounds whole disks that have a request queue")
        }
        _ => err,
    }
}

fn in_use(max: u64, used: u64) -> Error {
    Error::new(
        Kind::Busy,
        format!(
            "limit memory to {}: {} are in use and cannot be taken back",
            Bytes(max),
            Bytes(used)
        ),
    )
    .with_hint("stop something in the guest first, or give it swap")
}
