//! Processes: making, confining, executing and ending them, and whose they are.

use core::ffi::CStr;

use super::{EINVAL, Errno, Result, SIGCHLD, check, plain};
use crate::arch::{self, syscall};

pub fn exit(code: i32) -> ! {
    arch::exit(code as usize)
}

/// Where this process goes on after [`clone`].
pub enum Clone {
    Child,
    Parent(i32),
}

/// A copy of this process, as `fork(2)`, in the namespaces of `flags` and, if given, in a cgroup.
pub fn clone(flags: u64, cgroup: Option<i32>) -> Result<Clone> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let Some(cgroup) = cgroup else {
        // The older call does it too, and is there where the newer one is refused, because its flags cannot be filtered.
        // SAFETY: as below; no stack is given, so the child goes on with a copy of this one.
        let flags = (flags | SIGCHLD as u64) as usize;
        return match check(unsafe { syscall(arch::CLONE, [flags, 0, 0, 0, 0, 0]) })? {
            0 => Ok(Clone::Child),
            pid => Ok(Clone::Parent(pid as i32)),
        };
    };
    // struct clone_args of sched.h, 88 bytes: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size,
    // tls, set_tid, set_tid_size, cgroup.
    let mut args = [0u64; 11];
    args[0] = flags | CLONE_INTO_CGROUP;
    args[4] = SIGCHLD as u64;
    args[10] = cgroup as u64;
    // SAFETY: without CLONE_VM the child has a copy of everything, the stack included, so both return from here.
    // This process has one thread, so there is no lock that the child could find taken.
    match check(unsafe {
        syscall(
            arch::CLONE3,
            [args.as_ptr() as usize, size_of_val(&args), 0, 0, 0, 0],
        )
    })? {
        0 => Ok(Clone::Child),
        pid => Ok(Clone::Parent(pid as i32)),
    }
}

pub fn unshare(flags: u64) -> Result<()> {
    plain(arch::UNSHARE, [flags as usize, 0, 0, 0, 0, 0]).map(drop)
}

/// Confines this process and what it executes to the calls that pass the filter, whole instructions of eight bytes.
pub fn filter_calls(instructions: &[u8]) -> Result<()> {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    /// `struct sock_fprog`.
    #[repr(C)]
    struct Program {
        length: u16,
        first: *const u8,
    }
    let program = Program {
        length: (instructions.len() / 8) as u16,
        first: instructions.as_ptr(),
    };
    // SAFETY: `program` and the whole instructions behind it live during the call, which copies them.
    let done = unsafe {
        syscall(
            arch::SECCOMP,
            [SECCOMP_SET_MODE_FILTER, 0, core::ptr::from_ref(&program).addr(), 0, 0, 0],
        )
    };
    check(done).map(drop)
}

/// Lets nothing that this process executes gain a right by that.
pub fn no_new_privs() -> Result<()> {
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    plain(arch::PRCTL, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0]).map(drop)
}

/// Starts another program in this process. Only returns on failure.
///
/// `argv` and `env` are texts and end with a null pointer.
pub fn exec(path: &CStr, argv: &[Option<&CStr>], env: &[Option<&CStr>]) -> Errno {
    Vector::of(argv, |argv| {
        Vector::of(env, |env| {
            let arguments = [
                path.as_ptr() as usize,
                argv.0.as_ptr() as usize,
                env.0.as_ptr() as usize,
                0,
                0,
                0,
            ];
            // SAFETY: `path` is terminated; both vectors are pointers to terminated texts that outlive the call,
            // and `Vector` ends with a null pointer.
            check(unsafe { syscall(arch::EXECVE, arguments) })
                .err()
                .unwrap_or(EINVAL)
        })
    })
}

/// The most texts of one vector: a list of the guest and one of the service, and those that the init adds.
pub const MAX_VECTOR: usize = 2 * crate::config::MAX_LIST + 16;

/// Pointers as `execve(2)` takes them.
struct Vector([usize; MAX_VECTOR + 1]);

