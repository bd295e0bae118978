//! What the host mounts and its kernel can enforce, found once and then asked as plain data.

mod described;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::limits::IoMax;
use crate::guest::{Limits, RlimitKind};

pub use described::Description;

/// A cgroup controller that hostel uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Which processors.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// Number of tasks.
    Pids,
    /// Block devices; `blkio` on v1.
    Io,
}

impl Controller {
    /// Every one, in the order in which limits are written.
    pub const ALL: [Controller; 5] = [
        Controller::Cpuset,
        Controller::Cpu,
        Controller::Memory,
        Controller::Pids,
        Controller::Io,
    ];

    /// Its name on cgroup2.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Io => "io",
        }
    }

    /// By its name on cgroup2 or v1.
    fn named(name: &str) -> Option<Self> {
        let name = if name == "blkio" { "io" } else { name };
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which versions of control groups the host mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// cgroup2 alone: every systemd distribution of the 2020s.
    V2,
    /// v1 hierarchies for controllers and a cgroup2 mount beside them.
    Hybrid,
    /// v1 alone: hostel cannot run guests there.
    V1,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Layout::V2 => "cgroup v2",
            Layout::Hybrid => "cgroup hybrid",
            Layout::V1 => "cgroup v1",
        })
    }
}

/// What divides the disks by weight on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoWeight {
    /// The cost model of cgroup2, switched on for a device in `io.cost.qos`.
    Iocost,
    /// The BFQ scheduler, chosen for a device.
    Bfq,
}

/// The cgroup2 mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unified {
    /// Where it is mounted.
    pub path: PathBuf,
    /// How many cgroups the mounted one lies below the root of the hierarchy: 0 on a host.
    pub depth: u32,
    /// The controllers that it has.
    pub controllers: Vec<Controller>,
}

/// A mounted v1 hierarchy with controllers that hostel uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Its controllers, `cpu` and `cpuacct` are often mounted together.
    pub controllers: Vec<Controller>,
}

/// Where a controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Unified,
    /// The index of its hierarchy in [`Host::v1`].
    V1(usize),
    Absent,
}

/// A limit that cannot be enforced, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The field of [`Limits`], as the recipe writes it.
    pub field: &'static str,
    /// What is missing, and what would help.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.reason)
    }
}

/// What the host mounts and what its kernel can enforce.
///
/// What is mounted is read at once; each other fact when a limit asks for it the first time, as a start that
/// limits nothing should not pay for them. Tests make the facts up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The cgroup2 mount.
    pub unified: Option<Unified>,
    /// The v1 hierarchies that matter here.
    pub v1: Vec<Hierarchy>,
    facts: Facts,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Facts {
    /// Per controller that the kernel was built with, whether it was left enabled at boot.
    built: OnceLock<BTreeMap<Controller, bool>>,
    /// Whether swap is accounted per cgroup.
    swap: OnceLock<bool>,
    /// Whether processor time can be bounded (`CONFIG_CFS_BANDWIDTH`).
    bandwidth: OnceLock<bool>,
    io_weight: OnceLock<Option<IoWeight>>,
    /// The processors that are online, sorted; empty when that is not known.
    online: OnceLock<Vec<u16>>,
    /// The hard resource limits of this process; `None` is unlimited.
    hard: OnceLock<BTreeMap<RlimitKind, Option<u64>>>,
    /// Whether this process may raise them.
    may_raise: OnceLock<bool>,
}

/// Any text as `/proc/self/mountinfo`.
pub(crate) fn parse_any(text: &str) {
    let _ = Host::from_mountinfo(text);
}

impl Host {
    /// Reads what is mounted from `/proc/self/mountinfo`.
    pub fn detect() -> Result<Self> {
        let path = "/proc/self/mountinfo";
        let text = crate::sys::proc::whole(path).context(|| format!("read `{path}`"))?;
        let mut host = Self::from_mountinfo(&String::from_utf8_lossy(&text));
        if let Some(unified) = &mut host.unified {
            let file = unified.path.join("cgroup.controllers");
            let text = crate::sys::proc::whole(&file).context(|| format!("read `{}`", file.display()))?;
            let text = String::from_utf8_lossy(&text);
            unified.controllers = text.split_whitespace().filter_map(Controller::named).collect();
        }
        Ok(host)
    }

