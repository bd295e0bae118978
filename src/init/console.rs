//! The console of the guest's own init: a pseudo-terminal of the guest, its other side a log.

use crate::log;
use crate::sys::{self, At, EIO, Fd, O_NOCTTY, O_NONBLOCK, O_RDWR, Result};
use crate::text::Text;

// asm-generic/ioctls.h; the same on both architectures.
const TCGETS: usize = 0x5401;
const TCSETS: usize = 0x5402;
const TIOCSCTTY: usize = 0x540e;
const TIOCSWINSZ: usize = 0x5414;
const TIOCGPTN: usize = 0x8004_5430;
const TIOCSPTLCK: usize = 0x4004_5431;
const TIOCGPTPEER: usize = 0x5441;

/// Both sides.
pub struct Console {
    master: Fd,
    /// Held open, so that the master does not hang up while the init has its console closed, as sysvinit does.
    slave: Option<Fd>,
    /// When to look at it again after it hung up, in milliseconds.
    paused_until: u64,
}

impl Console {
    /// A new one, from the guest's own instance of devpts.
    pub fn open() -> Result<Self> {
        let master = sys::open(At::CWD, c"/dev/pts/ptmx", O_RDWR | O_NONBLOCK, 0)?;
        sys::ioctl_words(&master, TIOCSPTLCK, &mut [0])?;
        let slave = peer(&master)?;
        // Nobody types there: no echo, and lines end in the log as they were written. struct termios: input,
        // output, control, local flags, then 20 bytes.
        let mut termios = [0u32; 16];
        if sys::ioctl_words(&slave, TCGETS, &mut termios).is_ok() {
            const OPOST: u32 = 0o1;
            const ECHO: u32 = 0o10;
            termios[1] &= !OPOST;
            termios[3] &= !ECHO;
            let _ = sys::ioctl_words(&slave, TCSETS, &mut termios);
        }
        // struct winsize: rows, columns, two unused, 16 bits each. Some inits divide by the width.
        let _ = sys::ioctl_words(&slave, TIOCSWINSZ, &mut [25 | 80 << 16, 0]);
        Ok(Self {
            master,
            slave: Some(slave),
            paused_until: 0,
        })
    }

    /// What the guest's init has as its terminal.
    pub fn slave(&self) -> Option<&Fd> {
        self.slave.as_ref()
    }

    /// `/dev/pts/N`.
    pub fn path(&self) -> Result<Text<32>> {
        let mut number = [0];
        sys::ioctl_words(&self.master, TIOCGPTN, &mut number)?;
        let mut path = Text::new();
        path.push("/dev/pts/").number(u64::from(number[0]));
        Ok(path)
    }

    /// What to wait on, unless it has hung up.
    pub fn watched(&self, now: u64) -> Option<&Fd> {
        (now >= self.paused_until).then_some(&self.master)
    }

    /// When to call [`Console::drain`] although nothing came.
    pub fn paused_until(&self) -> Option<u64> {
        (self.paused_until > 0).then_some(self.paused_until)
    }

    /// Moves what was written to the console into `console.log`.
    pub fn drain(&mut self, now: u64) {
        if now < self.paused_until {
            return;
        }
        self.paused_until = 0;
        // vhangup(2) inside takes the slave away from everyone. A new one makes the master readable again; not at
        // once, or a guest that hangs up in a loop would keep the keeper busy.
        if log::drain(b"console", &self.master) == Err(EIO) {
            self.slave = None;
            self.slave = peer(&self.master).ok();
            self.paused_until = now + 1000;
        }
    }
}

fn peer(master: &Fd) -> Result<Fd> {
    const O_CLOEXEC: usize = sys::O_CLOEXEC;
    sys::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC).map(Fd::own)
}

/// Makes `slave` the terminal of this process, which must lead its session.
pub fn control(slave: &Fd) -> Result<()> {
    sys::ioctl(slave, TIOCSCTTY, 0).map(drop)
}
