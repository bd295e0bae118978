//! `hostel exec` and `hostel enter`: a command inside a guest that runs.
//!
//! The new process is born in the guest's cgroup and process namespace, so it can never be outside of its limits.
//! Until it has joined everything it cannot be traced from inside (it is not dumpable, CVE-2016-9962), and nothing
//! of the host is open in it but what it was given (CVE-2024-21626).

use std::ffi::OsString;
use std::io::{IsTerminal, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;

use super::command::Command;
use super::context::Outcome;
use super::host::Host;
use super::inside::Failure;
use super::relay::{Pipes, relay, relay_pipes};
use super::users::{self, UserSpec};
use super::{observe, start};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{CapSet, Context, GuestName, Init, NetMode, Span};
use crate::storage::inside::Inside;
use crate::storage::state::Applied;
use crate::sys::pidfd::{self, Ended};
use crate::sys::seccomp::{self, Filter};
use crate::sys::{caps, clone, landlock, rlimit, terminal};

/// Whether the command gets a terminal of the guest's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Terminal {
    /// When the caller's standard input and output are terminals.
    #[default]
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// What to run.
#[derive(Debug, Default)]
pub struct ExecRequest {
    /// The program and its arguments; empty: the user's login shell.
    pub argv: Vec<OsString>,
    /// Added to the guest's environment.
    pub env: Vec<(OsString, OsString)>,
    /// As which user; root without it.
    pub user: Option<UserSpec>,
    /// In which directory; `/` without it, the home directory for a login shell.
    pub dir: Option<PathBuf>,
    /// With a terminal or not.
    pub terminal: Terminal,
}

/// Namespaces that a guest's process has of its own. All are joined at once, but for the process namespace, which
/// only children are born into.
const JOINED: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Runs a command in a guest, with the caller's standard streams, and waits for it.
pub fn exec(host: &Host, name: &GuestName, request: &ExecRequest) -> Result<Ended> {
    let applied = observe::applied(host, name)?;
    let wants_terminal = match request.terminal {
        Terminal::Yes => true,
        Terminal::No => false,
        Terminal::Auto => std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
    };
    if wants_terminal {
        let (ours, theirs) = socket_pair()?;
        let child = join(host, &applied, request, Streams::Terminal(theirs))?;
        let master = match terminal::receive(ours.as_fd()) {
            Ok(master) => master,
            Err(err) => return Err(child.why_not(&applied, err)),
        };
        drop(ours);
        child.confirm(&applied)?;
        return relay(master, &child.child.pidfd);
    }
    let (pipes, fds) = stand_ins()?;
    let child = join(host, &applied, request, Streams::Fds(fds))?;
    child.confirm(&applied)?;
    relay_pipes(pipes, &child.child.pidfd)
}

/// The same with these descriptors as its standard streams, and an end after `timeout`: SIGTERM, and SIGKILL five
/// seconds later. They must not be terminals of the host's.
pub fn exec_with(
    host: &Host,
    name: &GuestName,
    request: &ExecRequest,
    fds: Vec<OwnedFd>,
    timeout: Option<Span>,
) -> Result<Outcome> {
    let applied = observe::applied(host, name)?;
    let child = join(host, &applied, request, Streams::Fds(fds))?;
    child.confirm(&applied)?;
    super::context::wait(&child.child, false, timeout)
}

/// The same with nothing to read and nobody to read what it writes: for health checks and stops.
pub(super) fn exec_quietly(host: &Host, applied: &Applied, request: &ExecRequest) -> Result<Joined> {
    let null = || -> Result<OwnedFd> {
        let file = std::fs::File::options().read(true).write(true).open("/dev/null");
        Ok(file.context(|| "open `/dev/null`")?.into())
    };
    let child = join(
        host,
        applied,
        request,
        Streams::Fds(vec![null()?, null()?, null()?]),
    )?;
    child.confirm(applied)?;
    Ok(child)
}

/// The caller's streams for the command: its own where they are no terminal, else a pipe that hostel copies. A
/// terminal of the host's is never open in a guest: TIOCSTI would type into it.
pub(super) fn stand_ins() -> Result<(Pipes, Vec<OwnedFd>)> {
    let mut pipes = Pipes::default();
    let mut fds = Vec::new();
    let own = |fd: std::os::fd::BorrowedFd| fd.try_clone_to_owned().context(|| "duplicate a standard stream");
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let (read, write) = crate::sys::file::pipe()?;
        pipes.stdin = Some(write);
        fds.push(read);
    } else {
        fds.push(own(stdin.as_fd())?);
    }
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        let (read, write) = crate::sys::file::pipe()?;
        pipes.stdout = Some(read);
        fds.push(write);
    } else {
        fds.push(own(stdout.as_fd())?);
    }
    let stderr = std::io::stderr();
    if stderr.is_terminal() {
        let (read, write) = crate::sys::file::pipe()?;
        pipes.stderr = Some(read);
        fds.push(write);
    } else {
        fds.push(own(stderr.as_fd())?);
    }
    Ok((pipes, fds))
}

