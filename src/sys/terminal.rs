//! Pseudo-terminals: `pty(7)`.
//!
//! A guest's session gets its terminal from the guest's own devpts, so that `tty` and `/dev/pts/N` inside are
//! right and nothing of the host's terminal is open inside: a process that holds the caller's terminal can type
//! into it (TIOCSTI).
//!
//! Two sides. The child, inside the guest, [opens](open_inside) a master, [hands](hand_over) it to the host and
//! [takes](take_slave) the slave; the host [receives](receive) and verifies it. Everything inside is hostile: a
//! guest's `/dev/pts/ptmx` may be any file, so what arrives is checked by what it is, never by its path. The
//! child's functions allocate nothing.

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::{Context, Error, Kind, Result};

/// `ptmx`: a character device 5, 2 (Documentation/admin-guide/devices.txt), also as devpts' own `ptmx`.
const PTMX: (u32, u32) = (5, 2);
/// `DEVPTS_SUPER_MAGIC` (`statfs(2)`).
const DEVPTS: i64 = 0x1cd1;
/// The host's "go on": the master is verified and has its window size.
const GO: u8 = b'g';

/// The size of a terminal's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

/// Opens a new terminal of the guest's devpts and unlocks its slave. In the child, inside the guest.
pub fn open_inside() -> Result<OwnedFd, Errno> {
    // devpts' own multiplexer. `/dev/ptmx` is a link or a node to it and has no say in which instance it means.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = match open(c"/dev/pts/ptmx", flags | OFlag::O_NOFOLLOW, Mode::empty()) {
        // The host's is closed to all but root by default (`ptmxmode` in the kernel's devpts.rst), and a context
        // without a tree of its own uses that. Whatever is opened instead, the host verifies it.
        Err(Errno::EACCES) => open(c"/dev/ptmx", flags, Mode::empty())?,
        other => other?,
    };
    let unlocked: libc::c_int = 0;
    // SAFETY: the descriptor is open; TIOCSPTLCK reads one int, which outlives the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) })?;
    Ok(master)
}

/// Sends the master to the host by `socket` and waits until the host has accepted it. In the child.
///
/// The host closes its end when it refuses: EPIPE here, and the child must not go on.
pub fn hand_over(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut byte = 0_u8;
    let mut part = iovec(&mut byte);
    let mut control = Control::default();
    let message = header(&mut part, &mut control);
    // SAFETY: `message` names a control buffer with room for one cmsghdr, so the first header is in it.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: `first` is in `control`, which is aligned for cmsghdr (see `Control`).
    let first = unsafe { first.as_mut() }.ok_or(Errno::EINVAL)?;
    first.cmsg_level = libc::SOL_SOCKET;
    first.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: pure arithmetic.
    first.cmsg_len = unsafe { libc::CMSG_LEN(FD_LEN) } as usize;
    // SAFETY: pure arithmetic; the data of a header in `control` is in `control`.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: `control` has room for the header and one descriptor; the write may be unaligned.
    unsafe { data.cast::<RawFd>().write_unaligned(master.as_raw_fd()) };
    // SAFETY: every pointer of `message` is to a local of this function.
    Errno::result(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })?;
    loop {
        // SAFETY: `byte` is one writable byte.
        let got = unsafe { libc::read(socket.as_raw_fd(), (&raw mut byte).cast(), 1) };
        match Errno::result(got) {
            Ok(1) if byte == GO => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Err(Errno::EPIPE),
        }
    }
}

/// Makes the slave of `master` the terminal of a new session and the caller's standard input, output and error,
/// owned by the guest's user `owner`. In the child; `master` is closed.
///
/// The caller's own terminal was 0, 1 and 2 until here; what else of the host is open must be closed on exec.
pub fn take_slave(master: OwnedFd, owner: u32) -> Result<(), Errno> {
    let slave = slave(master.as_fd())?;
    drop(master);
    nix::unistd::fchown(slave.as_fd(), Some(owner.into()), None)?;
    match nix::unistd::setsid() {
        // EPERM: a group leader already. A new process leads its session or this fails below.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    // SAFETY: the descriptor is open; the argument 0 (do not steal) is passed by value.
    Errno::result(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) })?;
    for target in 0..3 {
        // SAFETY: dup2 replaces 0, 1 and 2, which is what the caller asks for; `slave` is open.
        Errno::result(unsafe { libc::dup2(slave.as_raw_fd(), target) })?;
    }
    if slave.as_raw_fd() < 3 {
        // It *is* one of the three now, without close-on-exec.
        std::mem::forget(slave);
    }
    Ok(())
}