    fn built(&self) -> &BTreeMap<Controller, bool> {
        self.facts
            .built
            .get_or_init(|| built(&std::fs::read_to_string("/proc/cgroups").unwrap_or_default()))
    }

    fn swap(&self) -> bool {
        *self
            .facts
            .swap
            .get_or_init(|| match self.place(Controller::Memory) {
                // The v2 file is in every cgroup but the root, as long as the kernel knows swap at all.
                Place::Unified => {
                    Path::new("/proc/swaps").exists()
                        && !std::fs::read_to_string("/proc/cmdline")
                            .is_ok_and(|line| line.split_whitespace().any(|word| word == "swapaccount=0"))
                }
                Place::V1(index) => self.v1[index].path.join("memory.memsw.limit_in_bytes").exists(),
                Place::Absent => false,
            })
    }

    fn bandwidth(&self) -> bool {
        // Both versions have it only with this option, and then the scheduler has this knob.
        let knob = "/proc/sys/kernel/sched_cfs_bandwidth_slice_us";
        *self.facts.bandwidth.get_or_init(|| Path::new(knob).exists())
    }

    /// What divides the disks by weight, if anything does.
    pub fn io_weight(&self) -> Option<IoWeight> {
        *self.facts.io_weight.get_or_init(|| self.detect_io_weight())
    }

    fn online(&self) -> &[u16] {
        self.facts.online.get_or_init(|| {
            std::fs::read_to_string("/sys/devices/system/cpu/online")
                .ok()
                .and_then(|text| processors(text.trim()))
                .unwrap_or_default()
        })
    }

    fn hard(&self, kind: RlimitKind) -> Option<u64> {
        // A limit that cannot be read is not refused here: setting it then fails by name.
        let read = |kind| crate::sys::rlimit::read(None, kind).ok();
        let all = || {
            RlimitKind::all()
                .filter_map(|kind| Some((kind, read(kind)?.hard)))
                .collect()
        };
        self.facts.hard.get_or_init(all).get(&kind).copied().flatten()
    }

    fn may_raise(&self) -> bool {
        *self.facts.may_raise.get_or_init(|| {
            crate::sys::caps::own()
                .is_ok_and(|own| own.effective.iter().any(|cap| cap.name() == "sys_resource"))
        })
    }

    fn from_mountinfo(mountinfo: &str) -> Self {
        let mut host = Self {
            unified: None,
            v1: Vec::new(),
            facts: Facts::default(),
        };
        for mount in mountinfo.lines().filter_map(mount_of) {
            match mount.kind {
                "cgroup2" if host.unified.is_none() => {
                    host.unified = Some(Unified {
                        depth: u32::try_from(mount.root.split('/').filter(|c| !c.is_empty()).count())
                            .unwrap_or(0),
                        path: mount.path,
                        controllers: Vec::new(),
                    });
                }
                "cgroup" => {
                    let controllers: Vec<_> =
                        mount.options.split(',').filter_map(Controller::named).collect();
                    let is_new = !host.v1.iter().any(|known| known.controllers == controllers);
                    if !controllers.is_empty() && is_new {
                        host.v1.push(Hierarchy {
                            path: mount.path,
                            controllers,
                        });
                    }
                }
                _ => {}
            }
        }
        host
    }

    fn detect_io_weight(&self) -> Option<IoWeight> {
        // Only cgroup2 has the cost model, and only its root says for which devices it is on.
        if self.place(Controller::Io) == Place::Unified
            && let Some(unified) = &self.unified
            && std::fs::read_to_string(unified.path.join("io.cost.qos"))
                .is_ok_and(|text| text.split_whitespace().any(|word| word == "enable=1"))
        {
            return Some(IoWeight::Iocost);
        }
        let disks = std::fs::read_dir("/sys/block").ok()?;
        disks
            .filter_map(|disk| std::fs::read_to_string(disk.ok()?.path().join("queue/scheduler")).ok())
            .any(|schedulers| schedulers.contains("[bfq]"))
            .then_some(IoWeight::Bfq)
    }

