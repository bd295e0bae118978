//! Carries out the steps of a start, and undoes them.
//!
//! What was done on the host is kept as a list of `Undo`s; the same list takes everything back when a step
//! fails, and when a context has ended. If hostel is killed in the middle, nothing is lost by that: all of it is
//! found again in the kernel by the context's number (`sweep`).

use std::io::Read as _;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;

use super::command::{Command, Session};
use super::host::Host;
use super::inside::{Failure, Inside};
use crate::bpf;
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{HostPid, Isolate, Limits, Xid};
use crate::plan::{Phase, Program, Step};
use crate::sys::cgroup::Group;
use crate::sys::mount::{self, Attr};
use crate::sys::netlink::{Loopback6, Netlink, Owner, Veth};
use crate::sys::seccomp::Filter;
use crate::sys::{clone, idmap, pidfd, rlimit, terminal};

/// How long a killed cgroup may take to become empty. A process in uninterruptible sleep may take longer; then
/// the error says so.
const KILL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// A context that runs, and how to take it from the host again.
pub struct Running {
    /// Its first process.
    pub child: clone::Child,
    /// The master of its terminal, if it was to have one.
    pub(super) terminal: Option<OwnedFd>,
    undo: Vec<Undo>,
    routes: Routes,
}

/// The one netlink socket of a start and of taking it back, opened when the first request is made.
#[derive(Default)]
struct Routes(Option<Netlink>);

impl Routes {
    fn open(&mut self) -> Result<&mut Netlink> {
        if self.0.is_none() {
            self.0 = Some(Netlink::open()?);
        }
        self.0
            .as_mut()
            .ok_or_else(|| internal("a socket that was just opened is gone"))
    }
}

