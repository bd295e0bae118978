//! A context that runs, as whoever is sent into it must know it: from what was applied for a guest, or, of a context
//! that no file tells of, from a process in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use nix::sched::CloneFlags;

use super::host::Host;
use super::{filter, observe, start};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::syscalls::Profile;
use crate::guest::{CapSet, Context, HostPid, Init, Rlimit, RlimitKind, Xid};
use crate::storage::state::Applied;
use crate::sys::cgroup::Group;
use crate::sys::seccomp::Filter;
use crate::sys::{caps, effective, pidfd, proc, rlimit};

/// A context that runs, and how whoever comes in is confined.
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of another facility of the kernel"
)]
pub(super) struct Place {
    /// What it is called in messages: the guest's name, or `context N`.
    pub(super) label: String,
    /// Its cgroup.
    pub(super) group: Group,
    /// The cgroup below it that the process is born in, where that is another.
    pub(super) birth: Option<OwnedFd>,
    /// A process that is in all its namespaces.
    pub(super) member: OwnedFd,
    /// Its namespaces but that of processes, which only children are born into.
    pub(super) namespaces: CloneFlags,
    /// Whether it has a process namespace.
    pub(super) has_processes: bool,
    /// Whether its ids are its own, so that whoever comes in becomes its root.
    pub(super) has_users: bool,
    /// The capabilities that are left.
    pub(super) caps: CapSet,
    /// Whether abstract sockets of others are out of its reach.
    pub(super) is_scoped: bool,
    /// The filter of its system calls.
    pub(super) filter: Option<Filter>,
    /// Whether no program in it gains a right by being executed.
    pub(super) no_new_privs: bool,
    /// Its environment.
    pub(super) env: BTreeMap<OsString, OsString>,
    /// Limits of each of its processes.
    pub(super) rlimits: BTreeMap<RlimitKind, Rlimit>,
    /// Its priority, where it has one of its own.
    pub(super) nice: Option<i8>,
}

/// Namespaces that a guest's process has of its own. All are joined at once, but for the process namespace, which
/// only children are born into.
const OF_GUESTS: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// The names of namespaces below `/proc/PID/ns`.
const NAMESPACES: [(&str, CloneFlags); 6] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("net", CloneFlags::CLONE_NEWNET),
];

impl Place {
    /// A guest that runs.
    pub(super) fn of_guest(host: &Host, applied: &Applied) -> Result<Self> {
        let name = &applied.spec.name;
        let started = applied.started.as_ref().unwrap_or(&applied.spec);
        let group = observe::running_group(host, name, applied.xid)?;
        if group.is_frozen()? {
            return Err(Error::new(Kind::State, format!("guest `{name}` is paused"))
                .with_hint(format!("`hostel resume {name}` lets it go on")));
        }
        let init = observe::guest_init(name, started, &group)?;
        let context = Context::of_guest(started, applied.xid, host.layout.rootfs(name));
        let profile = context.profile();
        let env = start::environment(started, applied.start.as_ref());
        Ok(Self {
            label: name.to_string(),
            member: observe::member(&group, init)?.ok_or_else(|| observe::no_init(name))?,
            birth: match started.init {
                Init::Hostel => None,
                Init::Own(_) => Some(group.child(super::ENTERED)?),
            },
            group,
            namespaces: {
                let mut joined = OF_GUESTS;
                joined.set(CloneFlags::CLONE_NEWNET, context.isolate.net);
                // The one that this process is in already cannot be joined (EINVAL, setns(2)).
                joined.set(CloneFlags::CLONE_NEWUSER, context.isolate.user);
                joined
            },
            has_processes: true,
            has_users: true,
            caps: context.caps.unwrap_or(CapSet::EMPTY),
            is_scoped: context.scope_abstract_sockets,
            filter: profile.as_ref().map(filter::compile).transpose()?,
            no_new_privs: context.no_new_privs,
            env: env.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            rlimits: started.limits.rlimits.clone(),
            nice: started.limits.nice,
        })
    }

    /// A context of `hostel context` or of a script that runs under this number. How it is confined is read off its
    /// oldest process, and `env` is given to whoever comes in.
    pub(super) fn of_context(host: &Host, xid: Xid, env: BTreeMap<OsString, OsString>) -> Result<Self> {
        let gone = || {
            Error::new(Kind::NotFound, format!("no context {xid} runs"))
                .with_hint("its number is the one that was given to `hostel context --xid`")
        };
        let group = observe::group(host, xid)?.ok_or_else(gone)?;
        let eldest = eldest(&group)?.ok_or_else(gone)?;
        let member = observe::member(&group, eldest)?.ok_or_else(gone)?;
        let status = proc::status(eldest)?.ok_or_else(gone)?;
        let bounding = caps::show(eldest)?.bounding;
        let mut namespaces = CloneFlags::empty();
        for (name, flag) in NAMESPACES {
            if is_other(eldest, name)? {
                namespaces |= flag;
            }
        }
        let has_users = namespaces.contains(CloneFlags::CLONE_NEWUSER);
        let mut place = Self {
            label: format!("context {xid}"),
            birth: None,
            namespaces,
            has_processes: is_other(eldest, "pid")?,
            has_users,
            caps: bounding,
            is_scoped: false,
            // The same that it was started with: nothing of a context without a recipe is loosened.
            filter: has_users
                .then(|| {
                    filter::compile(&Profile {
                        caps: bounding,
                        allow: Vec::new(),
                        shares_ids: false,
                    })
                })
                .transpose()?,
            no_new_privs: status.no_new_privs,
            env,
            rlimits: {
                // Who may read them without CAP_SYS_RESOURCE is the owner of its user namespace.
                let _acting = effective::act_as_owner(has_users.then(|| xid.id_base()))?;
                rlimits(eldest)?
            },
            nice: proc::stat(eldest)?.map(|stat| stat.nice),
            group,
            member,
        };
        if place.namespaces.contains(CloneFlags::CLONE_NEWNS) {
            // Where the caller's programs are says nothing about another tree.
            place.env.insert("PATH".into(), super::command::PATH.into());
        }
        // All of it was read by number, and numbers are used again: it held if the process is there still.
        if pidfd::wait_until(place.member.as_fd(), Some(std::time::Instant::now()))? {
            return Err(gone());
        }
        Ok(place)
    }
}

/// The process of a cgroup that was started first.
fn eldest(group: &Group) -> Result<Option<HostPid>> {
    let mut found: Option<(u64, HostPid)> = None;
    for pid in group.pids()? {
        if let Some(stat) = proc::stat(pid)?
            && !stat.is_exiting
            && found.is_none_or(|(start, first)| (stat.start, pid) < (start, first))
        {
            found = Some((stat.start, pid));
        }
    }
    Ok(found.map(|(_, pid)| pid))
}

/// Whether the namespace of a process is another than this process's.
fn is_other(pid: HostPid, name: &str) -> Result<bool> {
    let number = |who: &str| {
        let path = format!("/proc/{who}/ns/{name}");
        let namespace = std::fs::metadata(&path).context(|| format!("read `{path}`"))?;
        Ok::<_, Error>((namespace.dev(), namespace.ino()))
    };
    Ok(number(&pid.to_string())? != number("self")?)
}

/// The limits of a process where they are not this process's.
fn rlimits(pid: HostPid) -> Result<BTreeMap<RlimitKind, Rlimit>> {
    let mut differing = BTreeMap::new();
    for kind in RlimitKind::all() {
        let limit = rlimit::read(Some(pid), kind)?;
        if limit != rlimit::read(None, kind)? {
            differing.insert(kind, limit);
        }
    }
    Ok(differing)
}