/// The slave of `master`, by the descriptor and not by a path that a guest may have changed (Linux 4.13).
pub fn slave(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: the descriptor is open; TIOCGPTPEER takes open flags by value and answers with a new descriptor.
    let slave = Errno::result(unsafe {
        libc::ioctl(
            master.as_raw_fd(),
            libc::TIOCGPTPEER,
            libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC,
        )
    })?;
    // SAFETY: the kernel made the descriptor for this call and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(slave) })
}

/// Receives a master from the child at the other end of `socket`, verifies that it is one, gives it the window
/// size of the caller's terminal and lets the child go on.
pub fn receive(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let master = receive_descriptor(socket)
        .context(|| "receive the guest's terminal")?
        .ok_or_else(|| {
            Error::new(Kind::External, "the guest has no terminal to give")
                .with_hint("devpts must be mounted on /dev/pts inside; `exec` without a terminal works")
        })?;
    verify_master(master.as_fd())?;
    if let Some(size) = std::io::stdin()
        .is_terminal()
        .then(|| size(std::io::stdin().as_fd()))
    {
        set_size(master.as_fd(), size?)?;
    }
    nix::unistd::write(socket, &[GO]).context(|| "tell the child to go on")?;
    Ok(master)
}

/// Refuses what is not a terminal's master side, whatever path it was opened by.
pub fn verify_master(master: BorrowedFd<'_>) -> Result<()> {
    let refused = |why: &str| {
        Error::new(
            Kind::Denied,
            format!("the guest's `/dev/pts/ptmx` is not a terminal: {why}"),
        )
        .with_hint("something inside replaced it; look at the guest's mounts from the host")
    };
    let stat = nix::sys::stat::fstat(master).context(|| "examine the guest's terminal")?;
    let device = (libc::major(stat.st_rdev), libc::minor(stat.st_rdev));
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || device != PTMX {
        return Err(refused("another kind of file"));
    }
    let system = nix::sys::statfs::fstatfs(master).context(|| "examine the guest's terminal")?;
    if system.filesystem_type().0 != DEVPTS && !is_hosts_own(master)? {
        return Err(refused("not on devpts"));
    }
    let mut number: libc::c_uint = 0;
    // SAFETY: the descriptor is open; TIOCGPTN writes one unsigned int, which outlives the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) })
        .map_err(|errno| refused("it has no number").with_source(errno))?;
    Ok(())
}

/// Whether it was opened by the host's own `/dev/ptmx`, which a context without a tree of its own sees.
fn is_hosts_own(master: BorrowedFd<'_>) -> Result<bool> {
    let theirs = nix::sys::stat::fstat(master).context(|| "examine the guest's terminal")?;
    let own = nix::sys::stat::stat(c"/dev/ptmx").context(|| "examine `/dev/ptmx`")?;
    Ok((theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino))
}

/// Whether a command that this process starts could type into the caller's terminal (TIOCSTI): it has one, and
/// somebody else reads it. What leads a session has the terminal for itself.
pub fn is_exposed() -> bool {
    if nix::unistd::getsid(None) == Ok(nix::unistd::getpid()) {
        return false;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(c"/dev/tty", flags, Mode::empty()).is_ok()
        || std::io::stdin().is_terminal()
        || std::io::stdout().is_terminal()
        || std::io::stderr().is_terminal()
}

/// Whether this process may read `terminal` and change its mode: a job in the background would be stopped for it.
pub fn is_foreground(terminal: BorrowedFd<'_>) -> bool {
    nix::unistd::tcgetpgrp(terminal) == Ok(nix::unistd::getpgrp())
}

/// The window size of a terminal.
pub fn size(terminal: BorrowedFd<'_>) -> Result<Size> {
    // SAFETY: winsize is plain old data; all zeroes is a valid one.
    let mut found: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open; TIOCGWINSZ writes one winsize, which outlives the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut found) })
        .context(|| "read the terminal's window size")?;
    Ok(Size {
        rows: found.ws_row,
        columns: found.ws_col,
    })
}

