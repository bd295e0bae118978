//! `hostel stop`: asks a guest's init, waits, kills what is left, and takes everything of it from the host.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::exec::{self, ExecRequest};
use super::hooks::{HookRunner, run_hook};
use super::host::Host;
use super::launch::empty_group;
use super::{init_config, observe};
use crate::error::{Kind, Result};
use crate::guest::{GuestName, HookMoment, Init, Span, Xid};
use crate::storage::files::{self, Access};
use crate::storage::state::{self, Applied};
use crate::sys::cgroup::Group;
use crate::sys::netlink::{Netlink, OwnedAddress, Owner};
use crate::sys::{pidfd, proc};

/// How to stop.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopHow {
    /// How long it may take before it is killed; the recipe's `stop.timeout` without it.
    pub timeout: Option<Span>,
    /// Do not ask: kill.
    pub kill: bool,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stopped {
    /// It ended by itself.
    Gracefully,
    /// It was killed, as asked or because its time was over.
    Killed,
    /// It did not run. What it had left on the host is gone.
    DidNotRun,
}

/// The kernel's first real-time signal, which glibc's `SIGRTMIN` is not (it keeps two for itself). systemd counts
/// from glibc's, and so does hostel's init: `SIGRTMIN+4` asks for poweroff (`systemd(1)`).
const GLIBC_SIGRTMIN: i32 = 34;

/// Stops a guest. That it does not run is no error.
pub fn stop(host: &Host, name: &GuestName, how: StopHow, hooks: &dyn HookRunner) -> Result<Stopped> {
    let _lock = super::lock(host, name)?;
    stop_locked(host, name, how, hooks)
}

/// The same for a caller that holds the guest's lock.
pub(super) fn stop_locked(
    host: &Host,
    name: &GuestName,
    how: StopHow,
    hooks: &dyn HookRunner,
) -> Result<Stopped> {
    let applied = observe::applied(host, name)?;
    let group = observe::group(host, applied.xid)?;
    let running = match group {
        Some(group) if group.is_populated()? => group,
        _ => {
            clear(host, &applied)?;
            return Ok(Stopped::DidNotRun);
        }
    };
    run_hook(hooks, &applied, HookMoment::PreStop)?;
    // The last who lets go of layers or an image writes their file system to the disk, all of it. Better this command, which has the
    // time, than the last process of the guest, which is waited for with a deadline.
    let is_mounted = files::read(&host.layout, name).is_ok_and(|files| !files.has_tree());
    let _tree = is_mounted.then(|| super::tree::open(host, &applied, Access::Read));
    let stopped = if how.kill {
        Stopped::Killed
    } else {
        ask(
            host,
            &applied,
            &running,
            how.timeout.unwrap_or(applied.spec.stop.timeout),
        )?
    };
    kill_and_clear(host, &applied)?;
    run_hook(hooks, &applied, HookMoment::PostStop)?;
    Ok(stopped)
}

/// Asks the init to stop everything, and waits.
fn ask(host: &Host, applied: &Applied, group: &Group, timeout: Span) -> Result<Stopped> {
    // An init of hostel's takes up to two seconds more than its services may (see `init_config`): it kills those
    // that are left, and its own end is cleaner than being killed.
    let deadline = Instant::now() + timeout.duration() + Duration::from_secs(2);
    if group.is_frozen()? {
        group.thaw(deadline)?;
    }
    let Some(init) = proc::init_of(&group.pids()?)? else {
        return Ok(Stopped::Killed);
    };
    let Some(pidfd) = observe::member(group, init)? else {
        return Ok(Stopped::Killed);
    };
    match how_to_ask(host, applied)? {
        Ask::Signal(signal) => {
            // ESRCH: it ends by itself.
            tracing::debug!("{}: signal {signal} to its init", applied.spec.name);
            let _ = pidfd::signal(&pidfd, signal);
        }
        Ask::Command(argv) => {
            let request = ExecRequest {
                argv: argv.into_iter().map(Into::into).collect(),
                ..ExecRequest::default()
            };
            // An init that cannot be asked this way is killed when its time is over. What asks it is waited for:
            // the end of a pid namespace waits until every process of it is reaped, and this one is ours to reap.
            if let Ok(asks) = exec::exec_quietly(host, applied, &request) {
                if !pidfd::wait_until(asks.child.pidfd.as_fd(), Some(deadline))? {
                    let _ = pidfd::signal(&asks.child.pidfd, libc::SIGKILL);
                }
                pidfd::wait(&asks.child.pidfd)?;
            }
        }
    }
    match group.wait_empty(deadline) {
        Ok(()) => Ok(Stopped::Gracefully),
        Err(err) if err.kind() == Kind::Timeout => Ok(Stopped::Killed),
        Err(err) => Err(err),
    }
}

