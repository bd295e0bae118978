//! A command traced with every process that it makes, and killed at one of its steps.
//!
//! A step is a system call that changes something which outlives a process, seen on entry, before it is done. It is
//! named by the process that makes it (`0` is the command, `0.1` its second child) and by its place among the same
//! calls there, which is the same in every run however the processes take turns. A process that becomes another
//! program (a guest's init, a builder) is let go: it is no longer hostel.
//!
//! The tracer is a process of its own: when it ends, the kernel lets go of whatever it still traces.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{FromRawFd as _, IntoRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};

use super::command::slowness;
use super::runner::NOTE;

/// A system call of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Which process makes it.
    pub(crate) process: String,
    /// Its place among the steps of that process with the same call, from 1: one wait more or less, which is a matter
    /// of time, moves no other step.
    pub(crate) nth: usize,
    /// The call's number, as `asm/unistd.h` has it.
    pub(crate) call: i64,
}

/// Who is killed at a step, or what else happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The command, whichever of its processes makes the step.
    Command,
    /// The process that makes it.
    Process,
    /// Nobody is: every process of the command's group gets SIGINT, as a terminal sends it for Ctrl-C.
    Interrupted,
}

/// What came of a command that was traced.
#[derive(Debug)]
pub(crate) struct Traced {
    /// Its steps, as far as it came.
    pub(crate) steps: Vec<Step>,
    /// Whether it came to the step at which it was to be killed.
    pub(crate) is_killed: bool,
    /// Its exit code, or 128 and the signal that ended it.
    pub(crate) status: i32,
    /// What it said; written by whoever has caught that.
    pub(crate) stderr: String,
}

/// Runs `command` to its end, or to `until`.
pub(crate) fn trace(mut command: Command, until: Option<(&Step, Victim)>) -> Traced {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    // SAFETY: a test of this suite has one thread.
    let tracer = match unsafe { fork() }.expect("fork the tracer") {
        ForkResult::Child => {
            drop(read);
            let text = std::panic::catch_unwind(AssertUnwindSafe(|| Tracer::run(&mut command, until)))
                .unwrap_or_default();
            let _ = File::from(write).write_all(text.as_bytes());
            // SAFETY: ends this process without the test's own destructors, which are the parent's.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => child,
    };
    drop(write);
    let end = Instant::now() + Duration::from_secs(60) * slowness();
    let mut read = File::from(read);
    let mut text = vec![];
    loop {
        let left =
            PollTimeout::try_from(end.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::ZERO);
        let is_ready = poll(
            &mut [PollFd::new(std::os::fd::AsFd::as_fd(&read), PollFlags::POLLIN)],
            left,
        );
        if is_ready != Ok(1) {
            let _ = kill(tracer, Signal::SIGKILL);
            let _ = waitpid(tracer, None);
            panic!("a traced command passed its deadline, or {is_ready:?}");
        }
        let mut chunk = [0; 8192];
        match read.read(&mut chunk).expect("read from the tracer") {
            0 => break,
            n => text.extend_from_slice(&chunk[..n]),
        }
    }
    waitpid(tracer, None).expect("wait for the tracer");
    parse(&String::from_utf8(text).expect("text"))
}

fn parse(text: &str) -> Traced {
    let mut lines = text.lines();
    let head: Vec<i32> = lines
        .next()
        .expect("the tracer says how it ended")
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect();
    let step = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        Step {
            process: words[0].to_owned(),
            nth: words[1].parse().unwrap(),
            call: words[2].parse().unwrap(),
        }
    };
    Traced {
        is_killed: head[0] == 1,
        status: head[1],
        steps: lines.map(step).collect(),
        stderr: String::new(),
    }
}

/// A process that is traced.
struct Tracee {
    name: String,
    children: usize,
    /// How many of each call.
    steps: HashMap<i64, usize>,
}

struct Tracer<'a> {
    main: Pid,
    tracees: HashMap<Pid, Tracee>,
    /// Stopped for the first time before their parents have told of them.
    early: Vec<Pid>,
    until: Option<(&'a Step, Victim)>,
    is_killed: bool,
    steps: Vec<Step>,
}

