//! What runs: asked of the kernel, by each guest's context id.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use serde::Serialize;

use super::host::Host;
use crate::error::{Error, Kind, Result};
use crate::guest::{GuestName, HostPid, Init, Limits, Spec, Xid};
use crate::storage::bounds::{self, Usage};
use crate::storage::files;
use crate::storage::state::{self, Applied};
use crate::sys::cgroup::Group;
use crate::sys::{pidfd, proc};

/// Whether a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has no process.
    Stopped,
    /// It runs.
    Running,
    /// Its processes are frozen.
    Paused,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            State::Stopped => "stopped",
            State::Running => "running",
            State::Paused => "paused",
        })
    }
}

/// What can be seen of a guest.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its name.
    pub name: GuestName,
    /// Its context id.
    pub xid: Xid,
    /// Whether it runs.
    pub state: State,
    /// Its process 1, as the host numbers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<HostPid>,
    /// Seconds since its process 1 was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// Its processes.
    pub processes: u64,
    /// Bytes of memory in use, page cache included, where the kernel counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Microseconds of processor time, where the kernel counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// What its files take, where the file system counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Usage>,
    /// Its addresses.
    pub addresses: Vec<std::net::IpAddr>,
    /// Where its files came from.
    pub image: String,
    /// Whether it starts at boot.
    pub autostart: bool,
}

/// Every guest, by name.
pub fn list(host: &Host) -> Result<Vec<Status>> {
    state::list(&host.layout)?
        .iter()
        .map(|name| status(host, name))
        .collect()
}

/// One guest.
pub fn status(host: &Host, name: &GuestName) -> Result<Status> {
    let applied = applied(host, name)?;
    let group = group(host, applied.xid)?;
    let mut status = Status {
        name: name.clone(),
        xid: applied.xid,
        state: State::Stopped,
        pid: None,
        uptime_s: None,
        processes: 0,
        memory_bytes: None,
        cpu_us: None,
        disk: disk(host, name),
        addresses: applied.spec.net.addrs().collect(),
        image: applied.spec.image.to_string(),
        autostart: applied.spec.autostart,
    };
    let Some(group) = group else { return Ok(status) };
    let glance = group.glance()?;
    if !glance.is_populated {
        return Ok(status);
    }
    status.state = if glance.is_frozen {
        State::Paused
    } else {
        State::Running
    };
    let spec = applied.started.as_ref().unwrap_or(&applied.spec);
    status.pid = init_among(spec, &glance.pids)?;
    if let Some(pid) = status.pid
        && let Some(stat) = proc::stat(pid)?
    {
        status.uptime_s = Some(proc::age(&stat)?.as_secs());
    }
    status.processes = glance.pids.len() as u64;
    status.memory_bytes = glance.memory.map(|bytes| bytes.0);
    status.cpu_us = glance.cpu_micros;
    Ok(status)
}

/// What the files of a guest take. Whoever cannot be asked tells nothing: a guest whose files are damaged is listed too.
fn disk(host: &Host, name: &GuestName) -> Option<Usage> {
    let files = files::read(&host.layout, name).ok()?;
    bounds::usage(&host.layout, &host.layout.guest_dir(name), &files)
        .ok()
        .flatten()
}

/// The limits that hold for a guest: while it runs those that the kernel enforces, else those that it would get.
pub fn limits(host: &Host, name: &GuestName) -> Result<Limits> {
    let applied = applied(host, name)?;
    let wanted = applied.started.unwrap_or(applied.spec).limits;
    match group(host, applied.xid)? {
        Some(group) if group.is_populated()? => {
            let Limits {
                nice,
                rlimits,
                disk,
                inodes,
                ..
            } = wanted;
            Ok(Limits {
                disk,
                inodes,
                nice,
                rlimits,
                ..group.read_limits()?
            })
        }
        _ => Ok(wanted),
    }
}

