//! The configuration that life hands to the init on descriptor 3: its format, its limits, its decoder.
//!
//! ```text
//! magic[8] version:u32 length:u32 mode:u32 flags:u32 stop_ms:u32 caps:u64 hostname:text env:list
//! mode 0: services:u32, each  name:text restart:u32 stop_signal:u32 user:text dir:text argv:list env:list
//! mode 1: path:text mask:list readonly:list filter:u32 (its bytes follow, eight an instruction)
//! text:   length:u32 bytes NUL        list: count:u32 text...
//! ```
//!
//! Numbers are little-endian. A text carries its NUL, so that `execve(2)` takes it where it lies. Nothing is
//! copied or allocated. Every length is checked here once: a configuration that decodes is valid as a whole.
//! The library compiles this file too, for its encoder and its tests.

use core::ffi::CStr;

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"hostel\0i";
/// The format above.
pub const VERSION: u32 = 2;
/// The most bytes in all. It is resident memory of every guest, and `execve(2)` takes little more.
pub const MAX_BYTES: usize = 256 << 10;
/// The most services of a guest: each has two descriptors, and an init has 1,024 by default.
pub const MAX_SERVICES: usize = 64;
/// The most arguments of a service, and the most variables of the guest or of a service.
pub const MAX_LIST: usize = 256;
/// The longest text: the kernel's own limit for one argument (`MAX_ARG_STRLEN`), its NUL included.
pub const MAX_TEXT: usize = (128 << 10) - 1;
/// The longest name of a service: with `.log.3` it must be a file name.
pub const MAX_NAME: usize = 63;
/// The flag that descriptor 4 is the cgroup directory of the guest's own init.
pub const FLAG_CGROUP: u32 = 1;
/// The flag that the descriptor after that is where it is told that the guest's own init could not be run.
pub const FLAG_REPORT: u32 = 2;
/// The flag that nothing in the guest may gain a right by being executed.
pub const FLAG_NO_NEW_PRIVS: u32 = 4;
/// Nothing in the guest can make a user namespace.
pub const FLAG_NO_USERS: u32 = 8;
/// The longest filter of system calls: `BPF_MAXINSNS` instructions.
pub const MAX_FILTER: usize = 4096 * 8;

/// Why a configuration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// It is not a configuration.
    Magic,
    /// It is of another version of hostel.
    Version,
    /// It is longer than [`MAX_BYTES`] or not as long as it says.
    Length,
    /// It ends in the middle of a value.
    Truncated,
    /// A text or list is longer than allowed.
    TooLong,
    /// A text lacks its NUL or has another one inside.
    Nul,
    /// A value has no meaning.
    Value,
    /// There is more after the end.
    Trailing,
}

impl Bad {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Bad::Magic => "not a configuration of hostel's init",
            Bad::Version => "made by another version of hostel",
            Bad::Length => "its length is wrong",
            Bad::Truncated => "it is truncated",
            Bad::TooLong => "a text or list is too long",
            Bad::Nul => "a text is not terminated once",
            Bad::Value => "a value is out of range",
            Bad::Trailing => "something follows its end",
        }
    }
}

/// A valid configuration.
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, each a bit of the format"
)]
pub struct Config<'a> {
    /// How long a stop may take in all, in milliseconds.
    pub stop_ms: u32,
    /// Whether descriptor 4 is the cgroup of the guest's own init.
    pub has_cgroup: bool,
    /// Whether the descriptor after that is where it is told why the guest's own init could not be run.
    pub has_report: bool,
    /// Whether nothing in the guest may gain a right by being executed.
    pub no_new_privs: bool,
    /// Whether nothing in the guest can make a user namespace.
    pub no_users: bool,
    /// The capabilities that the guest's own init keeps, as the kernel's mask.
    pub caps: u64,
    /// The guest's hostname.
    pub hostname: &'a CStr,
    /// The guest's environment, `NAME=VALUE`.
    pub env: List<'a>,
    /// What is run.
    pub mode: Mode<'a>,
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// hostel's init is the guest's init.
    Hostel(Services<'a>),
    /// hostel's init keeps the guest's own.
    Own(Own<'a>),
}

/// The guest's own init.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Its absolute path.
    pub path: &'a CStr,
    /// Absolute paths that nothing inside may read.
    pub mask: List<'a>,
    /// Absolute paths that nothing inside may write.
    pub readonly: List<'a>,
    /// The filter of its system calls, whole instructions (`struct sock_filter`); empty for none.
    pub filter: &'a [u8],
}

/// When a service that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Whenever it ends.
    Always,
    /// When it ends with a status other than 0 or by a signal.
    OnFailure,
    /// Not at all.
    Never,
}

/// One service.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// Its name, a file name of at most [`MAX_NAME`] bytes.
    pub name: &'a CStr,
    /// When it is started again.
    pub restart: Restart,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// `USER` or `USER:GROUP`, names or numbers; empty for root.
    pub user: &'a CStr,
    /// Its absolute working directory.
    pub dir: &'a CStr,
    /// The program and its arguments, never empty.
    pub argv: List<'a>,
    /// Its own environment, `NAME=VALUE`, over the guest's.
    pub env: List<'a>,
}

/// Texts, one after the other, all checked.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> List<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &'a CStr> + use<'a> {
        let mut reader = Reader { rest: self.bytes };
        core::iter::from_fn(move || reader.text(MAX_TEXT).ok())
    }
}

