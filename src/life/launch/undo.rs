//! What a start has put on the host, and how it is taken away again: after a failed step, and when a context has ended.

use std::os::fd::OwnedFd;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::internal;
use crate::bpf;
use crate::error::{Context as _, Error, Result};
use crate::guest::Xid;
use crate::life::host::Host;
use crate::sys::cgroup::Group;
use crate::sys::clone;
use crate::sys::netlink::Netlink;

/// How long a killed cgroup may take to become empty. A process in uninterruptible sleep may take longer; then
/// the error says so.
const KILL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// A context that runs, and how to take it from the host again.
pub struct Running {
    /// Its first process.
    pub child: clone::Child,
    /// The master of its terminal, if it was to have one.
    pub(in crate::life) terminal: Option<OwnedFd>,
    pub(super) undo: Vec<Undo>,
    pub(super) routes: Routes,
}

/// The one netlink socket of a start and of taking it back, opened when the first request is made.
#[derive(Default)]
pub(super) struct Routes(Option<Netlink>);

impl Routes {
    pub(super) fn open(&mut self) -> Result<&mut Netlink> {
        if self.0.is_none() {
            self.0 = Some(Netlink::open()?);
        }
        self.0
            .as_mut()
            .ok_or_else(|| internal("a socket that was just opened is gone"))
    }
}

/// One thing that a start has put on the host.
pub(super) enum Undo {
    Cgroup(Group, Claim),
    Admitted(u64),
    Address(u32, IpNet),
    Loopback6(Xid),
    Cable(Xid),
    /// Addresses that were given to that cgroup.
    Own(u64, Xid),
}

impl Running {
    /// Its cgroup, if it has one.
    pub fn group(&self) -> Option<&Group> {
        group(&self.undo)
    }

    /// Takes everything of it from the host: processes, addresses, BPF entries, cgroup. In reverse order, and all
    /// of it even when a part fails.
    pub fn clear(self, host: &Host) -> Result<()> {
        clear(host, self.undo, self.routes)
    }

    /// Leaves everything as it is: the context outlives this command.
    pub fn leave(self) -> clone::Child {
        self.child
    }
}

pub(super) fn group(undo: &[Undo]) -> Option<&Group> {
    undo.iter().find_map(|undo| {
        if let Undo::Cgroup(group, _) = undo {
            Some(group)
        } else {
            None
        }
    })
}

pub(super) fn clear(host: &Host, undo: Vec<Undo>, mut routes: Routes) -> Result<()> {
    // Nobody may speak from an address that is being taken away.
    let mut failed: Option<Error> = group(&undo).and_then(|group| empty_group(group).err());
    for done in undo.into_iter().rev() {
        let result = match done {
            Undo::Cgroup(group, _claim) => group.remove(),
            Undo::Admitted(id) => host.fence().and_then(|fence| fence.forget(id)),
            // The outer context goes on, as it was: on the host's stack and unconfined.
            Undo::Own(id, xid) => host
                .fence()
                .and_then(|fence| fence.admit(id, &bpf::Rule::new(xid, bpf::Mode::Open))),
            Undo::Loopback6(xid) => routes.open().and_then(|netlink| netlink.del_loopback6(xid)),
            Undo::Cable(xid) => routes.open().and_then(|netlink| netlink.delete_veth(xid)),
            Undo::Address(index, net) => routes.open().and_then(|netlink| netlink.del_address(index, net)),
        };
        if let Err(err) = result {
            failed = Some(match failed {
                Some(first) => first.and_also(err),
                None => err,
            });
        }
    }
    failed.map_or(Ok(()), Err)
}

/// The right to remove a cgroup that has no process: a lock on its directory, given up by the kernel when its
/// holder ends. Without it `gc` could not tell one that is just being made from one that was left over.
pub(in crate::life) type Claim = nix::fcntl::Flock<OwnedFd>;

/// Claims a cgroup; `None` when somebody else has.
pub(in crate::life) fn claim(group: &Group) -> Result<Option<Claim>> {
    let own = nix::fcntl::openat(
        group.fd(),
        c".",
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    );
    let own = own.context(|| format!("open the cgroup `{}`", group.name()))?;
    match nix::fcntl::Flock::lock(own, nix::fcntl::FlockArg::LockExclusiveNonblock) {
        Ok(claim) => Ok(Some(claim)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(Error::os(format!("lock the cgroup `{}`", group.name()), errno)),
    }
}

/// Kills what is in a cgroup and waits until it is empty.
pub(in crate::life) fn empty_group(group: &Group) -> Result<()> {
    if !group.is_populated()? {
        return Ok(());
    }
    group.kill()?;
    group.wait_empty(std::time::Instant::now() + KILL_DEADLINE)
}
