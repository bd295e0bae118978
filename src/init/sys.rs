//! The system calls of the init, safe to call. All of its `unsafe` is here, in `arch` and in `mount`.

use core::ffi::CStr;

use crate::arch::{self, O_NOFOLLOW, syscall};

/// A failed system call's number, as in `errno(3)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

pub const ENOENT: Errno = Errno(2);
pub const EINTR: Errno = Errno(4);
pub const EIO: Errno = Errno(5);
pub const EAGAIN: Errno = Errno(11);
pub const EACCES: Errno = Errno(13);
pub const EBUSY: Errno = Errno(16);
pub const EEXIST: Errno = Errno(17);
pub const ENOTDIR: Errno = Errno(20);
pub const EINVAL: Errno = Errno(22);

pub type Result<T> = core::result::Result<T, Errno>;

// fcntl.h, where both architectures agree.
pub const O_RDONLY: usize = 0;
pub const O_WRONLY: usize = 1;
pub const O_RDWR: usize = 2;
pub const O_CREAT: usize = 0o100;
pub const O_EXCL: usize = 0o200;
pub const O_NOCTTY: usize = 0o400;
pub const O_APPEND: usize = 0o2000;
pub const O_NONBLOCK: usize = 0o4000;
pub const O_DIRECTORY: usize = arch::O_DIRECTORY;
pub const O_PATH: usize = 0o10_000_000;
pub const O_CLOEXEC: usize = 0o2_000_000;

pub const SIGHUP: i32 = 1;
pub const SIGINT: i32 = 2;
pub const SIGKILL: i32 = 9;
pub const SIGUSR1: i32 = 10;
pub const SIGUSR2: i32 = 12;
pub const SIGTERM: i32 = 15;
pub const SIGCHLD: i32 = 17;
pub const SIGCONT: i32 = 18;
pub const SIGPWR: i32 = 30;
/// The kernel's first real-time signal is 32, the C libraries' `SIGRTMIN` 34: they keep two for themselves.
pub const SIGRTMIN: i32 = 34;

const AT_FDCWD: usize = -100_isize as usize;
const AT_EMPTY_PATH: usize = 0x1000;

/// What the kernel returned, as a result.
pub(crate) fn check(result: isize) -> Result<usize> {
    if result < 0 {
        Err(Errno(-result as i32))
    } else {
        Ok(result as usize)
    }
}

/// Makes a call whose arguments are all plain numbers.
fn plain(number: usize, a: [usize; 6]) -> Result<usize> {
    // SAFETY: only called, below, for calls and arguments without pointers.
    check(unsafe { syscall(number, a) })
}

/// A descriptor that is closed when dropped.
pub struct Fd(i32);

impl Fd {
    /// Owns `number`, which nothing else may close.
    pub fn own(number: usize) -> Self {
        Self(number as i32)
    }

    pub fn raw(&self) -> i32 {
        self.0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // A failure says nothing that could be acted on; the descriptor is gone either way.
        let _ = plain(arch::CLOSE, [self.0 as usize, 0, 0, 0, 0, 0]);
    }
}

/// Where a relative path starts.
#[derive(Clone, Copy)]
pub struct At(usize);

impl At {
    /// The working directory, which is `/` in the init itself.
    pub const CWD: At = At(AT_FDCWD);

    pub fn raw(self) -> usize {
        self.0
    }
}

impl From<&Fd> for At {
    fn from(fd: &Fd) -> Self {
        At(fd.0 as usize)
    }
}

/// Opens without following a link at the end, and never as a controlling terminal.
pub fn open(at: At, path: &CStr, flags: usize, mode: usize) -> Result<Fd> {
    let flags = flags | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW;
    // SAFETY: `path` is terminated and outlives the call.
    check(unsafe { syscall(arch::OPENAT, [at.0, path.as_ptr() as usize, flags, mode, 0, 0]) }).map(Fd::own)
}

/// Opens a directory by an absolute path, following links but those of procfs, which lead out of every tree.
///
/// The keeper sees a /proc that shows itself, and the guest may put a link to there into any path.
pub fn open_directory(path: &CStr) -> Result<Fd> {
    const RESOLVE_NO_MAGICLINKS: u64 = 2;
    // struct open_how: flags, mode, resolve.
    let how = [
        (arch::O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) as u64,
        0,
        RESOLVE_NO_MAGICLINKS,
    ];
    let arguments = [
        AT_FDCWD,
        path.as_ptr() as usize,
        how.as_ptr() as usize,
        size_of_val(&how),
        0,
        0,
    ];
    // SAFETY: `path` is terminated; the kernel reads as many bytes of `how` as it is told it has.
    check(unsafe { syscall(arch::OPENAT2, arguments) }).map(Fd::own)
}

/// Opens for reading, following links: for files of the guest that are read as the guest would read them.
pub fn open_followed(path: &CStr) -> Result<Fd> {
    let flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    // SAFETY: `path` is terminated and outlives the call.
    check(unsafe { syscall(arch::OPENAT, [AT_FDCWD, path.as_ptr() as usize, flags, 0, 0, 0]) }).map(Fd::own)
}