    /// Which versions are mounted.
    pub fn layout(&self) -> Layout {
        match (&self.unified, self.v1.is_empty()) {
            (Some(_), true) => Layout::V2,
            (Some(_), false) => Layout::Hybrid,
            (None, _) => Layout::V1,
        }
    }

    /// The cgroup2 mount, without which there is no guest.
    pub fn unified(&self) -> Result<&Path> {
        match &self.unified {
            Some(unified) => Ok(&unified.path),
            None => Err(
                Error::new(Kind::Unsupported, "no cgroup2 is mounted on this host").with_hint(
                    "guests are kept apart by cgroup2; it can stand beside v1: \
                 mount -t cgroup2 none /sys/fs/cgroup/unified",
                ),
            ),
        }
    }

    pub(super) fn place(&self, controller: Controller) -> Place {
        if self
            .unified
            .as_ref()
            .is_some_and(|u| u.controllers.contains(&controller))
        {
            return Place::Unified;
        }
        match self.v1.iter().position(|h| h.controllers.contains(&controller)) {
            Some(index) => Place::V1(index),
            None => Place::Absent,
        }
    }

    /// The controllers that `limits` need.
    pub(super) fn needed(limits: &Limits) -> Vec<Controller> {
        fields(limits)
            .into_iter()
            .map(|(_, controller)| controller)
            .collect()
    }

    /// What of `limits` this host cannot enforce, by name; empty when it can enforce all.
    pub fn refuse(&self, limits: &Limits) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut refuse = |field, reason: String| refusals.push(Refusal { field, reason });
        for (field, controller) in fields(limits) {
            let place = self.place(controller);
            let is_v1 = matches!(place, Place::V1(_));
            if place == Place::Absent {
                refuse(field, self.absence(controller));
                continue;
            }
            match field {
                "swap" if !self.swap() => {
                    refuse(
                        field,
                        "the kernel does not account swap; boot it with swapaccount=1".into(),
                    );
                }
                "swap" if is_v1 && limits.memory.is_none() => refuse(
                    field,
                    "cgroup v1 bounds memory and swap together, so `memory` must be limited as well".into(),
                ),
                "cpus" if !self.bandwidth() => {
                    refuse(field, "the kernel was built without CONFIG_CFS_BANDWIDTH".into());
                }
                "cpuset" => {
                    let wanted = limits.cpuset.as_ref().and_then(|l| processors(l.as_str()));
                    let missing: Vec<_> = wanted
                        .unwrap_or_default()
                        .into_iter()
                        .filter(|cpu| !self.online().is_empty() && !self.online().contains(cpu))
                        .collect();
                    if !missing.is_empty() {
                        let (missing, online) = (list_of(&missing), list_of(self.online()));
                        refuse(
                            field,
                            format!("processor {missing} is not there; online are {online}"),
                        );
                    }
                }
                "io_weight" if self.io_weight().is_none() => refuse(
                    field,
                    "no disk is shared by weight; choose the bfq scheduler for one \
                     (/sys/block/DISK/queue/scheduler) or, on cgroup v2, enable it in io.cost.qos"
                        .into(),
                ),
                "io_weight" if is_v1 && self.io_weight() == Some(IoWeight::Iocost) => {
                    refuse(
                        field,
                        "the cost model is for cgroup v2; choose the bfq scheduler".into(),
                    );
                }
                // Dirty pages are written back by the kernel on nobody's account unless memory and io are
                // both on cgroup2: a bound on writes would hold direct writes alone.
                "io" if (is_v1 || self.place(Controller::Memory) != Place::Unified)
                    && limits.io.values().any(IoMax::bounds_writes) =>
                {
                    refuse(
                        field,
                        "buffered writes are bounded only where cgroup v2 has both io and memory; bound reads \
                         alone, or boot with systemd.unified_cgroup_hierarchy=1"
                            .into(),
                    );
                }
                _ => {}
            }
        }
        for (kind, limit) in &limits.rlimits {
            let have = self.hard(*kind);
            let is_above = have.is_some_and(|have| limit.hard.is_none_or(|want| want > have));
            if is_above && !self.may_raise() {
                let have = have.unwrap_or_default();
                refuse(
                    "rlimits",
                    format!(
                        "`{kind}` cannot be raised above {have}, this process's hard limit, \
                         without CAP_SYS_RESOURCE"
                    ),
                );
            }
        }
        refusals
    }

    /// Fails when one of `limits` cannot be enforced.
    pub fn require(&self, limits: &Limits) -> Result<()> {
        let refusals = self.refuse(limits);
        if refusals.is_empty() {
            return Ok(());
        }
        let reasons: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        Err(Error::new(
            Kind::Unsupported,
            format!("this host cannot enforce every limit: {}", reasons.join("; ")),
        )
        .with_hint("take the limit out of the recipe, or give the host what it names"))
    }

    fn absence(&self, controller: Controller) -> String {
        match self.built().get(&controller) {
            None => format!("the kernel was built without the `{controller}` controller"),
            Some(false) => {
                format!("the `{controller}` controller is disabled; boot without cgroup_disable={controller}")
            }
            Some(true) => format!("the `{controller}` controller is on no mounted cgroup hierarchy"),
        }
    }
}

