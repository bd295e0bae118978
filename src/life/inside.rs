//! The part of a start that the new process carries out itself, between `clone3(2)` and `execve(2)`.
//!
//! It has a copy of hostel's memory and descriptors, and answers to nobody yet: it is process 1 of its namespace
//! and waits until hostel has mapped its ids. What it touches of the host was opened by hostel before, as descriptors
//! in [`Inside`], all but six device files (`guest_dev`); every path of the guest's own tree is opened without following a link out of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

use super::command::{Command, Session};
use super::guest_dev;
use super::masks::Ids;
use crate::guest::{Emulator, RlimitKind};
use crate::plan::{Phase, Program, Step};
use crate::sys::mount::{self, Attr};
use crate::sys::seccomp::{self, Filter};
use crate::sys::{binfmt, caps, clone, file, keyring, landlock, netlink, open, rlimit, terminal};

/// What the process was given by hostel.
pub(super) struct Inside<'a> {
    pub(super) steps: &'a [Step],
    pub(super) command: &'a Command,
    /// The detached root, owners mapped.
    pub(super) root: Option<OwnedFd>,
    /// The detached mounts, in the order of their steps.
    pub(super) mounts: Vec<OwnedFd>,
    /// The host's `/sys`, detached; `None` with a network namespace of its own, where a new one is made.
    pub(super) sys: Option<OwnedFd>,
    /// What covers hidden files, once it is attached.
    pub(super) empty: Option<OwnedFd>,
    /// A file system with the device of file systems in user space.
    pub(super) fuse: Option<OwnedFd>,
    /// Whether `/dev/mqueue` can be mounted.
    pub(super) has_queues: bool,
    /// The cgroup into which the keeper puts the guest's own init.
    pub(super) payload: Option<OwnedFd>,
    /// Where hostel says that it may go on: once before the first step, once before the program. `None` when it is
    /// hostel itself that becomes the program.
    pub(super) words: Option<OwnedFd>,
    /// hostel's init, sealed in memory.
    pub(super) init: Option<OwnedFd>,
    /// The filter of its system calls, compiled.
    pub(super) filter: Option<Filter>,
    /// Whether it has left the caller's session, if it is to.
    pub(super) has_session: bool,
}

/// Why a step failed in the new process. Small and plain: it goes through a pipe.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) errno: Errno,
    /// What exactly, where the step says it too coarsely.
    pub(super) what: String,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            what: String::new(),
        }
    }
}

fn at(what: impl Into<String>) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure {
        errno,
        what: what.into(),
    }
}