enum Ask {
    Signal(i32),
    Command(Vec<&'static str>),
}

/// What makes this guest's init stop everything.
fn how_to_ask(host: &Host, applied: &Applied) -> Result<Ask> {
    if let Some(name) = &applied.spec.stop.signal {
        return init_config::signal_number(name).map(Ask::Signal);
    }
    let Init::Own(path) = &applied.spec.init else {
        return Ok(Ask::Signal(GLIBC_SIGRTMIN + 4));
    };
    // What the init is, is what its path leads to inside.
    let target = match super::tree::open(host, applied, Access::Read) {
        Ok(tree) => tree.final_name(path)?,
        // It ends by itself.
        Err(err) if err.kind() == Kind::State => return Ok(Ask::Signal(libc::SIGTERM)),
        Err(err) => return Err(err),
    };
    Ok(match target.as_str() {
        "systemd" => Ask::Signal(GLIBC_SIGRTMIN + 4),
        "busybox" => Ask::Signal(libc::SIGUSR2),
        "openrc-init" => Ask::Command(vec!["/sbin/openrc-shutdown", "--poweroff", "now"]),
        // sysvinit, with OpenRC or without, and most others answer to a runlevel.
        _ => Ask::Command(vec!["/sbin/init", "0"]),
    })
}

/// Kills what is left of a guest and takes everything of it from the host.
pub(super) fn kill_and_clear(host: &Host, applied: &Applied) -> Result<()> {
    clear(host, applied)?;
    let mut applied = applied.clone();
    applied.started = None;
    state::write(&host.layout, &applied.spec.name, &applied)
}

/// Takes everything of a guest from the host that its number leads to: processes, cgroup, BPF entry, addresses.
pub(super) fn clear(host: &Host, applied: &Applied) -> Result<()> {
    clear_number(host, applied.xid)?;
    // An IPv6 address carries no label: it is known by the recipe that put it on its device.
    let spec = applied.started.as_ref().unwrap_or(&applied.spec);
    let Some(device) = &spec.net.device else {
        return Ok(());
    };
    let mut netlink = Netlink::open()?;
    let Some(index) = netlink.device(device)? else {
        return Ok(());
    };
    for net in spec.net.address.iter().filter(|net| net.addr().is_ipv6()) {
        let is_ours =
            |owned: &OwnedAddress| owned.index == index && owned.net == *net && owned.owner.is_none();
        if netlink.owned_addresses()?.iter().any(is_ours) {
            netlink.del_address(index, *net)?;
        }
    }
    Ok(())
}

/// The same for any number: a context whose hostel was killed has no name.
pub(super) fn clear_number(host: &Host, xid: Xid) -> Result<()> {
    let group = observe::group(host, xid)?;
    // The addresses go only when no process is left that could still speak from them, and the cgroup goes last:
    // as long as it is there, whoever comes after a hostel that was killed here knows that there is work left.
    if let Some(group) = &group {
        empty_group(group)?;
    }
    if let Some(fence) = host.existing_fence()? {
        fence.forget_xid(xid)?;
    }
    clear_addresses(xid)?;
    group.map_or(Ok(()), |group| group.remove())
}

fn clear_addresses(xid: Xid) -> Result<()> {
    let mut netlink = Netlink::open()?;
    for owned in netlink.owned_addresses()? {
        if owned.owner == Some(Owner(xid)) {
            netlink.del_address(owned.index, owned.net)?;
        }
    }
    netlink.delete_veth(xid)
}