impl<'a> Tracer<'a> {
    fn run(command: &mut Command, until: Option<(&'a Step, Victim)>) -> String {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        // SAFETY: the tracer has one thread, as the test that it is a copy of.
        let main = match unsafe { fork() }.expect("fork the command") {
            ForkResult::Child => {
                drop(write);
                let _ = File::from(read).read(&mut [0]);
                let _ = nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0));
                let _ = command.exec();
                // SAFETY: ends this process, which is a copy of the test.
                unsafe { libc::_exit(127) }
            }
            ForkResult::Parent { child } => child,
        };
        request(libc::PTRACE_SEIZE, main, OPTIONS as usize);
        drop(read);
        // SAFETY: the descriptor was just given up by its owner.
        let mut go = unsafe { File::from_raw_fd(write.into_raw_fd()) };
        go.write_all(b"g").expect("let it go");
        let first = Tracee {
            name: "0".to_owned(),
            children: 0,
            steps: HashMap::new(),
        };
        let mut tracer = Self {
            main,
            tracees: HashMap::from([(main, first)]),
            early: vec![],
            until,
            is_killed: false,
            steps: vec![],
        };
        let status = tracer.follow();
        let mut text = format!("{} {status}\n", i32::from(tracer.is_killed));
        for step in &tracer.steps {
            let _ = writeln!(text, "{} {} {}", step.process, step.nth, step.call);
        }
        text
    }

    /// Until the command has ended; gives how.
    fn follow(&mut self) -> i32 {
        loop {
            // `__WALL`: a process made by clone without SIGCHLD is waited for too.
            let status = waitpid(None, Some(WaitPidFlag::__WALL)).expect("wait for what is traced");
            match status {
                WaitStatus::Exited(pid, code) if pid == self.main => return code,
                WaitStatus::Signaled(pid, signal, _) if pid == self.main => return 128 + signal as i32,
                WaitStatus::PtraceEvent(pid, _, event) => self.event(pid, event),
                WaitStatus::PtraceSyscall(pid) => {
                    if let Some(call) = entered(pid)
                        && changes(pid, call)
                        && self.step(pid, call)
                    {
                        continue;
                    }
                    go_on(pid, 0);
                }
                WaitStatus::Stopped(pid, signal) => go_on(pid, signal as usize),
                _ => {}
            }
        }
    }

    fn event(&mut self, pid: Pid, event: i32) {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                let mut child: libc::c_ulong = 0;
                let place = std::ptr::from_mut(&mut child) as usize;
                request(libc::PTRACE_GETEVENTMSG, pid, place);
                let child = Pid::from_raw(i32::try_from(child).expect("a pid"));
                if let Some(parent) = self.tracees.get_mut(&pid) {
                    let name = format!("{}.{}", parent.name, parent.children);
                    parent.children += 1;
                    let tracee = Tracee {
                        name,
                        children: 0,
                        steps: HashMap::new(),
                    };
                    self.tracees.insert(child, tracee);
                    if let Some(at) = self.early.iter().position(|early| *early == child) {
                        self.early.remove(at);
                        go_on(child, 0);
                    }
                }
            }
            libc::PTRACE_EVENT_EXEC if pid != self.main => {
                self.tracees.remove(&pid);
                request(libc::PTRACE_DETACH, pid, 0);
                return;
            }
            libc::PTRACE_EVENT_STOP if !self.tracees.contains_key(&pid) => {
                self.early.push(pid);
                return;
            }
            _ => {}
        }
        go_on(pid, 0);
    }

    /// Notes a step, and kills whom it has to. True when the process is not to go on.
    fn step(&mut self, pid: Pid, call: i64) -> bool {
        let Some(tracee) = self.tracees.get_mut(&pid) else {
            return false;
        };
        let nth = tracee.steps.entry(call).or_default();
        *nth += 1;
        let step = Step {
            process: tracee.name.clone(),
            nth: *nth,
            call,
        };
        let victim = match self.until {
            Some((until, victim)) if !self.is_killed && *until == step => Some(victim),
            _ => None,
        };
        self.steps.push(step);
        let Some(victim) = victim else { return false };
        self.is_killed = true;
        match victim {
            Victim::Interrupted => {
                killpg(self.main, Signal::SIGINT).expect("interrupt what is traced");
                return false;
            }
            Victim::Command => kill(self.main, Signal::SIGKILL),
            Victim::Process => kill(pid, Signal::SIGKILL),
        }
        .expect("kill what is traced");
        // Held where it is until the command is dead, so that it dies or goes on from there.
        true
    }
}

const OPTIONS: libc::c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC;

/// ESRCH is no failure: what is traced may be killed at any time.
fn request(what: libc::c_uint, pid: Pid, data: usize) {
    // SAFETY: no request that is made here writes to this process but PTRACE_GETEVENTMSG, to the integer whose
    // address its caller gives.
    unsafe { libc::ptrace(what, pid.as_raw(), 0_usize, data) };
}