/// Whether a process of the cgroup will still do something. The last of a guest that was killed, or of a start whose
/// hostel was, may be long on their way out: with them go their mounts, and that of layers is written to the disk first.
/// They are waited for.
pub(super) fn lives(group: &Group) -> Result<bool> {
    if !group.is_populated()? {
        return Ok(false);
    }
    for pid in group.pids()? {
        if proc::stat(pid)?.is_some_and(|stat| !stat.is_exiting) {
            return Ok(true);
        }
    }
    group.wait_empty(std::time::Instant::now() + EXIT)?;
    Ok(false)
}

/// How long the end of a process may take: a disk that is busy with others' writes.
const EXIT: std::time::Duration = std::time::Duration::from_secs(30);

/// What was applied for a guest; an error that names it when there is none.
pub fn applied(host: &Host, name: &GuestName) -> Result<Applied> {
    state::read(&host.layout, name)?.ok_or_else(|| {
        let err = Error::new(Kind::NotFound, format!("there is no guest `{name}`"));
        let names = state::list(&host.layout).unwrap_or_default();
        match crate::guest::caps::nearest(name.as_str(), names.iter().map(GuestName::as_str)) {
            Some(near) => err.with_hint(format!("did you mean `{near}`?")),
            None => err.with_hint("`hostel ls` lists those that there are"),
        }
    })
}

/// A guest's cgroup, if it has one.
pub fn group(host: &Host, xid: Xid) -> Result<Option<Group>> {
    match host.existing_root()? {
        Some(root) => Group::open(root, &xid.cgroup_name()),
        None => Ok(None),
    }
}

/// The cgroup of a guest that runs; an error that says so when it does not.
pub fn running_group(host: &Host, name: &GuestName, xid: Xid) -> Result<Group> {
    match group(host, xid)? {
        Some(group) if group.is_populated()? => Ok(group),
        _ => Err(Error::new(Kind::State, format!("guest `{name}` does not run"))
            .with_hint(format!("`hostel start {name}` starts it"))),
    }
}

/// Process 1 as the guest sees it: with an init of its own, that init and not the keeper around it; and only when it has been
/// executed, for until then it is hostel's and makes the mounts that whoever comes in is to see.
pub fn guest_init(name: &GuestName, spec: &Spec, group: &Group) -> Result<HostPid> {
    let pids = group.pids()?;
    let init = init_among(spec, &pids)?.ok_or_else(|| no_init(name))?;
    let is_made = match (&spec.init, proc::init_of(&pids)?) {
        (Init::Own(_), Some(keeper)) => !proc::is_same_program(init, keeper),
        _ => true,
    };
    if is_made { Ok(init) } else { Err(no_init(name)) }
}

/// The first process that hostel made for it: its init, or the keeper around its own, which stays when that one reboots.
pub fn first(name: &GuestName, group: &Group) -> Result<HostPid> {
    proc::init_of(&group.pids()?)?.ok_or_else(|| no_init(name))
}

/// There is none at this moment.
pub fn no_init(name: &GuestName) -> Error {
    Error::new(
        Kind::State,
        format!("guest `{name}` has no process 1: it is just starting or ending"),
    )
    .with_hint("try again in a moment")
}

/// A descriptor of a process of this cgroup, of which only the number is known; `None` when it has ended.
///
/// A guest decides when its processes end, and the kernel gives their numbers to others, the host's too. So the number is looked
/// for once more when there is a descriptor: either it is of the one that is there now, or of one that has ended, which can
/// neither be joined nor signalled.
pub fn member(group: &Group, pid: HostPid) -> Result<Option<OwnedFd>> {
    let pidfd = match pidfd::open(pid) {
        Ok(pidfd) => pidfd,
        // EINVAL: reaped between the look-ups that the kernel makes.
        Err(err) if matches!(err.errno(), Some(Errno::ESRCH | Errno::EINVAL)) => return Ok(None),
        Err(err) => return Err(err),
    };
    Ok(group.pids()?.contains(&pid).then_some(pidfd))
}

fn init_among(spec: &Spec, pids: &[HostPid]) -> Result<Option<HostPid>> {
    match (&spec.init, proc::init_of(pids)?) {
        (Init::Own(_), Some(keeper)) => proc::inner_init(pids, keeper),
        (_, outer) => Ok(outer),
    }
}
