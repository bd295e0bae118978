//! `hostel context`: runs a command in a context, waits for it, and leaves nothing behind.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::command::{Command, Session};
use super::host::Host;
use super::launch::{Running, become_program, launch};
use super::streams::Streams;
use crate::error::{Error, Kind, Result};
use crate::guest::{Bytes, Context, Identity, Span, Xid};
use crate::plan::{self, Program, Step};
use crate::storage::{ids, xid};
use crate::sys::clone::Child;
use crate::sys::pidfd::{self, Ended};
use crate::sys::proc;
use crate::sys::signal::{Noted, Notes};
use crate::sys::terminal;

/// How long a process may take to die of the signal that a timeout sends before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How a command ended and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// Whether its time was over.
    pub is_timed_out: bool,
    /// The most memory that it had, where the kernel counts it.
    pub memory_peak: Option<Bytes>,
    /// The signal that hostel was sent meanwhile, if it was: the command has got it too.
    pub signal: Option<i32>,
}

/// The steps that [`run`] would carry out. Touches nothing; the number of an ephemeral context is only known when
/// it runs, so the highest is shown.
pub fn steps(context: &Context, argv: &[String]) -> Result<Vec<Step>> {
    let xid = match context.identity {
        Identity::Xid(xid) | Identity::Here(xid) => Some(xid),
        Identity::Spectator => Some(Xid::MAX),
        Identity::Ephemeral => needs_number(context).then_some(Xid::MAX),
    };
    plan::launch(context, xid, Program::Command(argv.to_vec()))
}

/// As [`run`], for a program that has nothing else to do: what needs no process of its own (a root, capabilities, a
/// hostname) is done to this process, which then becomes the command. Such a call returns only when it failed.
pub fn chain(
    host: &Host,
    context: &Context,
    command: &mut Command,
    timeout: Option<Span>,
) -> Result<Outcome> {
    // In place there would be nobody to copy between the caller's terminal and the command's.
    let is_alone = timeout.is_none() && (!command.fds.is_empty() || !terminal::is_exposed());
    if is_alone && context.identity == Identity::Ephemeral && !needs_number(context) {
        let steps = plan::launch(context, None, Program::Command(words(command)))?;
        if plan::is_in_place(&steps) {
            return Err(become_program(host, &steps, command));
        }
    }
    run(host, context, command, timeout)
}

