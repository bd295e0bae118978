//! `hostel start`: from the applied specification to a running guest.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::command::{Command, NOT_A_PROGRAM, Session};
use super::hooks::{HookRunner, run_hook};
use super::host::Host;
use super::init_config::{self, InitConfig};
use super::launch::{Running, launch};
use super::masks::Ids;
use super::{logs, masks, observe, stop, volume};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::start_of_image::StartOfImage;
use crate::guest::{Allow, CapSet, Context, GuestName, HookMoment, Init, NetMode, Spec, Xid};
use crate::plan::{self, Program, Step};
use crate::storage::files::{self, Access, Files};
use crate::storage::state::{self, Applied};
use crate::storage::{Bounds, bounds, disk_image, emulator, ids, xid};
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
        if observe::lives(&group)? {
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
    let finished = state::write_started(&host.layout, name, &applied)
        .and_then(|()| run_hook(hooks, &applied, HookMoment::PostStart));
    finished.map_err(|err| match stop::kill_and_clear(host, &applied) {
        Ok(()) => err,
        Err(other) => err.and_also(other),
    })
}

/// The steps of a guest's start.
pub fn steps(host: &Host, spec: &Spec, xid: Xid) -> Result<Vec<Step>> {
    let files = files::read(&host.layout, &spec.name)?;
    plan_of(spec, &context(host, spec, xid, &files)?, xid)
}

fn plan_of(spec: &Spec, context: &Context, xid: Xid) -> Result<Vec<Step>> {
    let program = match &spec.init {
        Init::Hostel => Program::HostelInit,
        Init::Own(path) => Program::Keeper(path.clone()),
    };
    plan::launch(context, Some(xid), program)
}

fn context(host: &Host, spec: &Spec, xid: Xid, files: &Files) -> Result<Context> {
    Ok(Context {
        emulator: emulator::way(spec.arch)?.into_emulator(),
        image: (*files == Files::Image).then(|| host.layout.guest_dir(&spec.name).join(disk_image::NAME)),
        layers: files.stack().map(|stack| Box::new(stack.overlay(&host.layout))),
        ..Context::of_guest(spec, xid, host.layout.rootfs(&spec.name))
    })
}