/// Sets the window size of a terminal; its foreground processes get SIGWINCH when it changed.
pub fn set_size(terminal: BorrowedFd<'_>, size: Size) -> Result<()> {
    let wanted = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is open; TIOCSWINSZ reads one winsize, which outlives the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const wanted) })
        .context(|| "set the terminal's window size")?;
    Ok(())
}

/// A terminal in raw mode, for as long as this value lives.
#[derive(Debug)]
pub struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// Switches `terminal` to raw mode: every key, Ctrl-C among them, arrives as a byte.
    pub fn enter(terminal: BorrowedFd<'a>) -> Result<Self> {
        let before = tcgetattr(terminal).context(|| "read the terminal's mode")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Output that waits is written in the mode that it was meant for.
        tcsetattr(terminal, SetArg::TCSADRAIN, &raw).context(|| "switch the terminal to raw mode")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // A terminal that is gone (hung up) needs no restoring.
        let _ = tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

/// `sizeof(int)`: one descriptor in a control message.
const FD_LEN: libc::c_uint = 4;

/// Room for one control message with one descriptor: `CMSG_SPACE(sizeof(int))` is 24. The `u64` align it for
/// cmsghdr.
#[derive(Default)]
struct Control([u64; 4]);

fn iovec(byte: &mut u8) -> libc::iovec {
    libc::iovec {
        iov_base: (&raw mut *byte).cast(),
        iov_len: 1,
    }
}

fn header(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: msghdr is plain old data; all zeroes is a valid one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: pure arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(FD_LEN) } as usize;
    message
}

/// One descriptor from `socket`; `None` when the other end was closed.
fn receive_descriptor(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = 0_u8;
    let mut part = iovec(&mut byte);
    let mut control = Control::default();
    let mut message = header(&mut part, &mut control);
    loop {
        // SAFETY: every pointer of `message` is to a local of this function that outlives the call.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        match Errno::result(got) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // SAFETY: the kernel filled in `message`; a header is in its control buffer or null.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: as above, and `control` is aligned for cmsghdr.
    let Some(first) = (unsafe { first.as_ref() }) else {
        return Ok(None);
    };
    // SAFETY: pure arithmetic.
    let length = unsafe { libc::CMSG_LEN(FD_LEN) } as usize;
    // There is room for one descriptor, so the kernel closed any more that were sent.
    if first.cmsg_level != libc::SOL_SOCKET || first.cmsg_type != libc::SCM_RIGHTS || first.cmsg_len != length
    {
        return Err(Errno::EBADMSG);
    }
    // SAFETY: pure arithmetic; the data of a header in `control` is in `control`.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: the length above says that one descriptor is there; the read may be unaligned.
    let number = unsafe { data.cast::<RawFd>().read_unaligned() };
    // SAFETY: the kernel installed the descriptor for this call and nobody else has it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    /// A master of this host's devpts.
    fn master() -> OwnedFd {
        open_inside().unwrap()
    }

    #[test]
    fn a_master_crosses_a_socket_and_is_verified() {
        let (host, child) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || hand_over(child.as_fd(), master().as_fd()));
        let master = receive(host.as_fd()).unwrap();
        thread.join().unwrap().unwrap();
        set_size(master.as_fd(), Size { rows: 7, columns: 70 }).unwrap();
        assert_eq!(size(master.as_fd()).unwrap(), Size { rows: 7, columns: 70 });
    }

    #[test]
    fn another_file_is_no_master_and_the_child_is_told() {
        let (host, child) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let null = File::open("/dev/null").unwrap();
            hand_over(child.as_fd(), null.as_fd())
        });
        let err = receive(host.as_fd()).unwrap_err();
        assert_eq!(err.kind(), Kind::Denied);
        drop(host);
        assert_eq!(thread.join().unwrap(), Err(Errno::EPIPE));
    }

    #[test]
    fn a_child_that_gives_up_is_an_error() {
        let (host, child) = UnixStream::pair().unwrap();
        drop(child);
        assert_eq!(receive(host.as_fd()).unwrap_err().kind(), Kind::External);
    }

    #[test]
    fn raw_mode_is_undone() {
        let terminal = master();
        let before = tcgetattr(terminal.as_fd()).unwrap();
        {
            let _raw = RawMode::enter(terminal.as_fd()).unwrap();
            assert_ne!(tcgetattr(terminal.as_fd()).unwrap(), before);
        }
        assert_eq!(tcgetattr(terminal.as_fd()).unwrap(), before);
    }
}