enum Streams {
    /// These become 0, 1 and 2.
    Fds(Vec<OwnedFd>),
    /// A terminal of the guest's, whose master goes to hostel by this socket.
    Terminal(OwnedFd),
}

/// A process that has been sent into a guest.
pub(super) struct Joined {
    pub(super) child: clone::Child,
    report: OwnedFd,
}

impl Joined {
    /// Waits until the command runs; an error when it could not.
    fn confirm(&self, applied: &Applied) -> Result<()> {
        let mut bytes = Vec::new();
        let mut report = std::fs::File::from(self.report.try_clone().context(|| "duplicate")?);
        report
            .read_to_end(&mut bytes)
            .context(|| "wait for the command")?;
        let Some((head, what)) = bytes.split_first_chunk::<4>() else {
            return Ok(());
        };
        pidfd::wait(&self.child.pidfd)?;
        let errno = Errno::from_raw(i32::from_ne_bytes(*head));
        let what = String::from_utf8_lossy(what);
        let name = &applied.spec.name;
        // A failure that is no system call's carries no errno.
        let err = if errno == Errno::UnknownErrno {
            Error::new(Kind::NotFound, format!("{name}: {what}"))
        } else {
            Error::os(format!("{name}: {what}"), errno)
        };
        Err(if errno == Errno::ENOENT {
            err.with_kind(Kind::NotFound)
        } else {
            err
        })
    }

    /// The process's own reason, if it gave one, is better than what hostel saw of it.
    fn why_not(&self, applied: &Applied, seen: Error) -> Error {
        match self.confirm(applied) {
            Err(reason) => reason,
            Ok(()) => seen,
        }
    }
}

fn join(host: &Host, applied: &Applied, request: &ExecRequest, streams: Streams) -> Result<Joined> {
    let spec = &applied.spec;
    let started = applied.started.as_ref().unwrap_or(spec);
    let group = observe::running_group(host, &spec.name, applied.xid)?;
    if group.is_frozen()? {
        return Err(
            Error::new(Kind::State, format!("guest `{}` is paused", spec.name))
                .with_hint(format!("`hostel resume {}` lets it go on", spec.name)),
        );
    }
    let init = observe::guest_init(&spec.name, started, &group)?;
    let target = pidfd::open(init)?;
    let context = Context::of_guest(started, applied.xid, host.layout.rootfs(&spec.name));
    let mut inside = Inner {
        target,
        namespaces: if started.net.mode == NetMode::Bind || started.net.mode == NetMode::Host {
            JOINED
        } else {
            JOINED | CloneFlags::CLONE_NEWNET
        },
        caps: context.caps.unwrap_or(CapSet::EMPTY),
        is_scoped: context.scope_abstract_sockets,
        filter: context
            .profile()
            .as_ref()
            .map(super::filter::compile)
            .transpose()?,
        no_new_privs: context.no_new_privs,
        env: start::environment(started),
        request,
        streams: Some(streams),
    };
    let payload = match started.init {
        Init::Hostel => None,
        Init::Own(_) => Some(group.child(super::ENTERED)?),
    };
    let (report, report_write) = crate::sys::file::pipe()?;
    let (go_read, go) = crate::sys::file::pipe()?;
    let cgroup = payload.as_ref().map_or(group.fd(), AsFd::as_fd);
    // The child is born into the guest's process namespace; this process stays where it is.
    let own = std::fs::File::open("/proc/self/ns/pid").context(|| "open `/proc/self/ns/pid`")?;
    pidfd::join(&inside.target, CloneFlags::CLONE_NEWPID)
        .context(|| format!("{}: join its process namespace", spec.name))?;
    let child = clone::spawn(CloneFlags::empty(), Some(cgroup), || {
        let _ = nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(&go));
        let mut word = [0];
        if nix::unistd::read(&go_read, &mut word) != Ok(1) {
            return 125;
        }
        let Failure { errno, what } = inside.enter();
        let mut bytes = (errno as i32).to_ne_bytes().to_vec();
        bytes.extend(what.as_bytes());
        let _ = nix::unistd::write(&report_write, &bytes);
        125
    });
    pidfd::join(&own, CloneFlags::CLONE_NEWPID).context(|| "return to the host's process namespace")?;
    let child = child?;
    let prepared = prepare(&group, &child, started);
    if let Err(err) = prepared.and_then(|()| {
        nix::unistd::write(&go, b"g")
            .map(drop)
            .context(|| "wake the process")
    }) {
        let _ = pidfd::signal(&child.pidfd, libc::SIGKILL);
        pidfd::wait(&child.pidfd)?;
        return Err(err);
    }
    Ok(Joined { child, report })
}

/// What must be done from outside, where the privilege is.
fn prepare(group: &crate::sys::cgroup::Group, child: &clone::Child, spec: &crate::guest::Spec) -> Result<()> {
    group.attach(child.pid)?;
    for (kind, limit) in &spec.limits.rlimits {
        rlimit::set(Some(child.pid), *kind, *limit)?;
    }
    spec.limits
        .nice
        .map_or(Ok(()), |nice| rlimit::set_nice(child.pid, nice))
}