/// Services, in the order in which they start, all checked.
#[derive(Debug, Clone, Copy)]
pub struct Services<'a> {
    bytes: &'a [u8],
}

impl<'a> Services<'a> {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Service<'a>> + use<'a> {
        let mut reader = Reader { rest: self.bytes };
        core::iter::from_fn(move || service(&mut reader).ok())
    }
}

/// Checks `bytes` and says what they mean.
pub fn decode(bytes: &[u8]) -> Result<Config<'_>, Bad> {
    let mut reader = Reader { rest: bytes };
    if reader.take(MAGIC.len()).ok() != Some(&MAGIC[..]) {
        return Err(Bad::Magic);
    }
    if reader.u32()? != VERSION {
        return Err(Bad::Version);
    }
    if bytes.len() > MAX_BYTES || usize::try_from(reader.u32()?) != Ok(bytes.len()) {
        return Err(Bad::Length);
    }
    let mode = reader.u32()?;
    let flags = reader.u32()?;
    if flags & !(FLAG_CGROUP | FLAG_REPORT | FLAG_NO_NEW_PRIVS | FLAG_NO_USERS) != 0 {
        return Err(Bad::Value);
    }
    let stop_ms = reader.u32()?;
    let caps = reader.u64()?;
    let hostname = reader.text(64)?;
    let env = variables(&mut reader)?;
    let mode = match mode {
        0 => {
            let count = reader.count(MAX_SERVICES)?;
            let start = reader.rest;
            for _ in 0..count {
                service(&mut reader)?;
            }
            let length = start.len() - reader.rest.len();
            Mode::Hostel(Services {
                bytes: &start[..length],
            })
        }
        1 => {
            let path = reader.text(MAX_TEXT)?;
            let mask = reader.list(MAX_LIST)?;
            let readonly = reader.list(MAX_LIST)?;
            let length = reader.count(MAX_FILTER)?;
            let filter = reader.take(length)?;
            if !is_absolute(path)
                || !mask.iter().chain(readonly.iter()).all(is_absolute)
                || !filter.len().is_multiple_of(8)
            {
                return Err(Bad::Value);
            }
            Mode::Own(Own {
                path,
                mask,
                readonly,
                filter,
            })
        }
        _ => return Err(Bad::Value),
    };
    if !reader.rest.is_empty() {
        return Err(Bad::Trailing);
    }
    Ok(Config {
        stop_ms,
        has_cgroup: flags & FLAG_CGROUP != 0,
        has_report: flags & FLAG_REPORT != 0,
        no_new_privs: flags & FLAG_NO_NEW_PRIVS != 0,
        no_users: flags & FLAG_NO_USERS != 0,
        caps,
        hostname,
        env,
        mode,
    })
}

/// Whether `name` can name a service: it becomes a file name and a word of the status file.
pub fn is_service_name(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name[0].is_ascii_alphanumeric()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(b))
        // The init's own log has that name.
        && name != b"init"
}

fn service<'a>(reader: &mut Reader<'a>) -> Result<Service<'a>, Bad> {
    let name = reader.text(MAX_NAME)?;
    let restart = match reader.u32()? {
        0 => Restart::Always,
        1 => Restart::OnFailure,
        2 => Restart::Never,
        _ => return Err(Bad::Value),
    };
    let Ok(stop_signal @ 1..=64) = i32::try_from(reader.u32()?) else {
        return Err(Bad::Value);
    };
    let user = reader.text(256)?;
    let dir = reader.text(MAX_TEXT)?;
    let argv = reader.list(MAX_LIST)?;
    let env = variables(reader)?;
    if !is_service_name(name.to_bytes()) || argv.len() == 0 || !is_absolute(dir) {
        return Err(Bad::Value);
    }
    Ok(Service {
        name,
        restart,
        stop_signal,
        user,
        dir,
        argv,
        env,
    })
}

fn variables<'a>(reader: &mut Reader<'a>) -> Result<List<'a>, Bad> {
    let list = reader.list(MAX_LIST)?;
    let has_name = |text: &CStr| {
        text.to_bytes()
            .iter()
            .position(|b| *b == b'=')
            .is_some_and(|at| at > 0)
    };
    if list.iter().all(has_name) {
        Ok(list)
    } else {
        Err(Bad::Value)
    }
}

fn is_absolute(path: &CStr) -> bool {
    path.to_bytes().first() == Some(&b'/')
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Bad::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, Bad> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Bad::Truncated)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*taken))
    }

    fn u64(&mut self) -> Result<u64, Bad> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Bad::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*taken))
    }

    fn count(&mut self, most: usize) -> Result<usize, Bad> {
        match usize::try_from(self.u32()?) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(Bad::TooLong),
        }
    }

    fn text(&mut self, longest: usize) -> Result<&'a CStr, Bad> {
        let length = self.count(longest)?;
        CStr::from_bytes_with_nul(self.take(length + 1)?).or(Err(Bad::Nul))
    }

    fn list(&mut self, most: usize) -> Result<List<'a>, Bad> {
        let count = self.count(most)?;
        let start = self.rest;
        for _ in 0..count {
            self.text(MAX_TEXT)?;
        }
        let length = start.len() - self.rest.len();
        Ok(List {
            count,
            bytes: &start[..length],
        })
    }
}
