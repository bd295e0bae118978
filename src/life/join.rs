//! Sends a process into a context that runs, a guest's or another's, so that it is confined as what is there already is.
//!
//! The new process is born in the context's cgroup and process namespace, so it can never be outside of its limits.
//! Until it has joined everything it cannot be traced from inside (it is not dumpable, CVE-2016-9962), and nothing
//! of the host is open in it but what it was given (CVE-2024-21626).

use std::ffi::OsString;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;

use super::command::{self, Command, NOT_A_PROGRAM};
use super::exec::ExecRequest;
use super::inside::Failure;
use super::place::Place;
use super::users::{self, UserSpec};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::RlimitKind;
use crate::storage::inside::Inside;
use crate::sys::pidfd;
use crate::sys::{caps, clone, file, keyring, landlock, rlimit, seccomp, terminal};

/// The standard streams of whoever comes in.
pub(super) enum Streams {
    /// These become 0, 1 and 2.
    Fds(Vec<OwnedFd>),
    /// A terminal of the context's, whose master goes to hostel by this socket.
    Terminal(OwnedFd),
}

/// A process that has been sent into a context.
pub(super) struct Joined {
    pub(super) child: clone::Child,
    report: OwnedFd,
}

impl Joined {
    /// Waits until the command runs; an error when it could not.
    pub(super) fn confirm(&self, label: &str) -> Result<()> {
        let mut bytes = Vec::new();
        let report = std::fs::File::from(self.report.try_clone().context(|| "duplicate")?);
        // What comes out of a guest has an end, and is escaped.
        report
            .take(MOST_SAID)
            .read_to_end(&mut bytes)
            .context(|| "wait for the command")?;
        let Some((head, what)) = bytes.split_first_chunk::<4>() else {
            return Ok(());
        };
        pidfd::wait(&self.child.pidfd)?;
        let errno = Errno::from_raw(i32::from_ne_bytes(*head));
        let what = escaped(&String::from_utf8_lossy(what));
        // A failure that is no system call's carries no errno.
        let err = if errno == Errno::UnknownErrno {
            Error::new(Kind::NotFound, format!("{label}: {what}"))
        } else {
            Error::os(format!("{label}: {what}"), errno)
        };
        Err(match errno {
            Errno::ENOENT => err.with_kind(Kind::NotFound),
            Errno::ENOEXEC => err.with_hint(NOT_A_PROGRAM),
            _ => err,
        })
    }

    /// The process's own reason, if it gave one, is better than what hostel saw of it.
    pub(super) fn why_not(&self, label: &str, seen: Error) -> Error {
        match self.confirm(label) {
            Err(reason) => reason,
            Ok(()) => seen,
        }
    }
}

/// The longest reason of a process that was sent in.
const MOST_SAID: u64 = 8 << 10;

/// Text without control characters, whoever wrote it.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Sends a process into `place`, which waits for nobody: [`Joined::confirm`] tells whether its command runs.
pub(super) fn join(place: &Place, request: &ExecRequest, streams: Streams) -> Result<Joined> {
    let (report, report_write) = crate::sys::file::pipe()?;
    let (go_read, go) = crate::sys::file::pipe()?;
    let mut inner = Inner {
        place,
        request,
        streams: Some(streams),
        handover: Some(command::handover()?),
    };
    let cgroup = place.birth.as_ref().map_or(place.group.fd(), AsFd::as_fd);
    // The child is born into the context's process namespace; this process stays where it is.
    let own = std::fs::File::open("/proc/self/ns/pid").context(|| "open `/proc/self/ns/pid`")?;
    if place.has_processes {
        pidfd::join(&place.member, CloneFlags::CLONE_NEWPID)
            .context(|| format!("{}: join its process namespace", place.label))?;
    }
    let child = clone::spawn(CloneFlags::empty(), Some(cgroup), || {
        let _ = nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(&go));
        if !file::await_word(&go_read) {
            return 125;
        }
        let Failure { errno, what } = inner.enter(&report_write);
        let mut bytes = (errno as i32).to_ne_bytes().to_vec();
        bytes.extend(what.as_bytes());
        let _ = nix::unistd::write(&report_write, &bytes);
        125
    });
    if place.has_processes {
        pidfd::join(&own, CloneFlags::CLONE_NEWPID).context(|| "return to the host's process namespace")?;
    }
    let child = child?;
    let prepared = prepare(place, &child);
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
fn prepare(place: &Place, child: &clone::Child) -> Result<()> {
    place.group.attach(child.pid)?;
    rlimit::set_all(Some(child.pid), &place.rlimits)?;
    place
        .nice
        .map_or(Ok(()), |nice| rlimit::set_nice(child.pid, nice))
}

/// The new process's side.
struct Inner<'a> {
    place: &'a Place,
    request: &'a ExecRequest,
    streams: Option<Streams>,
    /// What executes the command.
    handover: Option<OwnedFd>,
}

impl Inner<'_> {
    /// Joins the guest and runs the command. Returns only when that failed.
    fn enter(&mut self, report: &OwnedFd) -> Failure {
        match self.try_enter(report) {
            Ok(failure) | Err(failure) => failure,
        }
    }

    fn try_enter(&mut self, report: &OwnedFd) -> Result<Failure, Failure> {
        let at = |what: &'static str| {
            move |errno| Failure {
                errno,
                what: what.into(),
            }
        };
        clone::set_dumpable(false)?;
        let place = self.place;
        if place.filter.is_some() {
            // While the host's root is whom it is counted for.
            keyring::new_session().map_err(at("take a session keyring of its own"))?;
        }
        if !place.namespaces.is_empty() {
            pidfd::join(&place.member, place.namespaces).map_err(at("join its namespaces"))?;
        }
        if place.has_users {
            clone::become_user(0, 0, &[]).map_err(at("become its root"))?;
        }
        if place.filter.is_some() && !place.rlimits.contains_key(&RlimitKind::CORE) {
            rlimit::no_core_raw().map_err(at("keep its crashes from the host"))?;
        }
        // Still undumpable (`become_user` sees to it), and nothing may make it dumpable before exec.
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
        if place.is_scoped {
            landlock::scope_abstract_sockets().map_err(at("cut it off from abstract sockets of others"))?;
        }
        // While there is CAP_SYS_ADMIN, without which no_new_privs would be asked for.
        if let Some(filter) = &place.filter {
            filter.install().map_err(at("filter its system calls"))?;
        }
        if place.no_new_privs {
            seccomp::no_new_privs().map_err(at("let it gain no right"))?;
        }
        // The bounding set first, while setting it is still allowed; then the user, which clears the rest.
        caps::restrict_raw(place.caps.bits()).map_err(at("drop capabilities"))?;
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
        let handover = self.handover.take().ok_or(Errno::EBADF)?;
        Ok(command.exec_in_guest(handover, report))
    }

    fn command(&self, user: &users::User) -> Command {
        let mut env = self.place.env.clone();
        env.insert("HOME".into(), user.home.clone().into());
        env.insert("USER".into(), user.name.clone().into());
        env.insert("LOGNAME".into(), user.name.clone().into());
        env.insert("SHELL".into(), user.shell.clone().into());
        if let (Some(Streams::Terminal(_)), Ok(term)) = (&self.streams, std::env::var("TERM")) {
            env.insert("TERM".into(), term.into());
        }
        let mut env: Vec<(OsString, OsString)> = env.into_iter().collect();
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