/// The new process's side.
struct Inner<'a> {
    target: OwnedFd,
    namespaces: CloneFlags,
    caps: CapSet,
    is_scoped: bool,
    /// The filter of its system calls.
    filter: Option<Filter>,
    no_new_privs: bool,
    env: std::collections::BTreeMap<String, String>,
    request: &'a ExecRequest,
    streams: Option<Streams>,
}

impl Inner<'_> {
    /// Joins the guest and runs the command. Returns only when that failed.
    fn enter(&mut self) -> Failure {
        match self.try_enter() {
            Ok(failure) | Err(failure) => failure,
        }
    }

    fn try_enter(&mut self) -> Result<Failure, Failure> {
        let at = |what: &'static str| {
            move |errno| Failure {
                errno,
                what: what.into(),
            }
        };
        clone::set_dumpable(false)?;
        pidfd::join(&self.target, self.namespaces).map_err(at("join its namespaces"))?;
        clone::become_user(0, 0, &[]).map_err(at("become its root"))?;
        // It was undumpable before, and to change ids makes it so again; nothing may make it dumpable before exec.
        nix::unistd::chdir(c"/").map_err(at("enter its root"))?;

        let root = nix::fcntl::open(
            c"/",
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .map_err(at("open its root"))?;
        let guest = Inside::from_fd(root, "guest");
        let root_user = UserSpec::root();
        let wanted = self.request.user.as_ref().unwrap_or(&root_user);
        let user = match users::look_up(&guest, wanted) {
            Ok(user) => user,
            // A guest without `/etc/passwd` has a root all the same.
            Err(_) if self.request.user.is_none() => users::User {
                name: "root".into(),
                uid: 0,
                gid: 0,
                groups: Vec::new(),
                home: "/".into(),
                shell: "/bin/sh".into(),
            },
            Err(err) => {
                return Err(Failure {
                    errno: Errno::UnknownErrno,
                    what: err.to_string(),
                });
            }
        };
        drop(guest);

        let mut command = self.command(&user);
        match self.streams.take() {
            Some(Streams::Fds(fds)) => {
                // A session of its own: a signal to its process group reaches nothing of the host's.
                nix::unistd::setsid().map_err(at("make a session"))?;
                command.fds = fds;
            }
            Some(Streams::Terminal(socket)) => {
                let master = terminal::open_inside().map_err(at("open a terminal of the guest"))?;
                terminal::hand_over(socket.as_fd(), master.as_fd()).map_err(at("hand over the terminal"))?;
                terminal::take_slave(master, user.uid).map_err(at("take the terminal"))?;
            }
            None => return Err(at("no streams")(Errno::EBADF)),
        }
        if self.is_scoped {
            landlock::scope_abstract_sockets().map_err(at("cut it off from abstract sockets of others"))?;
        }
        // While there is CAP_SYS_ADMIN, without which no_new_privs would be asked for.
        if let Some(filter) = &self.filter {
            filter.install().map_err(at("filter its system calls"))?;
        }
        if self.no_new_privs {
            seccomp::no_new_privs().map_err(at("let it gain no right"))?;
        }
        // The bounding set first, while setting it is still allowed; then the user, which clears the rest.
        caps::restrict_raw(self.caps.bits()).map_err(at("drop capabilities"))?;
        if user.uid != 0 || user.gid != 0 || !user.groups.is_empty() {
            clone::become_user(user.uid, user.gid, &user.groups).map_err(at("become the user"))?;
        }
        if let Some(dir) = &command.dir {
            nix::unistd::chdir(dir.as_path()).map_err(|errno| Failure {
                errno,
                what: format!("enter directory `{}`", dir.display()),
            })?;
        }
        clone::reset_signals();
        clone::close_on_exec_from(3)?;
        Ok(command.exec())
    }

    fn command(&self, user: &users::User) -> Command {
        let mut env = self.env.clone();
        env.insert("HOME".into(), user.home.clone());
        env.insert("USER".into(), user.name.clone());
        env.insert("LOGNAME".into(), user.name.clone());
        env.insert("SHELL".into(), user.shell.clone());
        if let (Some(Streams::Terminal(_)), Ok(term)) = (&self.streams, std::env::var("TERM")) {
            env.insert("TERM".into(), term);
        }
        let mut env: Vec<(OsString, OsString)> = env.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        env.retain(|(key, _)| !self.request.env.iter().any(|(other, _)| other == key));
        env.extend(self.request.env.iter().cloned());
        let is_login = self.request.argv.is_empty();
        Command {
            argv: if is_login {
                vec![user.shell.clone().into(), "-l".into()]
            } else {
                self.request.argv.clone()
            },
            env,
            dir: self
                .request
                .dir
                .clone()
                .or_else(|| is_login.then(|| user.home.clone().into())),
            ..Command::default()
        }
    }
}

pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    // Keeps message boundaries, so that the descriptor and its byte come together.
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .context(|| "make a socket pair")
}
