//! Carries out the steps of a start, and undoes them.
//!
//! `steps` are those that hostel carries out itself, `process` makes the new process and waits for its program (its own
//! part is `life::inside`), `report` is how that tells of a failure, `undo` takes everything back. If hostel is killed
//! in the middle, nothing is lost by that: all of it is found again in the kernel by the context's number (`sweep`).

mod process;
mod report;
mod steps;
mod undo;

use std::os::fd::OwnedFd;

use nix::errno::Errno;

pub use self::undo::Running;
pub(super) use self::undo::{claim, empty_group};

use self::undo::{Routes, Undo};
use super::command::Command;
use super::host::Host;
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{Isolate, Xid};
use crate::plan::{Phase, Step};
use crate::sys::cgroup::Group;
use crate::sys::mount::Attr;
use crate::sys::{clone, pidfd};

/// Everything that the steps of a start share.
struct Launch<'a> {
    host: &'a Host,
    label: &'a str,
    xid: Option<Xid>,
    undo: Vec<Undo>,
    routes: Routes,
    root: Option<OwnedFd>,
    /// Whether the owners on its root are mapped already, which is so of layers.
    is_root_mapped: bool,
    mounts: Vec<(OwnedFd, Option<Attr>)>,
    /// A file system with the device of file systems in user space.
    fuse: Option<OwnedFd>,
    /// The host's number of the first id of its user namespace, who owns it.
    owner: Option<u32>,
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
    super::reachable::check(steps)?;
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
            Err(match undo::clear(host, launch.undo, launch.routes) {
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
            is_root_mapped: false,
            mounts: Vec::new(),
            fuse: None,
            owner: None,
            child: None,
        }
    }
}

impl Launch<'_> {
    fn become_program(&mut self, steps: &[Step], command: &Command) -> Result<Vec<u8>> {
        let mut isolate = Isolate::NONE;
        for step in steps.iter().filter(|step| step.phase() < Phase::Inside) {
            tracing::debug!("context: {step}");
            match step {
                Step::Clone(wanted) => isolate = *wanted,
                other => self.host_step(other).context(|| format!("context: {step}"))?,
            }
        }
        let mut inside = self.inside(isolate, steps, command)?;
        tell_inside("context", steps);
        clone::unshare(process::flags(isolate))?;
        let (index, failure) = inside.carry_out();
        Ok(report::pack(index, &failure))
    }

    fn carry_out(&mut self, steps: &[Step], command: &Command) -> Result<(clone::Child, Option<OwnedFd>)> {
        let mut words: &[u8] = b"gx";
        for step in steps.iter().filter(|step| step.phase() < Phase::Inside) {
            if step.phase() == Phase::Along && words.len() == 2 {
                self.say(&words[..1])?;
                words = &words[1..];
            }
            tracing::debug!("{}: {step}", self.label);
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

    fn group(&self) -> Option<&Group> {
        undo::group(&self.undo)
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
}

/// Tells the log of the steps that a process carries out that can tell nobody: it may have no descriptor of the host's.
fn tell_inside(label: &str, steps: &[Step]) {
    for step in steps.iter().filter(|step| step.phase() >= Phase::Inside) {
        tracing::debug!("{label}: in the new process: {step}");
    }
}

fn internal(what: &str) -> Error {
    Error::new(Kind::Internal, what.to_owned())
}