impl Inside<'_> {
    /// Carries out every step of the phase, in order. Returns only when one failed: which, and why.
    pub(super) fn carry_out(&mut self) -> (usize, Failure) {
        let steps = self.steps;
        for (index, step) in steps
            .iter()
            .enumerate()
            .filter(|(_, s)| s.phase() == Phase::Inside)
        {
            if let Err(failure) = self.step(step) {
                return (index, failure);
            }
        }
        (
            steps.len(),
            Failure {
                errno: Errno::EINVAL,
                what: "a plan without a program".into(),
            },
        )
    }

    /// Waits for hostel's next word. At the end of file hostel has died, and the process ends too: what it has done so
    /// far has touched nothing but its own namespaces.
    pub(super) fn await_word(&self) {
        if let Some(words) = &self.words
            && !file::await_word(words)
        {
            clone::exit_now(125);
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        // In its own tree, and while it may still open a terminal there.
        if matches!(step, Step::Caps(_) | Step::Exec(_)) && !self.has_session {
            self.has_session = true;
            self.take_session()?;
        }
        match step {
            Step::OwnKeyring => keyring::new_session()?,
            Step::BecomeRoot => {
                clone::become_user(0, 0, &[])?;
                let says = |step: &Step| matches!(step, Step::Rlimit(RlimitKind::CORE, _));
                if !self.steps.iter().any(says) {
                    rlimit::no_core_raw().map_err(at("keep its crashes from the host"))?;
                }
            }
            Step::NoNestedUsers => no_nested_users()?,
            Step::EchoSockets => echo_sockets()?,
            Step::CgroupRoot => nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP)?,
            Step::PrivateMounts => mount::make_all_private()?,
            Step::AttachRoot => {
                // On `/` itself: the one directory that is surely there. The old root stays below it.
                let old = open_path(c"/")?;
                mount::attach(self.root()?, old)?;
            }
            Step::Proc => self.proc()?,
            Step::Emulate(emulator) => self.emulate(emulator)?,
            Step::Sys => self.sys()?,
            Step::Dev => {
                let fuse = self.fuse.take();
                guest_dev::make(self.root()?, fuse, self.has_queues)?;
            }
            Step::AttachMount(mount) => {
                let from = self.mounts.remove(0);
                let target = mount.target.as_path();
                let to = open::in_root(
                    self.root()?,
                    target,
                    OFlag::O_PATH | OFlag::O_CLOEXEC,
                    Mode::empty(),
                )?;
                refuse_kernels_own(&to)?;
                mount::attach(from, to)?;
            }
            Step::HostProc => host_proc()?,
            Step::Pivot => {
                let root = self.root.take().ok_or(Errno::EBADF)?;
                mount::pivot(root)?;
            }
            Step::Hostname(name) => clone::set_hostname(name)?,
            Step::LoopbackUp => netlink::lo_up()?,
            Step::ScopeAbstractSockets => landlock::scope_abstract_sockets()?,
            Step::FilterCalls(_) => self.filter.as_ref().ok_or(Errno::EINVAL)?.install()?,
            Step::NoNewPrivs => seccomp::no_new_privs()?,
            Step::Caps(set) => {
                caps::restrict_raw(set.bits())?;
                caps::confirm_raw(set.bits()).map_err(at("a dropped capability could be regained"))?;
            }
            Step::Exec(program) => self.exec(program)?,
            // The other phases' steps are filtered out by `carry_out`.
            _ => return Err(Errno::ENOSYS.into()),
        }
        Ok(())
    }

    fn take_session(&self) -> Result<(), Failure> {
        match &self.command.session {
            Session::Callers => {}
            Session::Own => drop(nix::unistd::setsid().map_err(at("make a session"))?),
            Session::Terminal { inside, .. } => {
                let master = terminal::open_inside().map_err(at("open a terminal"))?;
                terminal::hand_over(inside.as_fd(), master.as_fd()).map_err(at("hand over the terminal"))?;
                terminal::take_slave(master, 0).map_err(at("take the terminal"))?;
            }
        }
        Ok(())
    }

    fn root(&self) -> Result<&OwnedFd, Errno> {
        self.root.as_ref().ok_or(Errno::EBADF)
    }

    /// A real directory directly below the root, made when it is not there. A link is refused: a root whose
    /// `/proc` points elsewhere would have its process files there, unhidden.
    fn own_dir(&self, name: &'static str) -> Result<OwnedFd, Failure> {
        let root = self.root()?;
        match open::child_dir(root, Path::new(name)) {
            Err(Errno::ENOENT) => {
                nix::sys::stat::mkdirat(root, name, Mode::from_bits_truncate(0o755))
                    .map_err(at(format!("make `/{name}`")))?;
                open::child_dir(root, Path::new(name)).map_err(at(format!("open `/{name}`")))
            }
            Err(Errno::ELOOP | Errno::ENOTDIR) => Err(Failure {
                errno: Errno::ENOTDIR,
                what: format!("`/{name}` of the root is a link or a file; it must be a directory"),
            }),
            other => other.map_err(at(format!("open `/{name}`"))),
        }
    }

    fn proc(&mut self) -> Result<(), Failure> {
        let target = self.own_dir("proc")?;
        // What covers the hidden files lies below the procfs itself, out of sight.
        let empty = super::masks::empty()?;
        mount::attach(&empty, target)?;
        let proc = mount::new_fs(c"proc", &[], Attr::DATA)?;
        mount::attach(&proc, &empty)?;
        let is_shared = |step: &Step| matches!(step, Step::Clone(isolate) if !isolate.user);
        let ids = if self.steps.iter().any(is_shared) {
            Ids::Hosts
        } else {
            Ids::Own
        };
        super::masks::hide(&proc, &empty, ids)?;
        self.empty = Some(empty);
        Ok(())
    }

    /// Where an instance is looked for, so that what runs inside sees how it is run.
    fn emulate(&self, emulator: &Emulator) -> Result<(), Failure> {
        let instance =
            binfmt::mount(&emulator.rule()).map_err(at(format!("register `{}`", emulator.path.display())))?;
        let place = open::in_root(
            self.root()?,
            Path::new("proc/sys/fs/binfmt_misc"),
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(at("find `/proc/sys/fs/binfmt_misc`"))?;
        Ok(mount::attach(instance, place)?)
    }

    fn sys(&mut self) -> Result<(), Failure> {
        let target = self.own_dir("sys")?;
        let sys = match self.sys.take() {
            Some(sys) => sys,
            None => mount::new_fs(c"sysfs", &[], Attr::DATA.and(Attr::RDONLY))?,
        };
        mount::attach(&sys, target)?;
        super::masks::hide_sys(&sys, self.empty.as_ref().ok_or(Errno::EBADF)?)
    }

    /// Runs the program. Returns only when it cannot be run.
    fn exec(&mut self, program: &Program) -> Result<(), Failure> {
        if let Some(dir) = &self.command.dir {
            nix::unistd::chdir(dir).map_err(at(format!("enter directory `{}`", dir.display())))?;
        }
        if self.command.dies_with_parent {
            clone::die_with_parent()?;
        }
        clone::reset_signals();
        self.await_word();
        match program {
            Program::Command(_) => {
                clone::close_on_exec_from(3)?;
                Err(self.command.exec())
            }
            Program::HostelInit | Program::Keeper(_) => {
                let init = self.init.take().ok_or(Errno::EBADF)?;
                // A stop that comes before it has begun to listen is not lost.
                clone::block_signals();
                self.command.exec_init(init, self.payload.as_ref())
            }
        }
    }
}

