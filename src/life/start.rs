//! `hostel start`: from the applied specification to a running guest.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use super::command::Command;
use super::hooks::{HookRunner, run_hook};
use super::host::Host;
use super::init_config::{self, InitConfig};
use super::launch::{Running, launch};
use super::{logs, masks, observe, stop};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{CapSet, Context, GuestName, HookMoment, Init, NetMode, Spec, Xid};
use crate::plan::{self, Program, Step};
use crate::storage::state::{self, Applied};
use crate::sys::{landlock, netlink, pidfd, proc};

/// How long the guest's own init may take from its keeper's start to its own: the mounts and masks in between, on a
/// host that is busy.
const OWN_INIT: Duration = Duration::from_secs(10);
/// How often it is looked whether it runs.
const LOOK: Duration = Duration::from_millis(2);

/// Starts a guest. A guest that runs already is an error of [`Kind::State`].
pub fn start(host: &Host, name: &GuestName, hooks: &dyn HookRunner) -> Result<()> {
    let _lock = super::lock(host, name)?;
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
    if spec.init.is_hostel() {
        running.leave();
        return Ok(());
    }
    match wait_for_own(host, applied, &running) {
        Ok(()) => {
            running.leave();
            Ok(())
        }
        Err(err) => Err(match running.clear(host) {
            Ok(()) => err,
            Err(other) => err.and_also(other),
        }),
    }
}

/// Waits until the guest's own init runs. The keeper forks and executes it, which may fail; who starts a guest is
/// to know.
fn wait_for_own(host: &Host, applied: &Applied, running: &Running) -> Result<()> {
    let spec = &applied.spec;
    let deadline = Instant::now() + OWN_INIT;
    let group = running
        .group()
        .ok_or_else(|| Error::new(Kind::Internal, "a guest without a cgroup"))?;
    loop {
        // The keeper's end is the one event that there is; for the rest it is looked again and again.
        if pidfd::wait_until(running.child.pidfd.as_fd(), Some(Instant::now() + LOOK))? {
            return Err(Error::new(
                Kind::External,
                format!("its own init ended at once: {}", last_words(host, spec)),
            )
            .with_hint(format!(
                "`hostel logs {}` shows what it wrote to its console",
                spec.name
            )));
        }
        if let Ok(init) = observe::guest_init(&spec.name, spec, group)
            && proc::runs_other_program(init, running.child.pid)?
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::new(
                Kind::Timeout,
                format!("its own init did not run within {} s", OWN_INIT.as_secs()),
            ));
        }
    }
}

/// What the keeper has told of the guest's own init since it started it: why it could not be run, and how it ended.
fn last_words(host: &Host, spec: &Spec) -> String {
    // Three lines: that it was started, why it could not be run, how it ended; the first two in any order.
    let told = logs::open(host, &spec.name, Some("init")).and_then(|mut logs| logs.remove(0).tail(3));
    let told = String::from_utf8_lossy(&told.unwrap_or_default()).into_owned();
    // Each line begins with its time. The file is the guest's, so nothing of it reaches a terminal as it is.
    let mut events: Vec<_> = told
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, event)| event.escape_debug().to_string())
        .collect();
    let last = events.pop();
    events.retain(|event| event.starts_with("cannot start "));
    events.extend(last);
    events.join("; ")
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
