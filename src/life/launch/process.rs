//! The new process: what it is given, how it is made, and how hostel learns that its program runs.

use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;

use super::{Launch, Waiting, internal, report};
use crate::error::{Context as _, Error, Result};
use crate::guest::Isolate;
use crate::life::command::{Command, Session};
use crate::life::inside::Inside;
use crate::life::{KEEPER, PAYLOAD, filter, init_config};
use crate::plan::{Program, Step};
use crate::sys::cgroup::Group;
use crate::sys::effective::{self, Acting};
use crate::sys::mount::{self, Attr};
use crate::sys::seccomp::Filter;
use crate::sys::{clone, pidfd, terminal};

impl Launch<'_> {
    /// What the new process is given.
    pub(super) fn inside<'b>(
        &self,
        isolate: Isolate,
        steps: &'b [Step],
        command: &'b Command,
    ) -> Result<Inside<'b>> {
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
            empty: None,
            fuse: duplicate(self.fuse.as_ref())?,
            has_queues: isolate.ipc || !isolate.user,
            payload: None,
            filter: compiled_filter(steps)?,
            words: None,
            init: match steps.last() {
                Some(Step::Exec(Program::Command(_))) | None => None,
                Some(_) => Some(init_config::memfd()?),
            },
            has_session: false,
        })
    }

    pub(super) fn spawn(&mut self, isolate: Isolate, steps: &[Step], command: &Command) -> Result<()> {
        // The kernel counts what its user namespace uses for whoever makes that, too: so it is made as its own first user.
        if isolate.user {
            self.owner = Some(self.number()?.id_base());
        }
        let mut inside = self.inside(isolate, steps, command)?;
        let (words, go) = crate::sys::file::pipe()?;
        inside.words = Some(words);
        let (report, report_write) = crate::sys::file::pipe()?;
        let is_kept = matches!(steps.last(), Some(Step::Exec(Program::Keeper(_))));
        let keeper = match self.group() {
            Some(group) if is_kept => Some(group.child(KEEPER)?),
            _ => None,
        };
        let cgroup = keeper
            .as_ref()
            .map(AsFd::as_fd)
            .or_else(|| self.group().map(Group::fd));
        if is_kept && let Some(group) = self.group() {
            let owner = if isolate.user { self.number()?.id_base() } else { 0 };
            inside.payload = Some(group.delegate(PAYLOAD, owner)?);
        }
        super::tell_inside(self.label, steps);
        let acting = self.as_owner()?;
        let child = clone::spawn(flags(isolate), cgroup, || {
            // Its copy of the writing end goes, so that hostel's death is seen as end of file.
            let _ = nix::unistd::close(go.as_raw_fd());
            child(&report_write, &mut inside)
        });
        drop(acting);
        let child = child?;
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

    /// Acts, until it is dropped, as the owner of the process's user namespace, where that has one of its own.
    pub(super) fn as_owner(&self) -> Result<Option<Acting>> {
        effective::act_as_owner(self.owner)
    }

    /// Waits until the program runs or a step has failed, and takes its terminal on the way.
    pub(super) fn until_it_runs(
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
}

/// The filter of the steps, compiled while memory may still be allocated.
fn compiled_filter(steps: &[Step]) -> Result<Option<Filter>> {
    let profile = steps.iter().find_map(|step| match step {
        Step::FilterCalls(profile) => Some(profile),
        _ => None,
    });
    profile.map(filter::compile).transpose()
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
    let bytes = report::pack(index, &failure);
    // Nobody is left to tell if this fails: hostel sees an ended process.
    let _ = nix::unistd::write(report, &bytes);
    125
}

pub(super) fn flags(isolate: Isolate) -> CloneFlags {
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

/// The host's sysfs without what is mounted in it (cgroups, debugfs, bpf), read-only.
fn host_sys() -> Result<OwnedFd> {
    let tree = mount::clone_tree(None, c"/sys", false).context(|| "open `/sys`")?;
    mount::set_attr(&tree, Attr::DATA.and(Attr::RDONLY)).context(|| "make `/sys` read-only")?;
    Ok(tree)
}

fn duplicate(fd: Option<&OwnedFd>) -> Result<Option<OwnedFd>> {
    fd.map(|fd| fd.as_fd().try_clone_to_owned())
        .transpose()
        .context(|| "duplicate a descriptor")
}