pub fn read(fd: i32, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most the buffer's length into it.
    check(unsafe {
        syscall(
            arch::READ,
            [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0],
        )
    })
}

pub fn write(fd: i32, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the kernel reads at most the slice's length from it.
    check(unsafe {
        syscall(
            arch::WRITE,
            [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0],
        )
    })
}

pub fn mkdir(at: At, path: &CStr, mode: usize) -> Result<()> {
    // SAFETY: `path` is terminated and outlives the call.
    check(unsafe { syscall(arch::MKDIRAT, [at.0, path.as_ptr() as usize, mode, 0, 0, 0]) }).map(drop)
}

pub fn unlink(at: At, path: &CStr) -> Result<()> {
    // SAFETY: `path` is terminated and outlives the call.
    check(unsafe { syscall(arch::UNLINKAT, [at.0, path.as_ptr() as usize, 0, 0, 0, 0]) }).map(drop)
}

/// Removes an empty directory.
pub fn rmdir(at: At, path: &CStr) -> Result<()> {
    const AT_REMOVEDIR: usize = 0x200;
    // SAFETY: `path` is terminated and outlives the call.
    check(unsafe { syscall(arch::UNLINKAT, [at.0, path.as_ptr() as usize, AT_REMOVEDIR, 0, 0, 0]) }).map(drop)
}

/// The next entries of a directory as the kernel writes them (`struct linux_dirent64`); 0 at its end.
pub fn entries(directory: &Fd, buffer: &mut [u8]) -> Result<usize> {
    let arguments = [
        directory.0 as usize,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        0,
        0,
        0,
    ];
    // SAFETY: the kernel writes at most the buffer's length into it.
    check(unsafe { syscall(arch::GETDENTS64, arguments) })
}

/// Renames within `at`, replacing what is there.
pub fn rename(at: At, from: &CStr, to: &CStr) -> Result<()> {
    let arguments = [at.0, from.as_ptr() as usize, at.0, to.as_ptr() as usize, 0, 0];
    // SAFETY: both paths are terminated and outlive the call.
    check(unsafe { syscall(arch::RENAMEAT2, arguments) }).map(drop)
}

/// The size of a regular file; `EINVAL` for anything else.
pub fn regular_size(fd: &Fd) -> Result<u64> {
    const STATX_TYPE_SIZE: usize = 0x201;
    // struct statx: mode at 28 (u16), size at 40 (u64), 256 bytes in all, the same everywhere.
    let mut stat = [0u64; 32];
    let arguments = [
        fd.0 as usize,
        c"".as_ptr() as usize,
        AT_EMPTY_PATH,
        STATX_TYPE_SIZE,
        stat.as_mut_ptr() as usize,
        0,
    ];
    // SAFETY: the path is terminated; `stat` has the 256 bytes that the kernel fills.
    check(unsafe { syscall(arch::STATX, arguments) })?;
    let mode = (stat[3] >> 32) as u32;
    if mode & 0o170_000 == 0o100_000 {
        Ok(stat[5])
    } else {
        Err(EINVAL)
    }
}

pub fn chown(fd: i32, uid: u32, gid: u32) -> Result<()> {
    plain(arch::FCHOWN, [fd as usize, uid as usize, gid as usize, 0, 0, 0]).map(drop)
}

pub fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: `path` is terminated and outlives the call.
    check(unsafe { syscall(arch::CHDIR, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) }).map(drop)
}

/// A pipe: what is read, what is written. Reading does not block; writing, by a service, does.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes two numbers, for which there is room.
    check(unsafe { syscall(arch::PIPE2, [ends.as_mut_ptr() as usize, O_CLOEXEC, 0, 0, 0, 0]) })?;
    let (read, write) = (Fd(ends[0]), Fd(ends[1]));
    const F_SETFL: usize = 4;
    plain(arch::FCNTL, [read.0 as usize, F_SETFL, O_NONBLOCK, 0, 0, 0])?;
    Ok((read, write))
}

/// Makes `fd` also `number`, inherited by `execve`.
pub fn dup_to(fd: i32, number: i32) -> Result<()> {
    if fd == number {
        const F_SETFD: usize = 2;
        return plain(arch::FCNTL, [fd as usize, F_SETFD, 0, 0, 0, 0]).map(drop);
    }
    plain(arch::DUP3, [fd as usize, number as usize, 0, 0, 0, 0]).map(drop)
}

pub fn close_on_exec(fd: i32) -> Result<()> {
    const F_SETFD: usize = 2;
    plain(arch::FCNTL, [fd as usize, F_SETFD, 1, 0, 0, 0]).map(drop)
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) {
    let _ = plain(arch::CLOSE_RANGE, [first as usize, u32::MAX as usize, 0, 0, 0, 0]);
}

