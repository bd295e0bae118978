//! The system calls of the init, safe to call: descriptors, files and clocks here, the others by their name below. All of its
//! `unsafe` is here, in `arch` and in `mount`.

use core::ffi::CStr;

use crate::arch::{self, O_NOFOLLOW, syscall};

mod process;
mod signal;

pub use process::*;
pub use signal::*;

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
    // SAFETY: only called, here and in the modules below, for calls and arguments without pointers.
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