/// The limits that are set and enforced by cgroups, with their controllers.
fn fields(limits: &Limits) -> Vec<(&'static str, Controller)> {
    [
        ("memory", limits.memory.is_some(), Controller::Memory),
        ("swap", limits.swap.is_some(), Controller::Memory),
        ("cpus", limits.cpus.is_some(), Controller::Cpu),
        ("cpu_weight", limits.cpu_weight.is_some(), Controller::Cpu),
        ("cpuset", limits.cpuset.is_some(), Controller::Cpuset),
        ("pids", limits.pids.is_some(), Controller::Pids),
        ("io_weight", limits.io_weight.is_some(), Controller::Io),
        ("io", !limits.io.is_empty(), Controller::Io),
    ]
    .into_iter()
    .filter_map(|(field, is_set, controller)| is_set.then_some((field, controller)))
    .collect()
}

/// The lines `name hierarchy cgroups enabled` of `/proc/cgroups`.
fn built(text: &str) -> BTreeMap<Controller, bool> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((Controller::named(words.next()?)?, words.nth(2) == Some("1")))
        })
        .collect()
}

struct MountOf<'a> {
    root: &'a str,
    path: PathBuf,
    kind: &'a str,
    options: &'a str,
}

/// One line of mountinfo: `36 35 98:0 /root /path rw,.. shared:1 - type source options` (`proc_pid_mountinfo(5)`).
fn mount_of(line: &str) -> Option<MountOf<'_>> {
    // A host has tens of mounts, of which a few are cgroups: the others are not taken apart.
    let (before, after) = line.split_once(" - ")?;
    if !after.starts_with("cgroup") {
        return None;
    }
    let mut before = before.split(' ').skip(3);
    let mut after = after.split(' ');
    Some(MountOf {
        root: before.next()?,
        path: PathBuf::from(unescape(before.next()?)),
        kind: after.next()?,
        options: after.nth(1)?,
    })
}

/// mountinfo writes space, tab, newline and backslash in octal.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    ["\\040", "\\011", "\\012", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (code, char)| text.replace(code, char))
}

/// The processors of a list such as `0-3,7`, sorted and each once.
pub(super) fn processors(list: &str) -> Option<Vec<u16>> {
    let mut all = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        all.extend(from.parse::<u16>().ok()?..=to.parse::<u16>().ok()?);
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// The kernel's own way to write `processors`, which must be sorted: `0-3,7`.
pub(super) fn list_of(processors: &[u16]) -> String {
    processors
        .chunk_by(|a, b| a + 1 == *b)
        .map(|run| match run {
            [first, .., last] => format!("{first}-{last}"),
            [only] => only.to_string(),
            [] => String::new(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
pub(super) mod tests;