/// Fresh zeroed memory that lasts until the end; a page of it costs nothing before it is written.
pub fn reserve(bytes: usize) -> Result<&'static mut [u8]> {
    const PROT_READ_WRITE: usize = 3;
    const MAP_PRIVATE_ANONYMOUS_NORESERVE: usize = 0x2 | 0x20 | 0x4000;
    let arguments = [
        0,
        bytes,
        PROT_READ_WRITE,
        MAP_PRIVATE_ANONYMOUS_NORESERVE,
        usize::MAX,
        0,
    ];
    let address = plain(arch::MMAP, arguments)?;
    // SAFETY: the kernel just mapped `bytes` zeroed bytes there, for nobody else, and nothing unmaps them.
    Ok(unsafe { core::slice::from_raw_parts_mut(address as *mut u8, bytes) })
}

/// Milliseconds of a clock: 1 since the host's boot, 0 since 1970.
fn clock(which: usize) -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: the kernel writes two 64-bit numbers, for which there is room.
    let _ = check(unsafe {
        syscall(
            arch::CLOCK_GETTIME,
            [which, time.as_mut_ptr() as usize, 0, 0, 0, 0],
        )
    });
    time[0] * 1000 + time[1] / 1_000_000
}

/// Milliseconds that never go back.
pub fn monotonic() -> u64 {
    clock(1)
}

/// Seconds since 1970.
pub fn epoch() -> u64 {
    clock(0) / 1000
}

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

/// Gives every signal its default action. `SIG_IGN` survives `execve(2)`, and the Rust runtime that started this
/// program ignores SIGPIPE.
pub fn default_signals() {
    // struct sigaction of the kernel: handler, flags, restorer, mask.
    let default = [0usize; 4];
    for signal in 1..=64 {
        let arguments = [signal, default.as_ptr() as usize, 0, 8, 0, 0];
        // SAFETY: the kernel reads a whole `struct sigaction`; no handler is installed. SIGKILL and SIGSTOP are
        // refused, which changes nothing.
        let _ = check(unsafe { syscall(arch::RT_SIGACTION, arguments) });
    }
}

/// Blocks all signals, or none.
pub fn block_signals(all: bool) -> Result<()> {
    const SIG_SETMASK: usize = 2;
    let mask = if all { u64::MAX } else { 0 };
    // SAFETY: the kernel reads the eight bytes of a signal mask.
    check(unsafe {
        syscall(
            arch::RT_SIGPROCMASK,
            [SIG_SETMASK, &raw const mask as usize, 0, 8, 0, 0],
        )
    })
    .map(drop)
}

/// A descriptor to read blocked signals from.
///
/// A blocked signal is queued even when its action is to be ignored, and even for process 1, which the kernel
/// otherwise shields from signals that it does not handle (`sig_ignored` in kernel/signal.c).
pub fn signalfd() -> Result<Fd> {
    let mask = u64::MAX;
    let arguments = [
        usize::MAX,
        &raw const mask as usize,
        8,
        O_CLOEXEC | O_NONBLOCK,
        0,
        0,
    ];
    // SAFETY: the kernel reads the eight bytes of a signal mask.
    check(unsafe { syscall(arch::SIGNALFD4, arguments) }).map(Fd::own)
}

/// The next signal that came, if any.
pub fn next_signal(fd: &Fd) -> Option<i32> {
    // struct signalfd_siginfo: 128 bytes, the number first.
    let mut info = [0u8; 128];
    match read(fd.raw(), &mut info) {
        Ok(128) => Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]])),
        _ => None,
    }
}

/// What is waited for on a descriptor, and what came.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Poll {
    fd: i32,
    events: i16,
    pub ready: i16,
}

impl Poll {
    /// Ignored by `ppoll(2)`.
    pub const NONE: Poll = Poll {
        fd: -1,
        events: 0,
        ready: 0,
    };

    pub fn readable(fd: &Fd) -> Self {
        Poll {
            fd: fd.0,
            events: 1,
            ready: 0,
        }
    }
}

/// Waits until a descriptor is ready or `timeout` milliseconds have passed; without one, for ever.
pub fn poll(fds: &mut [Poll], timeout: Option<u64>) {
    let time = timeout.map(|ms| [ms / 1000, ms % 1000 * 1_000_000]);
    let time = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
    for fd in fds.iter_mut() {
        fd.ready = 0;
    }
    // An interruption or a failure looks like a timeout: the loop looks at everything again.
    // SAFETY: the kernel reads and writes as many entries as the slice has, and reads two numbers of time.
    let _ = check(unsafe { syscall(arch::PPOLL, [fds.as_mut_ptr() as usize, fds.len(), time, 0, 8, 0]) });
}

/// `ioctl(2)` with a number as its argument.
pub fn ioctl(fd: &Fd, request: usize, value: usize) -> Result<usize> {
    plain(arch::IOCTL, [fd.0 as usize, request, value, 0, 0, 0])
}

/// `ioctl(2)` that reads or fills `words`, which must be as long as the request says.
pub fn ioctl_words(fd: &Fd, request: usize, words: &mut [u32]) -> Result<usize> {
    let arguments = [fd.0 as usize, request, words.as_mut_ptr() as usize, 0, 0, 0];
    // SAFETY: the callers, in `console`, pass the size that the request has.
    check(unsafe { syscall(arch::IOCTL, arguments) })
}