/// One thing that a start has put on the host.
enum Undo {
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

fn group(undo: &[Undo]) -> Option<&Group> {
    undo.iter().find_map(|undo| {
        if let Undo::Cgroup(group, _) = undo {
            Some(group)
        } else {
            None
        }
    })
}

fn clear(host: &Host, undo: Vec<Undo>, mut routes: Routes) -> Result<()> {
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
pub(super) type Claim = nix::fcntl::Flock<OwnedFd>;

/// Claims a cgroup; `None` when somebody else has.
pub(super) fn claim(group: &Group) -> Result<Option<Claim>> {
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

/// A primitive may add a limit to the context that it runs in, but not change one that the context has.
fn refuse_twice(outer: &Limits, inner: &Limits) -> Result<()> {
    let fields = |limits: &Limits| match serde_json::to_value(limits) {
        Ok(serde_json::Value::Object(fields)) => Ok(fields),
        other => Err(internal(&format!("limits as JSON: {other:?}"))),
    };
    let outer = fields(outer)?;
    match fields(inner)?.keys().find(|field| outer.contains_key(*field)) {
        None => Ok(()),
        Some(field) => Err(Error::new(
            Kind::State,
            format!("the context that this runs in has a limit on `{field}` already"),
        )
        .with_hint("give each limit once")),
    }
}

/// Kills what is in a cgroup and waits until it is empty.
pub(super) fn empty_group(group: &Group) -> Result<()> {
    if !group.is_populated()? {
        return Ok(());
    }
    group.kill()?;
    group.wait_empty(std::time::Instant::now() + KILL_DEADLINE)
}

/// The filter of the steps, compiled while memory may still be allocated.
fn filter(steps: &[Step]) -> Result<Option<Filter>> {
    let profile = steps.iter().find_map(|step| match step {
        Step::FilterCalls(profile) => Some(profile),
        _ => None,
    });
    profile.map(super::filter::compile).transpose()
}

/// Everything that the steps of a start share.
struct Launch<'a> {
    host: &'a Host,
    label: &'a str,
    xid: Option<Xid>,
    undo: Vec<Undo>,
    routes: Routes,
    root: Option<OwnedFd>,
    mounts: Vec<(OwnedFd, Option<Attr>)>,
    child: Option<Waiting>,
}

/// A process that waits for the word to go on.
struct Waiting {
    child: clone::Child,
    go: OwnedFd,
    report: OwnedFd,
}

/// Carries out `steps` for `label` (the guest's name, or `context N`), which has the number `xid`.
///
/// On failure everything that was done is undone, and the error says which step failed and why.
pub fn launch(
    host: &Host,
    label: &str,
    xid: Option<Xid>,
    steps: &[Step],
    command: &Command,
) -> Result<Running> {
    let mut launch = Launch::new(host, label, xid);
    let result = launch.carry_out(steps, command);
    match result {
        Ok((child, terminal)) => Ok(Running {
            child,
            terminal,
            undo: launch.undo,
            routes: launch.routes,
        }),
        Err(err) => {
            if let Some(waiting) = launch.child.take() {
                // It may have ended by itself: ESRCH is as good.
                let _ = pidfd::signal(&waiting.child.pidfd, libc::SIGKILL);
                let _ = pidfd::wait(&waiting.child.pidfd);
            }
            Err(match clear(host, launch.undo, launch.routes) {
                Ok(()) => err,
                Err(other) => err.and_also(other),
            })
        }
    }
}

/// Carries out `steps` on this process itself, which becomes the program. Returns only when that failed.
///
/// Only for steps for which [`is_in_place`](crate::plan::is_in_place) holds.
pub fn become_program(host: &Host, steps: &[Step], command: &Command) -> Error {
    let mut launch = Launch::new(host, "context", None);
    match launch.become_program(steps, command) {
        Ok(report) => launch.explain(&report, steps),
        Err(err) => err,
    }
}

impl<'a> Launch<'a> {
    fn new(host: &'a Host, label: &'a str, xid: Option<Xid>) -> Self {
        Self {
            host,
            label,
            xid,
            undo: Vec::new(),
            routes: Routes::default(),
            root: None,
            mounts: Vec::new(),
            child: None,
        }
    }
}

impl Launch<'_> {
    fn become_program(&mut self, steps: &[Step], command: &Command) -> Result<Vec<u8>> {
        let mut isolate = Isolate::NONE;
        for step in steps.iter().filter(|step| step.phase() < Phase::Inside) {
            match step {
                Step::Clone(wanted) => isolate = *wanted,
                other => self.host_step(other).context(|| format!("context: {step}"))?,
            }
        }
        let mut inside = self.inside(isolate, steps, command)?;
        clone::unshare(flags(isolate))?;
        let (index, failure) = inside.carry_out();
        Ok(report(index, &failure))
    }

    fn carry_out(&mut self, steps: &[Step], command: &Command) -> Result<(clone::Child, Option<OwnedFd>)> {
        let mut words: &[u8] = b"gx";
        for step in steps.iter().filter(|step| step.phase() < Phase::Inside) {
            if step.phase() == Phase::Along && words.len() == 2 {
                self.say(&words[..1])?;
                words = &words[1..];
            }
            let result = match step {
                Step::Clone(isolate) => self.spawn(*isolate, steps, command),
                other => self.host_step(other),
            };
            result.context(|| format!("{}: {step}", self.label))?;
        }
        self.say(words)?;
        self.until_it_runs(steps, command)
    }

    /// Says to the new process that it may carry out its steps, and that it may run the program.
    fn say(&self, words: &[u8]) -> Result<()> {
        match nix::unistd::write(&self.waiting()?.go, words) {
            // EPIPE: it has ended already, and its report says why.
            Ok(_) | Err(Errno::EPIPE) => Ok(()),
            Err(errno) => Err(Error::os(format!("{}: wake the process", self.label), errno)),
        }
    }

    fn host_step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Cgroup(limits) => {
                let root = self.host.cgroup_root()?;
                let name = self.number()?.cgroup_name();
                let group = Group::create(root, &name, limits)?;
                let claim =
                    claim(&group)?.ok_or_else(|| Error::new(Kind::Busy, "another command makes it"))?;
                self.undo.push(Undo::Cgroup(group, claim));
            }
            Step::Narrow(limits) => {
                let group = self.own_group()?;
                refuse_twice(&group.read_limits()?, limits)?;
                group.narrow(limits)?;
            }
            Step::Admit(addrs) => self.admit(addrs.as_deref())?,
            Step::Address(net, device) => {
                let xid = self.number()?;
                let netlink = self.routes.open()?;
                let index = netlink.device(device)?.ok_or_else(|| {
                    Error::new(
                        Kind::NotFound,
                        format!("the host has no network device `{device}`"),
                    )
                    .with_hint("`ip link` lists them")
                })?;
                netlink.add_address(index, *net, Owner(xid))?;
                self.undo.push(Undo::Address(index, *net));
            }
            Step::Loopback6(_) => {
                let xid = self.number()?;
                if self.routes.open()?.ensure_loopback6(xid)? == Loopback6::Added {
                    self.undo.push(Undo::Loopback6(xid));
                }
            }
            Step::OpenRoot(path) => {
                let tree = open_tree(path, false)?;
                if !mount_is_dir(&tree)? {
                    return Err(Error::new(
                        Kind::Invalid,
                        format!("`{}` is not a directory", path.display()),
                    ));
                }
                // No device file of the tree opens, whoever made it there.
                mount::set_attr(&tree, Attr::NODEV).context(|| "set its attributes")?;
                self.root = Some(tree);
            }
            Step::OpenMount(wanted) => {
                let tree = open_tree(&wanted.source, false)?;
                let mut attr = Attr::NOSUID.and(Attr::NODEV);
                if wanted.readonly {
                    attr = attr.and(Attr::RDONLY);
                }
                if wanted.noexec {
                    attr = attr.and(Attr::NOEXEC);
                }
                // Attributes go on before the owners are mapped and long before anyone can reach it.
                mount::set_attr(&tree, attr).context(|| "set its attributes")?;
                self.mounts.push((tree, wanted.idmap.then_some(attr)));
            }
            Step::MapIds(xid) => clone::map_ids(self.waiting()?.child.pid, xid.id_base(), Xid::IDS)?,
            Step::MapOwners => self.map_owners()?,
            Step::Cable(cable) => {
                let xid = self.number()?;
                let netns = namespace_of(self.waiting()?.child.pid)?;
                let veth = Veth {
                    xid,
                    addresses: &cable.addresses,
                    gateways: &cable.gateways,
                    bridge: cable.bridge.as_deref(),
                };
                self.routes.open()?.create_veth(&veth, netns.as_fd())?;
                self.undo.push(Undo::Cable(xid));
            }
            Step::Rlimit(kind, limit) => rlimit::set(Some(self.waiting()?.child.pid), *kind, *limit)?,
            Step::Nice(nice) => rlimit::set_nice(self.waiting()?.child.pid, *nice)?,
            other => return Err(internal(&format!("`{other}` is no step of the host's"))),
        }
        Ok(())
    }

    fn group(&self) -> Option<&Group> {
        group(&self.undo)
    }

    fn number(&self) -> Result<Xid> {
        self.xid
            .ok_or_else(|| internal("a step that needs a context id, without one"))
    }

    fn waiting(&self) -> Result<&Waiting> {
        self.child
            .as_ref()
            .ok_or_else(|| internal("a step on a process that is not there yet"))
    }

    fn admit(&mut self, addrs: Option<&[IpAddr]>) -> Result<()> {
        let xid = self.number()?;
        let (id, is_own) = match self.group() {
            Some(group) => (group.id()?, false),
            // A chained primitive: the cgroup that it is in was made by the one around it.
            None => (self.own_group()?.id()?, true),
        };
        let fence = self.host.fence()?;
        if is_own
            && fence
                .entries()?
                .iter()
                .any(|e| e.cgroup_id == id && e.rule.mode != bpf::Mode::Open)
        {
            return Err(Error::new(
                Kind::State,
                format!("context {xid} is confined to addresses already"),
            )
            .with_hint("give all addresses to one `bind`"));
        }
        let mode = match addrs {
            None => bpf::Mode::Open,
            Some(addrs) => bpf::Mode::Bind {
                v4: addrs
                    .iter()
                    .filter_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None })
                    .collect(),
                v6: addrs
                    .iter()
                    .filter_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None })
                    .collect(),
                raw: false,
            },
        };
        fence
            .admit(id, &bpf::Rule::new(xid, mode))
            .map_err(|err| match err.kind() {
                // Of a number, `Exists` says that another may be free: of an address it says no such thing.
                Kind::Exists => err.with_kind(Kind::State),
                _ => err,
            })?;
        self.undo.push(if is_own {
            Undo::Own(id, xid)
        } else {
            Undo::Admitted(id)
        });
        Ok(())
    }

    /// The cgroup that hostel itself is in.
    fn own_group(&self) -> Result<Group> {
        let group = Group::open(self.host.cgroup_root()?, &self.number()?.cgroup_name())?;
        group.ok_or_else(|| internal("the cgroup of this process is gone"))
    }

    /// Maps the owners of what was opened, now that the user namespace has its ids. The descriptors are shared
    /// with the waiting process, so what is mapped here is mapped there.
    fn map_owners(&mut self) -> Result<()> {
        let userns = idmap::of(self.waiting()?.child.pid)?;
        if let Some(root) = &self.root {
            map_owners(root, &userns, Attr::NODEV)?;
        }
        for (tree, attr) in &self.mounts {
            if let Some(attr) = attr {
                map_owners(tree, &userns, *attr)?;
            }
        }
        Ok(())
    }

    /// What the new process is given.
    fn inside<'b>(&self, isolate: Isolate, steps: &'b [Step], command: &'b Command) -> Result<Inside<'b>> {
        let needs_tree = self.root.is_some();
        Ok(Inside {
            steps,
            command,
            root: duplicate(self.root.as_ref())?,
            mounts: self
                .mounts
                .iter()
                .map(|(tree, _)| tree.try_clone())
                .collect::<Result<_, _>>()
                .context(|| "duplicate")?,
            sys: if needs_tree && !isolate.net {
                Some(host_sys()?)
            } else {
                None
            },
            payload: None,
            filter: filter(steps)?,
            words: None,
            init: match steps.last() {
                Some(Step::Exec(Program::Command(_))) | None => None,
                Some(_) => Some(super::init_config::memfd()?),
            },
            has_session: false,
        })
    }

    fn spawn(&mut self, isolate: Isolate, steps: &[Step], command: &Command) -> Result<()> {
        let mut inside = self.inside(isolate, steps, command)?;
        let (words, go) = crate::sys::file::pipe()?;
        inside.words = Some(words);
        let (report, report_write) = crate::sys::file::pipe()?;
        let is_kept = matches!(steps.last(), Some(Step::Exec(Program::Keeper(_))));
        let keeper = match self.group() {
            Some(group) if is_kept => Some(group.child(super::KEEPER)?),
            _ => None,
        };
        let cgroup = keeper
            .as_ref()
            .map(AsFd::as_fd)
            .or_else(|| self.group().map(Group::fd));
        if is_kept && let Some(group) = self.group() {
            let owner = if isolate.user { self.number()?.id_base() } else { 0 };
            inside.payload = Some(group.delegate(super::PAYLOAD, owner)?);
        }
        let child = clone::spawn(flags(isolate), cgroup, || {
            // Its copy of the writing end goes, so that hostel's death is seen as end of file.
            let _ = nix::unistd::close(go.as_raw_fd());
            child(&report_write, &mut inside)
        })?;
        let pid = child.pid;
        self.child = Some(Waiting { child, go, report });
        // v1 hierarchies know no birth: it is moved while it waits, before it can make another process.
        let limits = steps.iter().find_map(|step| match step {
            Step::Cgroup(limits) => Some(limits),
            _ => None,
        });
        match (self.group(), limits) {
            (Some(group), Some(limits)) => group.attach_limited(pid, limits),
            _ => Ok(()),
        }
    }

    /// Waits until the program runs or a step has failed, and takes its terminal on the way.
    fn until_it_runs(
        &mut self,
        steps: &[Step],
        command: &Command,
    ) -> Result<(clone::Child, Option<OwnedFd>)> {
        let waiting = self
            .child
            .take()
            .ok_or_else(|| internal("a plan without a process"))?;
        drop(waiting.go);
        let terminal = match &command.session {
            Session::Terminal { host, .. } => take_terminal(host, &waiting.report).inspect_err(|_| {
                // It waits to be told that its terminal was taken. ESRCH: it has just ended.
                let _ = pidfd::signal(&waiting.child.pidfd, libc::SIGKILL);
                let _ = pidfd::wait(&waiting.child.pidfd);
            })?,
            Session::Callers | Session::Own => None,
        };
        let mut report = Vec::new();
        std::fs::File::from(waiting.report)
            .read_to_end(&mut report)
            .context(|| format!("{}: wait for the process", self.label))?;
        if report.is_empty() {
            // The pipe was closed by the exec. A process that died before it is found by whoever waits.
            return Ok((waiting.child, terminal));
        }
        pidfd::wait(&waiting.child.pidfd)?;
        Err(self.explain(&report, steps))
    }

    fn explain(&self, report: &[u8], steps: &[Step]) -> Error {
        let Some((head, what)) = report.split_first_chunk::<8>() else {
            return internal("a short report");
        };
        let (index, errno) = unpack(*head);
        let errno = Errno::from_raw(errno);
        let what = String::from_utf8_lossy(what);
        let step = steps
            .get(index)
            .map_or_else(|| "run".to_owned(), ToString::to_string);
        let message = if what.is_empty() {
            format!("{}: {step}", self.label)
        } else {
            format!("{}: {step}: {what}", self.label)
        };
        let err = Error::os(message, errno);
        match (steps.get(index), errno) {
            (Some(Step::Exec(_)), Errno::ENOENT) => err.with_kind(Kind::NotFound),
            (Some(Step::Pivot), Errno::EINVAL) => err.with_hint(
                "the host's root is an initramfs, which cannot be pivoted away from (pivot_root(2))",
            ),
            _ => err,
        }
    }
}