fn bring_up(host: &Host, applied: &Applied) -> Result<()> {
    let spec = &applied.spec;
    refuse(host, spec, applied.xid)?;
    xid::confirm(&host.layout, &spec.name, applied.xid, &ids::taken()?)?;
    // Until it has them mounted.
    let uses = volume::use_all(host, spec)?;
    // Here, where links of the guest's tree cannot lead out of it; the process inside only opens them.
    let files = files::read(&host.layout, &spec.name)?;
    // They may have been taken away since they were set: quotas are a setting of the mount.
    let bounds = Bounds::of(&spec.limits, applied.xid);
    bounds::hold(&host.layout, &host.layout.guest_dir(&spec.name), &files, &bounds)?;
    if !spec.mounts.is_empty() {
        let inside = files::open_as(&host.layout, &spec.name, &files, Access::Write)?;
        crate::storage::fill::make_targets(&inside, spec)?;
    }
    let context = context(host, spec, applied.xid, &files)?;
    let steps = plan_of(spec, &context, applied.xid)?;
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context(|| "open `/dev/null`")?;
    let null = || null.try_clone().map(Into::into).context(|| "duplicate");
    let filter = match (&spec.init, context.profile()) {
        (Init::Own(_), Some(profile)) => super::filter::compile(&profile)?.to_bytes(),
        _ => Vec::new(),
    };
    let config = init_config::config_memfd(&InitConfig {
        init: &spec.init,
        services: &applied.services(),
        env: &applied.env(),
        caps: context.caps.unwrap_or(CapSet::EMPTY),
        hostname: spec.effective_hostname(),
        stop_timeout: spec.stop.timeout,
        mask: &masks::hidden_paths(if spec.userns { Ids::Own } else { Ids::Hosts }),
        readonly: &masks::READONLY_PATHS,
        has_cgroup: !spec.init.is_hostel(),
        has_report: !spec.init.is_hostel(),
        filter: &filter,
        no_new_privs: spec.no_new_privs,
        no_users: !context.is_nested(),
    })?;
    let mut command = Command {
        fds: vec![null()?, null()?, null()?, config],
        // Whoever starts it may be a script with a terminal: its Ctrl-C and its hanging up are no concern of the guest's.
        session: Session::Own,
        ..Command::default()
    };
    let mut told = None;
    if !spec.init.is_hostel() {
        let (read, write) = crate::sys::file::pipe()?;
        (told, command.report) = (Some(read), Some(write));
    }
    let running = launch(host, spec.name.as_str(), Some(applied.xid), &steps, &command)?;
    // It has them mounted now, and counts as a user.
    drop(uses);
    // This copy too, or the pipe would never end.
    drop(command);
    let result = match told {
        Some(told) => wait_for_own(host, applied, &running, told),
        None => confirm(&running),
    };
    match result {
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

/// That the process that became hostel's init has not ended, by a kill, before it was that.
fn confirm(running: &Running) -> Result<()> {
    if pidfd::wait_until(running.child.pidfd.as_fd(), Some(Instant::now()))? {
        return Err(Error::new(
            Kind::External,
            "the guest's first process ended at once",
        ));
    }
    Ok(())
}

/// Waits until the guest's own init is up: the keeper has forked and executed it, and it has come so far that it
/// waits for something, a child or an event, as every init does. One that cannot be executed, or ends before, fails
/// the start, however slow the host is.
fn wait_for_own(host: &Host, applied: &Applied, running: &Running, told: OwnedFd) -> Result<()> {
    let spec = &applied.spec;
    let deadline = Instant::now() + OWN_INIT;
    // Until its end, which the exec is. A keeper that dies closes it too.
    if !pidfd::wait_until(told.as_fd(), Some(deadline))? {
        return Err(late());
    }
    let mut report = Vec::new();
    std::fs::File::from(told)
        .read_to_end(&mut report)
        .context(|| "wait for its own init")?;
    if let Some((errno, what)) = report.split_first_chunk() {
        return Err(not_run(spec, i32::from_le_bytes(*errno), what));
    }
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
        // One that works on without a pause is no worse an init.
        let is_late = Instant::now() >= deadline;
        if let Ok(init) = observe::guest_init(&spec.name, spec, group)
            && (proc::is_waiting(init)? || is_late)
        {
            return Ok(());
        }
        if is_late {
            return Err(late());
        }
    }
}

fn late() -> Error {
    Error::new(
        Kind::Timeout,
        format!("its own init did not run within {} s", OWN_INIT.as_secs()),
    )
}

/// What the keeper has told: the guest's own init could not be executed, or what it needs before could not be made.
fn not_run(spec: &Spec, errno: i32, what: &[u8]) -> Error {
    let errno = Errno::from_raw(errno);
    let what = String::from_utf8_lossy(what);
    let message = match &spec.init {
        Init::Own(path) => format!("its own init `{}`: {what}", path.display()),
        Init::Hostel => what.into_owned(),
    };
    let err = Error::os(message, errno);
    match errno {
        Errno::ENOENT => err.with_kind(Kind::NotFound).with_hint(
            "`init` is a path inside the guest; a script needs its interpreter there, a program its loader",
        ),
        Errno::ENOEXEC => err.with_hint(NOT_A_PROGRAM),
        _ => err,
    }
}

/// What the keeper has told last, before it ended itself: how the guest's own init ended.
fn last_words(host: &Host, spec: &Spec) -> String {
    let told = logs::open(host, &spec.name, Some("init")).and_then(|mut logs| logs.remove(0).tail(1));
    let told = String::from_utf8_lossy(&told.unwrap_or_default()).into_owned();
    // The line begins with its time. The file is the guest's, so nothing of it reaches a terminal as it is.
    let event = told.trim_end().split_once(' ').map(|(_, event)| event);
    event.unwrap_or_default().escape_debug().to_string()
}

/// What cannot be had on this host is refused by name, before anything is done.
fn refuse(host: &Host, spec: &Spec, xid: Xid) -> Result<()> {
    host.hierarchies()?.require(&spec.limits)?;
    let on_host_stack = matches!(spec.net.mode, NetMode::Bind | NetMode::Host);
    if on_host_stack && !spec.net.shared_abstract_sockets {
        landlock::require_scoping()?;
    }
    if on_host_stack && !spec.userns {
        refuse_writable_network()?;
    }
    if on_host_stack && spec.allow.contains(&Allow::Ping) {
        require_echo_sockets(xid)?;
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

/// Files of `/proc/net` that root may write set the host's firewall (`xt_recent`) or its packet generator. They are
/// there once for each process, so no mount covers them: where there is one, a guest whose root is the host's cannot be
/// on the host's stack.
fn refuse_writable_network() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut dirs = vec![std::path::PathBuf::from("/proc/self/net")];
    while let Some(dir) = dirs.pop() {
        let list = || format!("list `{}`", dir.display());
        for entry in std::fs::read_dir(&dir).context(list)? {
            let entry = entry.context(list)?;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if meta.is_file() && meta.permissions().mode() & 0o222 != 0 {
                let message = format!(
                    "`userns = false` on the host's network: its root could write `{}`",
                    entry.path().display()
                );
                return Err(Error::new(Kind::Unsupported, message)
                    .with_hint("give it a private network, or leave `userns` on"));
            }
        }
    }
    Ok(())
}

/// On the host's network stack it is the host's setting that says which groups may have echo sockets, and it ends at
/// 2147483647 (`icmp(7)`). hostel does not change it: it holds for everybody.
fn require_echo_sockets(xid: Xid) -> Result<()> {
    const SETTING: &str = "/proc/sys/net/ipv4/ping_group_range";
    let text = std::fs::read_to_string(SETTING).context(|| format!("read `{SETTING}`"))?;
    let mut ends = text.split_whitespace().map(|end| end.parse::<u32>().unwrap_or(0));
    let (first, last) = (ends.next().unwrap_or(1), ends.next().unwrap_or(0));
    let (own_first, own_last) = (xid.id_base(), xid.id_base() + (Xid::IDS - 1));
    if first <= own_first && own_last <= last {
        return Ok(());
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let err = Error::new(
        Kind::Unsupported,
        format!(
            "`allow = {{ \"ping\" }}` needs the groups {own_first} to {own_last} in `net.ipv4.ping_group_range`, which is `{text}`"
        ),
    );
    Err(if xid.get() < 32_768 {
        err.with_hint("write `net.ipv4.ping_group_range = 0 2147483647` into /etc/sysctl.d/hostel.conf and run `sysctl --system`, or give it a private network")
    } else {
        err.with_hint("the kernel ends that range at 2147483647: give the guest an `xid` below 32768, or a private network")
    })
}

/// The environment of what is started in a guest from outside.
pub(super) fn environment(spec: &Spec, image: Option<&StartOfImage>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), super::command::PATH.to_owned()),
        ("container".to_owned(), "hostel".to_owned()),
    ]);
    match image {
        Some(image) => env.extend(image.env(spec)),
        None => env.extend(spec.env.clone()),
    }
    env
}
