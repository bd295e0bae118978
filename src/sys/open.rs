//! Paths inside hostile trees: `openat2(2)`.
//!
//! These functions return the bare errno: only their callers know whose tree it is and can name it.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// How often an `EAGAIN` is retried: the kernel gives it when a rename or mount anywhere on the host raced with
/// the resolution of a `..`, and says that the caller may simply try again (`openat2(2)`).
const RETRIES: u32 = 128;

/// Opens `/dev/null` at those of descriptors 0, 1 and 2 that the caller has left closed; without it, ends the process.
pub fn fill_standard_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: the pointer and the count are those of one live array; with no time to wait nothing is waited for.
    let found = unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    if found == 0 {
        return;
    }
    for stream in streams {
        if found > 0 && stream.revents & libc::POLLNVAL == 0 {
            continue;
        }
        // The lowest that is free: this very one, as those before it are open.
        match nix::fcntl::open(c"/dev/null", OFlag::O_RDWR, Mode::empty()) {
            Ok(null) if null.as_raw_fd() == stream.fd => drop(std::os::fd::IntoRawFd::into_raw_fd(null)),
            // poll(2) itself failed and the stream is open: nothing to fill.
            Ok(_) => {}
            Err(_) => std::process::abort(),
        }
    }
}

/// Opens `path` as if `root` were `/`: absolute links and `..` end at `root`, whoever wrote them.
/// Links like `/proc/PID/root`, which leave by a jump, are `ELOOP`.
pub fn in_root(root: impl AsFd, path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    open(root.as_fd(), path, flags, mode, resolve)
}

/// Opens the directory `name` in `dir` for reading, without following a link (`ELOOP`) and without entering
/// another mount (`EXDEV`).
pub fn child_dir(dir: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    open(dir.as_fd(), name, flags, Mode::empty(), resolve)
}

fn open(
    dir: impl AsFd,
    path: &Path,
    flags: OFlag,
    mode: Mode,
    resolve: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    // openat2(2) refuses a mode where nothing can be made, unlike open(2).
    let mode = if flags.intersects(OFlag::O_CREAT | OFlag::O_TMPFILE) {
        mode
    } else {
        Mode::empty()
    };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(mode)
        .resolve(resolve);
    for _ in 0..RETRIES {
        match openat2(dir.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// Opens `path` below `dir` and nowhere else: a link that leads out, and every absolute one, is `EXDEV`.
pub fn beneath(dir: impl AsFd, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    open(dir.as_fd(), path, flags, Mode::empty(), resolve)
}

/// Opens for reading what an `O_PATH` descriptor names. To open a device or a FIFO has effects of its own; so a
/// caller looks at the descriptor first and then opens the very same file.
pub fn reopen(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path.as_str(), flags, Mode::empty())
}

/// A copy of `fd` with the lowest free number from `least` up, closed on exec.
pub fn duplicate_from(fd: impl AsFd, least: i32) -> Result<OwnedFd, Errno> {
    let number = nix::fcntl::fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: the kernel made the descriptor for this call and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `number` a copy of `fd` that stays open on exec. Whatever had that number is closed.
pub fn duplicate_to(fd: impl AsFd, number: i32) -> Result<(), Errno> {
    // SAFETY: dup2(2) takes two numbers; the caller gives up whatever it held as `number`, which is one of its
    // standard streams or a place below the first descriptor that it owns.
    Errno::result(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) }).map(drop)
}