/// The master of the new process's terminal; `None` when the process has failed before, and says why.
fn take_terminal(socket: &OwnedFd, report: &OwnedFd) -> Result<Option<OwnedFd>> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [
        PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        PollFd::new(report.as_fd(), PollFlags::POLLIN),
    ];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[0].any().unwrap_or(false) => return terminal::receive(socket.as_fd()).map(Some),
            Ok(_) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::os("wait for the terminal of the process", errno)),
        }
    }
}

/// The new process: waits for the word, carries out its steps, and reports why it could not.
fn child(report: &OwnedFd, inside: &mut Inside<'_>) -> i32 {
    inside.await_word();
    let (index, failure) = inside.carry_out();
    let bytes = self::report(index, &failure);
    // Nobody is left to tell if this fails: hostel sees an ended process.
    let _ = nix::unistd::write(report, &bytes);
    125
}

/// A failure on its way through a pipe.
fn report(index: usize, failure: &Failure) -> Vec<u8> {
    let mut bytes = pack(index, failure.errno as i32).to_vec();
    bytes.extend(failure.what.as_bytes());
    bytes
}

/// The head of a report: the step's index and the errno.
fn pack(index: usize, errno: i32) -> [u8; 8] {
    (((index as u64) << 32) | u64::from(errno.cast_unsigned())).to_ne_bytes()
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the two halves of what `pack` put together"
)]
fn unpack(head: [u8; 8]) -> (usize, i32) {
    let both = u64::from_ne_bytes(head);
    ((both >> 32) as usize, (both as u32).cast_signed())
}

