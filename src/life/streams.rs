//! The standard streams of a command in a context: never a terminal that somebody else reads, into which the command
//! could type (TIOCSTI). It gets a terminal of its own, or pipes where it is to have none, and a process beside hostel
//! copies.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::sched::CloneFlags;

use super::command::{Command, Session};
use super::exec::{self, Terminal};
use super::relay::{self, Pipes};
use crate::error::{Context as _, Result};
use crate::sys::clone::{self, Child};
use crate::sys::{pidfd, signal, terminal};

/// What is copied while a command runs.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pipes: Option<Pipes>,
}

impl Streams {
    /// Decides what `command` gets, and prepares it. One that has been given its streams keeps them.
    pub(super) fn prepare(command: &mut Command) -> Result<Self> {
        if !command.fds.is_empty() || !terminal::is_exposed() {
            return Ok(Self::default());
        }
        let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
        let has_terminal = stdin.is_terminal() && stdout.is_terminal();
        let wants = match command.terminal {
            Terminal::Yes => true,
            Terminal::Auto => has_terminal && terminal::is_foreground(stdin.as_fd()),
            Terminal::No => false,
        };
        if wants {
            let (host, inside) = exec::socket_pair()?;
            command.session = Session::Terminal { host, inside };
            return Ok(Self::default());
        }
        let (mut pipes, mut fds) = exec::stand_ins()?;
        if pipes.stdin.is_some() && !terminal::is_foreground(stdin.as_fd()) {
            // To read the terminal from the background would stop the copying process.
            pipes.stdin = None;
            let null = std::fs::File::open("/dev/null").context(|| "open `/dev/null`")?;
            fds[0] = null.into();
        }
        command.fds = fds;
        command.session = Session::Own;
        let is_copied = pipes.stdin.is_some() || pipes.stdout.is_some() || pipes.stderr.is_some();
        Ok(Self {
            pipes: is_copied.then_some(pipes),
        })
    }

    /// Begins to copy for the process that has become the command.
    pub(super) fn begin(
        self,
        command: &mut Command,
        child: &Child,
        master: Option<OwnedFd>,
    ) -> Result<Copying> {
        // The command's ends, which would keep the copying from seeing that they are closed.
        if self.pipes.is_some() {
            command.fds.clear();
        }
        let mut work = match (master, self.pipes) {
            (Some(master), _) => Some(Work::Terminal(master)),
            (None, Some(pipes)) => Some(Work::Pipes(pipes)),
            (None, None) => return Ok(Copying(None)),
        };
        let copier = clone::spawn(CloneFlags::empty(), None, || {
            if clone::die_with_parent().is_err() {
                return 1;
            }
            let copied = match work.take() {
                Some(Work::Terminal(master)) => relay::copy_terminal(master, &child.pidfd),
                Some(Work::Pipes(pipes)) => {
                    // Hostel itself passes signals on.
                    signal::ignore_ends().and_then(|()| relay::copy_pipes(pipes, &child.pidfd))
                }
                None => Ok(()),
            };
            i32::from(copied.is_err())
        })?;
        Ok(Copying(Some(copier)))
    }
}

enum Work {
    Terminal(OwnedFd),
    Pipes(Pipes),
}

/// The process that copies.
pub(super) struct Copying(Option<Child>);

impl Copying {
    /// Waits until everything that the command wrote is where it belongs, and the terminal is as it was.
    pub(super) fn finish(self) -> Result<()> {
        match self.0 {
            Some(copier) => pidfd::wait(&copier.pidfd).map(drop),
            None => Ok(()),
        }
    }
}