fn words(command: &Command) -> Vec<String> {
    command
        .argv
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// Runs `command` in `context` and waits for it; everything of the context is gone when this returns.
///
/// A `timeout` sends SIGTERM, and SIGKILL five seconds later. SIGTERM, SIGHUP and SIGINT that hostel gets meanwhile are
/// passed on.
pub fn run(host: &Host, context: &Context, command: &mut Command, timeout: Option<Span>) -> Result<Outcome> {
    let program = Program::Command(words(command));
    let notes = Notes::begin()?;
    let own = host.own_context()?;
    if let (Some(own), Identity::Xid(_) | Identity::Spectator) = (own, context.identity) {
        return Err(Error::new(
            Kind::State,
            format!("this process is in context {own} already and cannot be in another"),
        )
        .with_hint("give everything to one `hostel context`"));
    }
    let streams = Streams::prepare(command)?;
    let mut running = match context.identity {
        Identity::Here(xid) | Identity::Xid(xid) => start(host, context, Some(xid), program, command)?,
        // Whoever asks is a spectator, several at once, each with ids of its own: not even one another can they touch.
        Identity::Spectator => ephemeral(host, context, &program, command)?,
        Identity::Ephemeral if needs_number(context) => match own {
            // Chained: the outer context's confinement must hold for what the inner one adds.
            Some(xid) => {
                let context = Context {
                    identity: Identity::Here(xid),
                    ..context.clone()
                };
                start(host, &context, Some(xid), program, command)?
            }
            None => ephemeral(host, context, &program, command)?,
        },
        Identity::Ephemeral => start(host, context, None, program, command)?,
    };
    let master = running.terminal.take();
    let waited = match streams.begin(command, &running.child, master) {
        Ok(copying) => {
            // A terminal's Ctrl-C reaches no other session than its own.
            let is_apart = matches!(command.session, Session::Own);
            let waited = wait_noting(&notes, &running.child, context.isolate.pid, is_apart, timeout);
            copying.finish().and(waited)
        }
        Err(err) => {
            send(&running.child, libc::SIGKILL);
            pidfd::wait(&running.child.pidfd).and(Err(err))
        }
    };
    let memory_peak = match running.group() {
        Some(group) => group.memory_peak()?,
        None => None,
    };
    running.clear(host)?;
    waited.map(|outcome| Outcome {
        memory_peak,
        ..outcome
    })
}

/// Whether the host must know the context by a number.
fn needs_number(context: &Context) -> bool {
    context.isolate.user || !context.bind.is_empty() || context.limits != crate::guest::Limits::default()
}

fn start(
    host: &Host,
    context: &Context,
    xid: Option<Xid>,
    program: Program,
    command: &Command,
) -> Result<Running> {
    let steps = plan::launch(context, xid, program)?;
    if let (true, Identity::Xid(xid)) = (context.isolate.user, context.identity) {
        ids::taken()?.require_free(xid)?;
    }
    let label = xid.map_or_else(|| "context".to_owned(), |xid| format!("context {xid}"));
    launch(host, &label, xid, &steps, command)
}

/// Takes a free number from the upper half of the range. The cgroup is the lock: whoever makes it has the number.
fn ephemeral(host: &Host, context: &Context, program: &Program, command: &Command) -> Result<Running> {
    const RANGE: u32 = 16_384;
    // Begins where no other process begins, so that contexts started at once do not all try the same numbers.
    let first = std::process::id() % RANGE;
    let taken = ids::taken()?;
    for i in 0..RANGE {
        let xid = Xid::new(Xid::MAX.get() - (first + i) % RANGE)?;
        if xid::owner(&host.layout, xid)?.is_some() || taken.conflict(xid).is_some() {
            continue;
        }
        match start(host, context, Some(xid), program.clone(), command) {
            Err(err) if matches!(err.kind(), Kind::Exists | Kind::Busy) => {}
            other => return other,
        }
    }
    Err(
        Error::new(Kind::Exists, "every number for a context without one is in use")
            .with_hint("give it a number with `--xid`"),
    )
}

/// Waits for the first process, passing signals on.
pub(super) fn wait(child: &Child, is_first: bool, timeout: Option<Span>) -> Result<Outcome> {
    wait_noting(&Notes::begin()?, child, is_first, false, timeout)
}

/// The same with notes that were begun before the process was made, so that no signal falls in between.
fn wait_noting(
    notes: &Notes,
    child: &Child,
    is_first: bool,
    is_apart: bool,
    timeout: Option<Span>,
) -> Result<Outcome> {
    let mut deadline = timeout.map(|t| Instant::now() + t.duration());
    let mut is_timed_out = false;
    let mut passed = None;
    let pidfd = &child.pidfd;
    loop {
        if let Some(mut noted) = notes.take() {
            noted.is_from_terminal &= !is_apart;
            passed = Some(noted.signal);
            pass_on(child, is_first, noted);
        }
        match notes.wait_until(pidfd.as_fd(), deadline) {
            Ok(true) => {
                return Ok(Outcome {
                    ended: pidfd::wait(pidfd)?,
                    is_timed_out,
                    memory_peak: None,
                    // One that came at the very end has been noted, not passed on.
                    signal: notes.take().map(|noted| noted.signal).or(passed),
                });
            }
            Ok(false) if is_timed_out => {
                send(child, libc::SIGKILL);
                deadline = None;
            }
            Ok(false) => {
                is_timed_out = true;
                pass_on(
                    child,
                    is_first,
                    Noted {
                        signal: libc::SIGTERM,
                        is_from_terminal: false,
                    },
                );
                deadline = Some(Instant::now() + GRACE);
            }
            // Noted, and taken at the top.
            Err(err) if err.kind() == Kind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

/// Passes a signal on to the first process. Process 1 of a namespace that has no handler for it would not notice
/// (`pid_namespaces(7)`), though the sender wants it to end: it gets SIGKILL.
fn pass_on(child: &Child, is_first: bool, noted: Noted) {
    // A process that cannot be read has ended.
    let catches = proc::catches(child.pid, noted.signal)
        .ok()
        .flatten()
        .unwrap_or(true);
    if is_first && !catches {
        send(child, libc::SIGKILL);
    } else if !noted.is_from_terminal {
        send(child, noted.signal);
    }
}

fn send(child: &Child, signal: i32) {
    // ESRCH: it has just ended, which is what was wanted.
    let _ = pidfd::signal(&child.pidfd, signal);
}