/// Host data is not mounted into `/proc` or `/sys`, wherever a link of the root leads its target: what hostel and the
/// guest's programs read and write there must be the kernel's own (CVE-2019-19921).
fn refuse_kernels_own(target: &OwnedFd) -> Result<(), Failure> {
    let kind = nix::sys::statfs::fstatfs(target)?.filesystem_type();
    if kind == nix::sys::statfs::PROC_SUPER_MAGIC || kind == nix::sys::statfs::SYSFS_MAGIC {
        return Err(Failure {
            errno: Errno::EXDEV,
            what: "the target leads into `/proc` or `/sys`".into(),
        });
    }
    Ok(())
}

/// The limit belongs to the user namespace of whoever opens the file (`namespaces(7)`, `/proc/sys/user`).
fn no_nested_users() -> Result<(), Errno> {
    let limit = nix::fcntl::open(
        c"/proc/sys/user/max_user_namespaces",
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    nix::unistd::write(&limit, b"0").map(drop)
}

/// The setting belongs to the network namespace of whoever opens the file, and counts groups as its user namespace does
/// (`icmp(7)`). It holds for both families.
fn echo_sockets() -> Result<(), Errno> {
    let groups = nix::fcntl::open(
        c"/proc/sys/net/ipv4/ping_group_range",
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    nix::unistd::write(&groups, b"0 65535").map(drop)
}

/// In a spectator's own mount namespace: the host's `/proc`, so that every process is seen, but read-only.
fn host_proc() -> Result<(), Failure> {
    let proc = open_path(c"/proc")?;
    let copy = mount::clone_tree(Some(proc.as_fd()), c"", true)?;
    mount::set_attr(&copy, Attr::DATA.and(Attr::RDONLY))?;
    mount::attach(copy, proc)?;
    Ok(())
}

fn open_path(path: &CStr) -> Result<OwnedFd, Errno> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// Puts `fds` at 0, 1, 2 ... of this process, and marks every other to be closed at `exec`.
pub(super) fn place(fds: &[&OwnedFd]) -> Result<(), Errno> {
    let count = i32::try_from(fds.len()).ok().ok_or(Errno::EINVAL)?;
    // First out of the way of each other: a source may stand where a target is to be.
    let high: Vec<OwnedFd> = fds
        .iter()
        .map(|fd| crate::sys::open::duplicate_from(fd.as_fd(), count))
        .collect::<Result<_, _>>()?;
    for (target, fd) in (0..count).zip(&high) {
        crate::sys::open::duplicate_to(fd.as_fd(), target)?;
    }
    clone::close_on_exec_from(count.cast_unsigned())
}

/// A path as C has it; one with a NUL in it does not exist.
pub(super) fn c_path(path: impl AsRef<Path>) -> Result<CString, Errno> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_ref().as_os_str().as_bytes())
        .ok()
        .ok_or(Errno::ENOENT)
}
