//! What the process that evaluates a recipe gives up before it runs a line of it.
//!
//! The limits inside the Lua state are there for good messages. This is the guarantee: bounded processor time and
//! memory, no descriptor but its socket, and no system call but those that use memory, the socket, and end the
//! process. It can open nothing, start nothing, reach nobody; whatever a recipe does to Lua or to hostel's own code.

use std::panic::PanicHookInfo;
use std::sync::{Once, OnceLock};

use nix::sys::resource::{Resource, setrlimit};

use super::EvalOptions;
use super::channel::{Channel, PANIC};
use crate::error::{Context as _, Result};
use crate::guest::syscalls::Test;
use crate::sys::seccomp::{Action, Calls, Filter, no_new_privs};
use crate::sys::{clone, fork, lua_position};

/// Whom a panic is told; set in a child that evaluates, and nowhere else.
static TELL: OnceLock<Channel> = OnceLock::new();

/// Before the child is made: where a panic of its is told. The lock on the panic hook may be held by another thread at
/// the instant of the fork (it is while a panic is printed), and then nobody ever gives it back in the child: the child
/// must not set a hook.
pub(super) fn prepare() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let otherwise = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| match TELL.get() {
            // Nobody is left to tell if this fails.
            Some(channel) => drop(channel.send(PANIC, info.to_string().as_bytes())),
            None => otherwise(info),
        }));
    });
}

/// Confines this process for good.
pub(super) fn confine(options: &EvalOptions, channel: &Channel) -> Result<()> {
    clone::die_with_parent().context(|| "tie the evaluation to its parent")?;
    // Handlers of the parent's only note a signal; what ends the evaluation is to end it.
    clone::reset_signals();
    bound(options)?;
    // Nobody of the same user reads its memory, and it leaves no core.
    clone::set_dumpable(false).context(|| "make the evaluation undumpable")?;
    // This process evaluates once; what is there already is as good.
    let _ = TELL.set(channel.clone());
    fork::close_standard();
    fork::settle_allocator();
    lua_position::tell_at_sigxcpu(channel.raw())?;
    let filter = filter(channel.raw())?;
    no_new_privs().context(|| "give up privileges of the evaluation")?;
    filter
        .install()
        .context(|| "filter the system calls of the evaluation (CONFIG_SECCOMP_FILTER)")
}

/// The kernel's limits: processor time, memory, no core, no file, no process.
fn bound(options: &EvalOptions) -> Result<()> {
    let set = |resource, soft: u64, hard: u64| {
        setrlimit(resource, soft, hard).context(|| format!("set {resource:?} of the evaluation"))
    };
    // At the soft limit it says where it is; at the hard one, a second later, it is killed.
    set(
        Resource::RLIMIT_CPU,
        options.cpu_seconds,
        options.cpu_seconds.saturating_add(1),
    )?;
    // On top of what the process has mapped already; what is made of the Lua state needs about as much as it.
    let space = mapped()
        .saturating_add((options.memory as u64).saturating_mul(3))
        .saturating_add(256 << 20);
    set(Resource::RLIMIT_AS, space, space)?;
    for none in [
        Resource::RLIMIT_CORE,
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_NPROC,
    ] {
        set(none, 0, 0)?;
    }
    // The socket is number 3; a number above it cannot be made.
    set(Resource::RLIMIT_NOFILE, 4, 4)
}

/// Bytes of address space in use (`proc_pid_statm(5)`, the first field, in pages).
fn mapped() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    pages.saturating_mul(4096)
}

/// Everything that an evaluation may ask of the kernel. What is not here ends it.
fn filter(socket: i32) -> Result<Filter> {
    // All bits of `mask` are as in `value`.
    let bits = |argument: u8, mask: i32, value: i32| Test {
        argument,
        mask: mask.cast_unsigned(),
        value: value.cast_unsigned(),
        not: false,
    };
    let equals = |argument: u8, value: i32| bits(argument, -1, value);
    let never_code = |argument: u8| bits(argument, libc::PROT_EXEC, 0);
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut calls = Calls::new();
    calls
        .when(libc::SYS_read, vec![equals(0, socket)])
        .when(libc::SYS_write, vec![equals(0, socket)])
        // Standard error is closed; the allocator tries to write there before it aborts.
        .when(libc::SYS_write, vec![equals(0, 2)])
        // Memory of its own, which is never code.
        .when(
            libc::SYS_mmap,
            vec![never_code(2), bits(3, libc::MAP_ANONYMOUS, libc::MAP_ANONYMOUS)],
        )
        .when(libc::SYS_mprotect, vec![never_code(2)])
        .any(libc::SYS_mremap)
        .any(libc::SYS_munmap)
        .any(libc::SYS_madvise)
        .any(libc::SYS_brk)
        // Seeds of hash tables, and a clock where the kernel's vDSO has none: no secret, and no recipe sees them.
        .any(libc::SYS_getrandom)
        .any(libc::SYS_clock_gettime)
        .any(libc::SYS_gettimeofday)
        .any(libc::SYS_futex)
        // How the allocator counts processors.
        .any(libc::SYS_sched_getaffinity)
        .any(libc::SYS_restart_syscall)
        // The ends: by itself, and by abort(3).
        .any(libc::SYS_exit)
        .any(libc::SYS_exit_group)
        .any(libc::SYS_rt_sigprocmask)
        .any(libc::SYS_rt_sigreturn)
        .any(libc::SYS_getpid)
        .any(libc::SYS_gettid)
        .when(libc::SYS_tgkill, vec![equals(0, own), equals(2, libc::SIGABRT)]);
    #[cfg(target_arch = "x86_64")]
    calls.any(libc::SYS_time);
    Filter::compile(&calls, Action::Allow, Action::KillProcess)
}
