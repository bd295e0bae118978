//! `hostel exec` and `hostel enter`: a command inside a guest that runs, and `hostel context --join`: inside a context.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::context::Outcome;
use super::host::Host;
use super::join::{Joined, Streams, join};
use super::observe;
use super::place::Place;
use super::relay::{Pipes, relay, relay_pipes};
use super::users::UserSpec;
use serde::Deserialize;

use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{GuestName, Span, Xid};
use crate::storage::state::Applied;
use crate::storage::xid;
use crate::sys::pidfd::Ended;
use crate::sys::terminal;

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

/// In what a command is run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Whom {
    /// A guest.
    Guest(GuestName),
    /// Whatever has this number: a guest, or a context of `hostel context` or of a script.
    Context(Xid),
}

impl std::fmt::Display for Whom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Whom::Guest(name) => write!(f, "guest `{name}`"),
            Whom::Context(xid) => write!(f, "context {xid}"),
        }
    }
}

impl Whom {
    fn place(&self, host: &Host) -> Result<Place> {
        let number = match self {
            Whom::Guest(name) => return Place::of_guest(host, &observe::applied(host, name)?),
            Whom::Context(number) => *number,
        };
        if let Some(own) = host.own_context()? {
            return Err(Error::new(
                Kind::State,
                format!("this process is in context {own} already and cannot be in another"),
            ));
        }
        match xid::owner(&host.layout, number)? {
            Some(name) => Place::of_guest(host, &observe::applied(host, &name)?),
            None => Place::of_context(host, number, std::env::vars_os().collect()),
        }
    }
}

/// Runs a command in what runs already, with the caller's standard streams, and waits for it.
///
/// # Errors
/// `NotFound` when there is no such guest, or nothing runs under the number; `State` when the guest does not run, or when
/// this process is in a context, from which another cannot be joined.
pub fn exec(host: &Host, whom: &Whom, request: &ExecRequest) -> Result<Ended> {
    let place = whom.place(host)?;
    let wants_terminal = match request.terminal {
        Terminal::Yes => true,
        Terminal::No => false,
        Terminal::Auto => std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
    };
    if wants_terminal {
        let (ours, theirs) = socket_pair()?;
        let child = join(&place, request, Streams::Terminal(theirs))?;
        let master = match terminal::receive(ours.as_fd()) {
            Ok(master) => master,
            Err(err) => return Err(child.why_not(&place.label, err)),
        };
        drop(ours);
        child.confirm(&place.label)?;
        return relay(master, &child.child.pidfd);
    }
    let (pipes, fds) = stand_ins()?;
    let child = join(&place, request, Streams::Fds(fds))?;
    child.confirm(&place.label)?;
    relay_pipes(pipes, &child.child.pidfd)
}

/// The same with these descriptors as its standard streams, and an end after `timeout`: SIGTERM, and SIGKILL five
/// seconds later. They must not be terminals of the host's.
pub fn exec_with(
    host: &Host,
    whom: &Whom,
    request: &ExecRequest,
    fds: Vec<OwnedFd>,
    timeout: Option<Span>,
) -> Result<Outcome> {
    let place = whom.place(host)?;
    let child = join(&place, request, Streams::Fds(fds))?;
    child.confirm(&place.label)?;
    super::context::wait(&child.child, false, timeout)
}

/// The same with nothing to read and nobody to read what it writes: for health checks and stops.
pub(super) fn exec_quietly(host: &Host, applied: &Applied, request: &ExecRequest) -> Result<Joined> {
    let null = || -> Result<OwnedFd> {
        let file = std::fs::File::options().read(true).write(true).open("/dev/null");
        Ok(file.context(|| "open `/dev/null`")?.into())
    };
    let place = Place::of_guest(host, applied)?;
    let child = join(&place, request, Streams::Fds(vec![null()?, null()?, null()?]))?;
    child.confirm(&place.label)?;
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