fn go_on(pid: Pid, signal: usize) {
    request(libc::PTRACE_SYSCALL, pid, signal);
}

fn syscall_info(pid: Pid) -> Option<libc::ptrace_syscall_info> {
    // SAFETY: integers and a union of integers, for which zero is a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&info);
    // SAFETY: the kernel writes at most `size` bytes to `info`.
    let result = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid.as_raw(), size, &raw mut info) };
    (result > 0).then_some(info)
}

/// The system call that it is about to make; `None` when it returns from one.
fn entered(pid: Pid) -> Option<i64> {
    let info = syscall_info(pid)?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: on entry this is the member that the kernel has written.
    let entry = unsafe { info.u.entry };
    i64::try_from(entry.nr).ok()
}

/// Between two of these nothing changes but memory and descriptors, so a death there is the same as a death at the
/// next one. Waiting and ending are among them: they are where a command spends its time.
const CHANGES: &[libc::c_long] = &[
    libc::SYS_clone3,
    libc::SYS_clone,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_renameat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_mknodat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_bpf,
    libc::SYS_ioctl,
    libc::SYS_kill,
    libc::SYS_pidfd_send_signal,
    libc::SYS_flock,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_ftruncate,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_setxattr,
    libc::SYS_fsetxattr,
    libc::SYS_utimensat,
    libc::SYS_ppoll,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

fn changes(pid: Pid, call: i64) -> bool {
    if CHANGES.contains(&call) {
        return true;
    }
    // An open changes something when it makes the file. The flags are the third argument of openat(2).
    let entry = syscall_info(pid).map(|info| {
        // SAFETY: on entry, which it is, this is the member that the kernel has written.
        unsafe { info.u.entry }
    });
    call == libc::SYS_openat
        && entry.is_some_and(|entry| entry.args[2] & u64::from(libc::O_CREAT.cast_unsigned()) != 0)
}

/// From this `HOSTEL_TEST_SLOWNESS` on there is no time for more steps than a few.
const FEW_FROM: u32 = 4;

/// At which steps of a command something is to happen, and of how many that are worth it: at `most`, spread over all, on a
/// machine that is so slow that a step takes seconds at a `few`. `HOSTEL_THOROUGH=1` is at all. `what` happens there is told
/// where it is not at all.
pub(crate) fn chosen(steps: &[Step], most: usize, few: usize, what: (&str, &str)) -> (Vec<Step>, usize) {
    let all = points(steps);
    let count = all.len();
    let is_slow = slowness() >= FEW_FROM;
    let most = if std::env::var_os("HOSTEL_THOROUGH").is_some() {
        usize::MAX
    } else {
        most
    };
    let points = sample(all, if is_slow { few.min(most) } else { most });
    if points.len() < count {
        let (done, does) = what;
        let why = if is_slow {
            "HOSTEL_TEST_SLOWNESS".to_owned()
        } else {
            format!("HOSTEL_THOROUGH=1 {does} at all")
        };
        println!("{NOTE}{done} at {} steps of {count}: {why}", points.len());
    }
    (points, count)
}

/// Every step; but of a system call that one process makes more than 18 times (it copies a tree) the first six, the
/// last six, and six spread over those between, after each of which the same goes on.
fn points(steps: &[Step]) -> Vec<Step> {
    const ENDS: usize = 6;
    let mut calls: BTreeMap<(&str, i64), Vec<&Step>> = BTreeMap::new();
    for step in steps {
        calls.entry((&step.process, step.call)).or_default().push(step);
    }
    let mut points: Vec<&Step> = vec![];
    for all in calls.into_values() {
        let middle = all.len().saturating_sub(2 * ENDS).div_ceil(ENDS).max(1);
        let is_point = |at: usize| at < ENDS || at + ENDS >= all.len() || (at - ENDS).is_multiple_of(middle);
        points.extend(
            all.iter()
                .enumerate()
                .filter(|(at, _)| is_point(*at))
                .map(|(_, step)| *step),
        );
    }
    let place = |step: &Step| steps.iter().position(|other| other == step);
    points.sort_by_key(|step| place(step));
    points.into_iter().cloned().collect()
}

/// `most` of `points`, spread evenly, the first and the last among them; all where there are no more.
pub(crate) fn sample(points: Vec<Step>, most: usize) -> Vec<Step> {
    let last = points.len().saturating_sub(1);
    if points.len() <= most {
        return points;
    }
    (0..most)
        .map(|nth| points[nth * last / (most - 1)].clone())
        .collect()
}
