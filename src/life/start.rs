//! `hostel start`: from the applied specification to a running guest.

use std::collections::BTreeMap;

use super::WAIT;
use super::command::Command;
use super::hooks::{HookRunner, run_hook};
use super::host::Host;
use super::init_config::{self, InitConfig};
use super::launch::launch;
use super::{masks, observe, stop};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{CapSet, Context, GuestName, HookMoment, Init, NetMode, Spec, Xid};
use crate::plan::{self, Program, Step};
use crate::storage::lock;
use crate::storage::state::{self, Applied};
use crate::sys::{landlock, netlink};

/// Starts a guest. A guest that runs already is an error of [`Kind::State`].
pub fn start(host: &Host, name: &GuestName, hooks: &dyn HookRunner) -> Result<()> {
    let _lock = lock::acquire(&host.layout, name, WAIT)?;
    start_locked(host, name, hooks)
}

/// The same for a caller that holds the guest's lock.
pub(super) fn start_locked(host: &Host, name: &GuestName, hooks: &dyn HookRunner) -> Result<()> {
    let mut applied = observe::applied(host, name)?;
    if let Some(group) = observe::group(host, applied.xid)? {
        if group.is_populated()? {
            return Err(Error::new(Kind::State, format!("guest `{name}` runs already"))
                .with_hint(format!("`hostel restart {name}` starts it anew")));
        }
        // What a guest that ended by itself, or a hostel that was killed, has left.
        stop::clear(host, &applied)?;
    }
    run_hook(hooks, &applied, HookMoment::PreStart)?;
    let started = bring_up(host, &applied);
    if let Err(err) = started {
        return Err(err.context(format!("start `{name}`")));
    }
    applied.started = Some(applied.spec.clone());
    let finished = state::write(&host.layout, name, &applied)
        .and_then(|()| run_hook(hooks, &applied, HookMoment::PostStart));
    finished.map_err(|err| match stop::kill_and_clear(host, &applied) {
        Ok(()) => err,
        Err(other) => err.and_also(other),
    })
}

/// The steps of a guest's start.
pub fn steps(host: &Host, spec: &Spec, xid: Xid) -> Result<Vec<Step>> {
    let context = context(host, spec, xid);
    let program = match &spec.init {
        Init::Hostel => Program::HostelInit,
        Init::Own(path) => Program::Keeper(path.clone()),
    };
    plan::launch(&context, Some(xid), program)
}

fn context(host: &Host, spec: &Spec, xid: Xid) -> Context {
    Context::of_guest(spec, xid, host.layout.rootfs(&spec.name))
}

fn bring_up(host: &Host, applied: &Applied) -> Result<()> {
    let spec = &applied.spec;
    refuse(host, spec)?;
    let steps = steps(host, spec, applied.xid)?;
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context(|| "open `/dev/null`")?;
    let null = || null.try_clone().map(Into::into).context(|| "duplicate");
    let config = init_config::config_memfd(&InitConfig {
        init: &spec.init,
        services: &spec.services,
        env: &spec.env,
        caps: context(host, spec, applied.xid).caps.unwrap_or(CapSet::EMPTY),
        hostname: spec.effective_hostname(),
        stop_timeout: spec.stop.timeout,
        mask: &masks::hidden_paths(),
        readonly: &masks::READONLY_PATHS,
        has_cgroup: !spec.init.is_hostel(),
    })?;
    let command = Command {
        fds: vec![null()?, null()?, null()?, config],
        ..Command::default()
    };
    let running = launch(host, spec.name.as_str(), Some(applied.xid), &steps, &command)?;
    running.leave();
    Ok(())
}

/// What cannot be had on this host is refused by name, before anything is done.
fn refuse(host: &Host, spec: &Spec) -> Result<()> {
    host.hierarchies()?.require(&spec.limits)?;
    let on_host_stack = matches!(spec.net.mode, NetMode::Bind | NetMode::Host);
    if on_host_stack && !spec.net.shared_abstract_sockets {
        landlock::require_scoping()?;
    }
    for port in &spec.net.ports {
        let held = netlink::listeners(*port, host.cgroup_path())?;
        if let Some(holder) = held.first() {
            return Err(Error::new(
                Kind::State,
                format!(
                    "port {port} is held on every address ({}) by the host's process {} (`{}`)",
                    holder.address, holder.pid, holder.command
                ),
            )
            .with_hint(format!(
                "let it listen on the host's own address only, or take {port} from `net.ports`"
            )));
        }
    }
    Ok(())
}

/// The environment of what is started in a guest from outside.
pub(super) fn environment(spec: &Spec) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), super::command::PATH.to_owned()),
        ("container".to_owned(), "hostel".to_owned()),
    ]);
    env.extend(spec.env.clone());
    env
}