impl Vector {
    /// On the stack of `then` only: a service is started by a child, so the init itself never has these pages.
    fn of<T>(texts: &[Option<&CStr>], then: impl FnOnce(&Vector) -> T) -> T {
        let mut vector = Vector([0; MAX_VECTOR + 1]);
        let present = texts.iter().flatten();
        for (slot, text) in vector.0[..MAX_VECTOR].iter_mut().zip(present) {
            *slot = text.as_ptr() as usize;
        }
        then(&vector)
    }
}

/// How a process ended, as `wait4(2)` tells it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

/// The next child that has ended, if any; `Err(ECHILD)` when there is no child.
pub fn reap() -> Result<Option<(i32, Exit)>> {
    const WNOHANG: usize = 1;
    // Every child, threads' children and those without SIGCHLD too: an orphan may have been cloned in any way.
    const WALL: usize = 0x4000_0000;
    let mut status = 0i32;
    let arguments = [usize::MAX, &raw mut status as usize, WNOHANG | WALL, 0, 0, 0];
    // SAFETY: the kernel writes one number, for which there is room.
    match check(unsafe { syscall(arch::WAIT4, arguments) })? {
        0 => Ok(None),
        pid => {
            let signal = status & 0x7f;
            let exit = if signal == 0 {
                Exit::Code((status >> 8) & 0xff)
            } else {
                Exit::Signal(signal)
            };
            Ok(Some((pid as i32, exit)))
        }
    }
}

/// Signals one process, or with -1 all but this one and process 1.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    plain(arch::KILL, [pid as usize, signal as usize, 0, 0, 0, 0]).map(drop)
}

pub fn setsid() -> Result<()> {
    plain(arch::SETSID, [0; 6]).map(drop)
}

pub fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads as many numbers as the slice has.
    check(unsafe {
        syscall(
            arch::SETGROUPS,
            [groups.len(), groups.as_ptr() as usize, 0, 0, 0, 0],
        )
    })
    .map(drop)
}

/// Real, effective and saved.
pub fn setgid(gid: u32) -> Result<()> {
    let gid = gid as usize;
    plain(arch::SETRESGID, [gid, gid, gid, 0, 0, 0]).map(drop)
}

/// Real, effective and saved. From root to another user this also empties the capability sets.
pub fn setuid(uid: u32) -> Result<()> {
    let uid = uid as usize;
    plain(arch::SETRESUID, [uid, uid, uid, 0, 0, 0]).map(drop)
}

pub fn sethostname(name: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads at most the slice's length from it.
    check(unsafe {
        syscall(
            arch::SETHOSTNAME,
            [name.as_ptr() as usize, name.len(), 0, 0, 0, 0],
        )
    })
    .map(drop)
}

/// Makes `keep` all that this process and what it executes can ever have, root or not.
pub fn limit_capabilities(keep: u64) -> Result<()> {
    const PR_CAPBSET_READ: usize = 23;
    const PR_CAPBSET_DROP: usize = 24;
    const PR_CAP_AMBIENT: usize = 47;
    const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
    for cap in 0..64 {
        // EINVAL for the first number that this kernel does not know: there are no more.
        match plain(arch::PRCTL, [PR_CAPBSET_READ, cap, 0, 0, 0, 0]) {
            Err(EINVAL) => break,
            Ok(1) if keep & (1 << cap) == 0 => {
                plain(arch::PRCTL, [PR_CAPBSET_DROP, cap, 0, 0, 0, 0])?;
            }
            Ok(_) => {}
            Err(err) => return Err(err),
        }
    }
    plain(
        arch::PRCTL,
        [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0],
    )?;
    const VERSION_3: u32 = 0x2008_0522;
    let (low, high) = (keep as u32, (keep >> 32) as u32);
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable of the low and of the high half. Permitted cannot grow: a refusal means that
    // the init was given less than its configuration says.
    let sets = [low, low, 0, high, high, 0];
    let arguments = [header.as_ptr() as usize, sets.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: a header of two numbers and two times three numbers, as version 3 is laid out.
    check(unsafe { syscall(arch::CAPSET, arguments) }).map(drop)
}
