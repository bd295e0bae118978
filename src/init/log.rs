//! Log files of the guest: `/var/log/hostel/NAME.log`, rotated by size.
//!
//! They lie in the guest's own tree, and the guest's root may do with them what it likes. So the file is opened
//! anew for each burst, never through a link, only if it is a regular file, and what cannot be written is dropped:
//! a full disk or a removed directory costs log lines, not the service.

use crate::sys::{self, At, ENOENT, Fd, O_APPEND, O_CREAT, O_NONBLOCK, O_WRONLY, Result};
use crate::text::{Line, Text};

/// A file is rotated before it would exceed this.
const MAX_FILE: u64 = 1 << 20;
/// `NAME.log.1` is the newest of so many older ones.
const OLD_FILES: u8 = 3;
/// What is read from a service at once. Its pages are resident.
const CHUNK: usize = 4096;
/// How many chunks of one service are taken before others have their turn.
const CHUNKS: usize = 16;

/// A path inside the log directory.
type Name = Text<96>;

/// Moves what a service has written from `pipe` into its log. Whether the other end still exists.
pub fn drain(name: &[u8], pipe: &Fd) -> Result<()> {
    let mut log = None;
    let mut buffer = [0u8; CHUNK];
    for _ in 0..CHUNKS {
        match sys::read(pipe.raw(), &mut buffer) {
            Ok(0) | Err(sys::EAGAIN | sys::EINTR) => break,
            Ok(length) => {
                let log = log.get_or_insert_with(|| Log::open(name));
                if let Ok(log) = log {
                    log.append(name, &buffer[..length]);
                }
            }
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Records an event of the init itself in `init.log`, and on descriptor 2 for whoever started it.
pub fn event(build: impl FnOnce(&mut Line)) {
    let mut line = Line::new();
    line.time(sys::epoch()).push(" ");
    build(&mut line);
    // A line that was cut off still ends.
    let mut bytes = [0u8; 513];
    let length = line.bytes().len();
    bytes[..length].copy_from_slice(line.bytes());
    bytes[length] = b'\n';
    let bytes = &bytes[..=length];
    let _ = sys::write(2, bytes);
    if let Ok(mut log) = Log::open(b"init") {
        log.append(b"init", bytes);
    }
}

struct Log {
    directory: Fd,
    file: Fd,
    size: u64,
}

impl Log {
    fn open(name: &[u8]) -> Result<Self> {
        let directory = directory()?;
        let (file, size) = file(&directory, name)?;
        Ok(Self {
            directory,
            file,
            size,
        })
    }

    fn append(&mut self, name: &[u8], bytes: &[u8]) {
        if self.size > 0 && self.size + bytes.len() as u64 > MAX_FILE {
            rotate(&self.directory, name);
            match file(&self.directory, name) {
                Ok((file, size)) => (self.file, self.size) = (file, size),
                // The old file stays in use: better too long a log than none.
                Err(_) => self.size = 0,
            }
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match sys::write(self.file.raw(), rest) {
                Ok(written) if written > 0 => {
                    rest = &rest[written.min(rest.len())..];
                    self.size += written as u64;
                }
                Err(sys::EINTR) => {}
                _ => return,
            }
        }
    }
}

fn directory() -> Result<Fd> {
    let open = || sys::open_directory(c"/var/log/hostel");
    match open() {
        Err(ENOENT) => {
            for (path, mode) in [
                (c"/var", 0o755),
                (c"/var/log", 0o755),
                (c"/var/log/hostel", 0o750),
            ] {
                let _ = sys::mkdir(At::CWD, path, mode);
            }
            open()
        }
        other => other,
    }
}

/// Not blocking: the guest may have put a FIFO there, which is then refused for not being a regular file.
fn file(directory: &Fd, name: &[u8]) -> Result<(Fd, u64)> {
    let mut path = Name::new();
    path.push(name).push(".log");
    let file = sys::open(
        directory.into(),
        path.c_str(),
        O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK,
        0o640,
    )?;
    let size = sys::regular_size(&file)?;
    Ok((file, size))
}

fn rotate(directory: &Fd, name: &[u8]) {
    for old in (0..OLD_FILES).rev() {
        let (mut from, mut to) = (Name::new(), Name::new());
        from.push(name).push(".log");
        if old > 0 {
            from.push(".").number(u64::from(old));
        }
        to.push(name).push(".log.").number(u64::from(old) + 1);
        let _ = sys::rename(directory.into(), from.c_str(), to.c_str());
    }
}