fn flags(isolate: Isolate) -> CloneFlags {
    let all = [
        (isolate.pid, CloneFlags::CLONE_NEWPID),
        (isolate.ipc, CloneFlags::CLONE_NEWIPC),
        (isolate.uts, CloneFlags::CLONE_NEWUTS),
        (isolate.mount, CloneFlags::CLONE_NEWNS),
        (isolate.user, CloneFlags::CLONE_NEWUSER),
        (isolate.net, CloneFlags::CLONE_NEWNET),
    ];
    all.into_iter()
        .filter_map(|(is_own, flag)| is_own.then_some(flag))
        .collect()
}

/// A detached copy of the mount that `path` of the host is on, seen from `path`.
fn open_tree(path: &std::path::Path, is_recursive: bool) -> Result<OwnedFd> {
    let name = super::inside::c_path(path).context(|| format!("open `{}`", path.display()))?;
    let tree =
        mount::clone_tree(None, &name, is_recursive).context(|| format!("open `{}`", path.display()))?;
    Ok(tree)
}

fn mount_is_dir(tree: &OwnedFd) -> Result<bool> {
    let stat = nix::sys::stat::fstat(tree).context(|| "stat")?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn map_owners(tree: &OwnedFd, userns: &OwnedFd, attr: Attr) -> Result<()> {
    mount::map_owners(tree, userns, attr).map_err(|errno| {
        let err = Error::os("map the owners of a mount", errno);
        match errno {
            Errno::EINVAL => err.with_kind(Kind::Unsupported).with_hint(
                "this file system cannot be id-mapped; ext4, xfs and btrfs can, tmpfs since Linux 6.3",
            ),
            _ => err,
        }
    })
}

/// The host's sysfs without what is mounted in it (cgroups, debugfs, bpf), read-only.
fn host_sys() -> Result<OwnedFd> {
    let tree = mount::clone_tree(None, c"/sys", false).context(|| "open `/sys`")?;
    mount::set_attr(&tree, Attr::DATA.and(Attr::RDONLY)).context(|| "make `/sys` read-only")?;
    Ok(tree)
}

fn namespace_of(pid: HostPid) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/net");
    Ok(std::fs::File::open(&path)
        .context(|| format!("open `{path}`"))?
        .into())
}

fn duplicate(fd: Option<&OwnedFd>) -> Result<Option<OwnedFd>> {
    fd.map(|fd| fd.as_fd().try_clone_to_owned())
        .transpose()
        .context(|| "duplicate a descriptor")
}

fn internal(what: &str) -> Error {
    Error::new(Kind::Internal, what.to_owned())
}
