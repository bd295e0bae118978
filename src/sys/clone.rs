//! Processes in new namespaces: `clone3(2)`, and what they wait for and report.
//!
//! hostel is single-threaded, so a child may allocate and use the standard library. It must not run Lua, log,
//! or return into code that believes itself the parent: [`spawn`] ends it when its closure does.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;

use crate::error::{Context, Error, Kind, Result};
use crate::guest::HostPid;

/// `struct clone_args` of `linux/sched.h`, version 2 (88 bytes), the first that has `cgroup`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// From `linux/sched.h`: above the 32 bits that `CloneFlags` holds.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_PIDFD: u64 = 0x1000;

/// A child of this process.
#[derive(Debug)]
pub struct Child {
    /// Its number on the host.
    pub pid: HostPid,
    /// Its descriptor: names this process for ever, even after it has ended.
    pub pidfd: OwnedFd,
}

/// Makes a child in new `namespaces`, born into `cgroup` (a directory of cgroup2), that runs `inside` and ends
/// with the code that it returns.
///
/// To be born in a cgroup costs nothing; to be moved there costs a system-wide lock (`cgroup_threadgroup_rwsem`).
pub fn spawn(
    namespaces: CloneFlags,
    cgroup: Option<BorrowedFd>,
    inside: impl FnOnce() -> i32,
) -> Result<Child> {
    let mut pidfd: libc::c_int = -1;
    #[allow(clippy::cast_sign_loss, reason = "flags and descriptors are not negative")]
    let mut args = CloneArgs {
        flags: u64::from(namespaces.bits().cast_unsigned()) | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: `args` is a valid clone_args of the size given and lives across the call; no stack is given and
    // CLONE_VM is not set, so the child goes on with a copy of this address space. The process is
    // single-threaded (the crate starts no threads), so no lock of the allocator can be held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(explain(Errno::last(), namespaces)),
        0 => exit_now(inside()),
        #[allow(clippy::cast_possible_truncation, reason = "a pid is an i32")]
        pid => Ok(Child {
            pid: HostPid(pid as i32),
            // SAFETY: the kernel stored a new descriptor there, because CLONE_PIDFD was given and the call
            // succeeded; nobody else has it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// What the errnos of `clone3(2)` mean for the namespaces that were asked for.
fn explain(errno: Errno, namespaces: CloneFlags) -> Error {
    let err = Error::os(
        format!("clone a process into new namespaces ({})", names(namespaces)),
        errno,
    );
    match errno {
        Errno::ENOSPC => err.with_kind(Kind::System).with_hint(
            "a limit on nested or counted namespaces is reached: see /proc/sys/user/max_*_namespaces (namespaces(7))",
        ),
        Errno::EINVAL => err
            .with_kind(Kind::Unsupported)
            .with_hint("this kernel lacks one of these namespaces or CLONE_INTO_CGROUP (Linux 5.7)"),
        Errno::EAGAIN => err.with_hint("the limit on processes is reached: `pids.max` or RLIMIT_NPROC"),
        Errno::EPERM => err.with_hint("hostel must run as root of the host"),
        _ => err,
    }
}

/// The namespaces in these flags, as words.
pub fn names(flags: CloneFlags) -> String {
    const ALL: [(CloneFlags, &str); 7] = [
        (CloneFlags::CLONE_NEWUSER, "user"),
        (CloneFlags::CLONE_NEWPID, "pid"),
        (CloneFlags::CLONE_NEWNS, "mount"),
        (CloneFlags::CLONE_NEWUTS, "uts"),
        (CloneFlags::CLONE_NEWIPC, "ipc"),
        (CloneFlags::CLONE_NEWCGROUP, "cgroup"),
        (CloneFlags::CLONE_NEWNET, "net"),
    ];
    let words: Vec<&str> = ALL
        .iter()
        .filter(|(f, _)| flags.contains(*f))
        .map(|(_, n)| *n)
        .collect();
    words.join(", ")
}

/// Puts this process into new `namespaces`.
pub fn unshare(namespaces: CloneFlags) -> Result<()> {
    nix::sched::unshare(namespaces).context(|| format!("unshare namespaces ({})", names(namespaces)))
}

/// Ends this process at once: no destructors, no `atexit`, nothing of the parent's is flushed twice.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit(2)` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Dies with its parent: SIGKILL when the parent ends. Cleared by the kernel when credentials change, so it is
/// set after them.
pub fn die_with_parent() -> Result<(), Errno> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
}

/// As [`die_with_parent`], but is only asked to end (SIGTERM), to tidy up first.
pub fn end_with_parent() -> Result<(), Errno> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) }).map(drop)
}

/// Closes every descriptor from `first` up, at `exec`: what the caller had leaked into hostel ends here.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    /// `linux/close_range.h`.
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: close_range(2) with CLOEXEC only sets a flag on descriptors of this process; it closes none.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    })
    .map(drop)
}

/// Makes this process undumpable (or dumpable again): while it is not, nobody without `CAP_SYS_PTRACE` on the
/// host can trace it, read its memory or its descriptors, even from inside a namespace that it joins.
pub fn set_dumpable(is_dumpable: bool) -> Result<(), Errno> {
    // SAFETY: PR_SET_DUMPABLE takes 0 or 1 and touches no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(is_dumpable), 0, 0, 0) })
        .map(drop)
}

/// Becomes user and group `uid`, `gid`, in `groups`, and undumpable.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    // The raw calls: glibc's wrappers would signal other threads, of which there are none.
    // SAFETY: setgroups(2) reads `groups.len()` ids from a valid slice.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: setresgid(2) takes three numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: setresuid(2) takes three numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    // The kernel makes a process whose ids change what the host's `fs.suid_dumpable` says, which may be dumpable.
    set_dumpable(false)
}

/// Every signal as a new process expects it: default dispositions, none blocked.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition for every signal; those that cannot be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let none = nix::sys::signal::SigSet::empty();
    // Cannot fail: the set is valid and SIG_SETMASK is a valid operation (sigprocmask(2)).
    let _ = none.thread_set_mask();
}

/// Blocks every signal, also for the program that is executed. Process 1 of a namespace that neither handles nor blocks one
/// loses it (`pid_namespaces(7)`); blocked, it waits until that program reads it.
pub fn block_signals() {
    // Cannot fail, as above.
    let _ = nix::sys::signal::SigSet::all().thread_set_mask();
}

/// Sets the hostname of this UTS namespace.
pub fn set_hostname(name: &str) -> Result<(), Errno> {
    nix::unistd::sethostname(name)
}

/// Writes the id map of a new user namespace: `count` ids from `inside` on are the host's from `outside` on.
pub fn map_ids(pid: HostPid, outside: u32, count: u32) -> Result<()> {
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, format!("0 {outside} {count}\n")).context(|| format!("write `{path}`"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clone_args_is_version_2_of_the_kernels() {
        assert_eq!(size_of::<CloneArgs>(), 88);
    }

    #[test]
    fn a_child_is_waited_for_by_descriptor() {
        let child = spawn(CloneFlags::empty(), None, || 7).unwrap();
        let status = crate::sys::pidfd::wait(&child.pidfd).unwrap();
        assert_eq!(status, crate::sys::pidfd::Ended::Code(7));
    }
}
