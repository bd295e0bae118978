//! `tar:FILE`: an archive from anywhere, which is hostile input.
//!
//! The format is read by the `tar` crate, but not one of its entries is unpacked by it: every name is resolved inside
//! the new root ([`crate::storage::Inside`]). Refused, with the whole archive: names and hard links that are absolute or climb, more
//! than the disk has room for, ids that a guest cannot have. Left out: device nodes. Kept, because they are
//! only data until a guest runs: set-id bits, file capabilities, names with newlines.

pub(in crate::storage) mod unpacker;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::Uid;

use self::unpacker::Unpacker;
use super::{digest, make_root};
use crate::error::{Context, Error, Kind, Result};
use crate::storage::Progress;
use crate::sys;

/// Headers, long names and extended headers of one entry are held in memory; real ones have a few kilobytes.
pub(in crate::storage) const MAX_META: u64 = 4 << 20;

/// What may follow the end mark: tar pads to its record size, at most 1 MiB in practice.
pub(super) const MAX_TAIL: u64 = 64 << 20;

/// The host's user and group `nobody`, which a decompressor of hostile input runs as.
const NOBODY: u32 = 65534;

/// An archive on the host.
pub(super) struct Archive {
    path: PathBuf,
    file: File,
}

impl Archive {
    /// Opens it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).context(|| format!("open `{}`", path.display()))?;
        let meta = file.metadata().context(|| format!("stat `{}`", path.display()))?;
        if !meta.is_file() {
            let message = format!("`{}` is not a file", path.display());
            return Err(Error::new(Kind::Invalid, message).with_hint("a directory is `dir:PATH`"));
        }
        let path = path.to_owned();
        Ok(Self { path, file })
    }

    /// Of the file's bytes.
    pub(super) fn key(&self) -> Result<String> {
        digest::key("tar", &[], &self.file, || self.reading())
    }

    /// Makes `rootfs` in `dir`.
    pub(super) fn unpack(&self, dir: &Path, progress: &dyn Progress) -> Result<()> {
        progress.stage(&format!("unpacking {}", self.path.display()));
        let root = dir.join("rootfs");
        make_root(&root)?;
        let mut stream = Stream::open(self)?;
        let unpacked = self.entries(&mut stream.reader, &root, progress);
        // A decompressor that failed is the cause of whatever the reader complained about.
        stream.finish(&self.path, unpacked.is_ok())?;
        unpacked
    }

    fn entries(&self, reader: &mut dyn Read, root: &Path, progress: &dyn Progress) -> Result<()> {
        let allowance = Cell::new(MAX_META);
        let metered = Metered {
            reader,
            allowance: &allowance,
        };
        let mut archive = tar::Archive::new(metered);
        let mut unpacker = Unpacker::new(&self.path, root)?;
        let mut entries = archive.entries().context(|| self.reading())?;
        for entry in entries.by_ref() {
            sys::interrupt::check()?;
            let mut entry = entry.map_err(|err| self.damaged(err))?;
            allowance.set(u64::MAX);
            unpacker.entry(&mut entry)?;
            progress.bytes(unpacker.bytes, None);
            io::copy(&mut entry, &mut io::sink()).map_err(|err| self.damaged(err))?;
            allowance.set(MAX_META);
        }
        let tail = &mut archive.into_inner().reader.take(MAX_TAIL);
        io::copy(tail, &mut io::sink()).map_err(|err| self.damaged(err))?;
        unpacker.finish(progress)
    }

    fn reading(&self) -> String {
        format!("read `{}`", self.path.display())
    }

    fn damaged(&self, err: io::Error) -> Error {
        Error::new(
            Kind::Invalid,
            format!("`{}` is not a whole tar archive", self.path.display()),
        )
        .with_source(err)
    }
}

/// Counts down what may be read, so that one header cannot fill the memory.
pub(in crate::storage) struct Metered<'a> {
    pub(in crate::storage) reader: &'a mut dyn Read,
    pub(in crate::storage) allowance: &'a Cell<u64>,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.get();
        if left == 0 {
            return Err(io::Error::other("the header of an entry is larger than 4M"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.reader.read(&mut buffer[..most])?;
        self.allowance.set(left.saturating_sub(read as u64));
        Ok(read)
    }
}

/// The archive's bytes, decompressed.
pub(in crate::storage) struct Stream {
    pub(in crate::storage) reader: Box<dyn Read>,
    decompressor: Option<(&'static str, Child)>,
    /// Passes a pipe on to the decompressor.
    feeder: Option<std::thread::JoinHandle<()>>,
}

impl Stream {
    fn open(archive: &Archive) -> Result<Self> {
        let clone = || {
            let mut file = archive.file.try_clone()?;
            file.seek(SeekFrom::Start(0))?;
            Ok::<_, io::Error>(file)
        };
        let file = clone().context(|| archive.reading())?;
        Self::of(file, &archive.path)
    }

    /// Whether the file, which is read from where it stands and left there, is compressed.
    pub(super) fn is_compressed(file: &mut File, path: &Path) -> Result<bool> {
        let reading = || format!("read `{}`", path.display());
        let magic = magic(file).context(reading)?;
        file.seek(SeekFrom::Current(-i64::try_from(magic.len()).unwrap_or(0)))
            .context(reading)?;
        Ok(decompressor(&magic).is_some())
    }

    /// Of what is read from anywhere.
    pub(super) fn fed(mut reader: Box<dyn Read + Send>, path: &Path) -> Result<Self> {
        let magic = magic(&mut reader).context(|| format!("read `{}`", path.display()))?;
        match decompressor(&magic) {
            Some(tool) => Self::by(tool, Input::Fed(magic, reader), path),
            None => Ok(Self::plain(Box::new(io::Cursor::new(magic).chain(reader)))),
        }
    }

    fn plain(reader: Box<dyn Read>) -> Self {
        Self {
            reader: Box::new(io::BufReader::with_capacity(1 << 16, reader)),
            decompressor: None,
            feeder: None,
        }
    }

    /// Of an open file or pipe, from where it stands.
    pub(in crate::storage) fn of(mut file: File, path: &Path) -> Result<Self> {
        let magic = magic(&mut file).context(|| format!("read `{}`", path.display()))?;
        // A file is read from its beginning again; a pipe cannot be.
        let is_pipe = match file.seek(SeekFrom::Current(-i64::try_from(magic.len()).unwrap_or(0))) {
            Ok(_) => false,
            Err(err) if err.raw_os_error() == Some(libc::ESPIPE) => true,
            Err(err) => return Err(Error::io(format!("read `{}`", path.display()), err)),
        };
        let Some(tool) = decompressor(&magic) else {
            let magic = io::Cursor::new(if is_pipe { magic } else { Vec::new() });
            return Ok(Self::plain(Box::new(magic.chain(file))));
        };
        let input = if is_pipe {
            Input::Fed(magic, Box::new(file))
        } else {
            Input::File(file)
        };
        Self::by(tool, input, path)
    }

    fn by((tool, package): (&'static str, &'static str), input: Input, path: &Path) -> Result<Self> {
        // It ends by itself when this end of the pipe is closed.
        let mut command = Command::new(tool);
        command
            .arg("-dc")
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/local/bin");
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        if Uid::effective().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let fed = match input {
            Input::Fed(magic, reader) => {
                let (read, write) = io::pipe().context(|| "make a pipe")?;
                command.stdin(read);
                Some((write, io::Cursor::new(magic).chain(reader)))
            }
            Input::File(file) => {
                command.stdin(file);
                None
            }
        };
        crate::sys::command::tell(&command);
        let mut child = match command.spawn() {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                let message = format!("`{}` needs {tool}", path.display());
                return Err(Error::new(Kind::NotFound, message).with_hint(format!("apt install {package}")));
            }
            other => other.context(|| format!("run `{tool}`"))?,
        };
        // With it goes this process's copy of the pipe's other end.
        drop(command);
        let mut feeder = None;
        if let Some((mut write, mut reader)) = fed {
            // Ended by the end of either side, and waited for in `finish`: nothing forks before.
            feeder = Some(std::thread::spawn(move || {
                let _ = io::copy(&mut reader, &mut write);
            }));
        }
        let Some(output) = child.stdout.take() else {
            return Err(Error::new(Kind::Internal, format!("`{tool}` has no output")));
        };
        Ok(Self {
            reader: Box::new(output),
            decompressor: Some((tool, child)),
            feeder,
        })
    }

    /// Waits for the decompressor. Where the archive was read to its end, its verdict counts: a checksum is at the end.
    pub(in crate::storage) fn finish(self, path: &Path, is_whole: bool) -> Result<()> {
        drop(self.reader);
        let Some((tool, mut child)) = self.decompressor else {
            return Ok(());
        };
        let status = child.wait().context(|| format!("wait for `{tool}`"))?;
        if let Some(feeder) = self.feeder {
            let _ = feeder.join();
        }
        if is_whole && !status.success() {
            let message = format!("`{tool}` failed on `{}` ({status})", path.display());
            return Err(Error::new(Kind::Invalid, message).with_hint("the file is damaged or cut off"));
        }
        Ok(())
    }
}

/// What a decompressor reads.
enum Input {
    /// A file from where it stands.
    File(File),
    /// What was read of a pipe already, and the rest of it.
    Fed(Vec<u8>, Box<dyn Read + Send>),
}

/// The first bytes, by which the kind of a file is known.
fn magic(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut magic = Vec::new();
    reader.take(6).read_to_end(&mut magic)?;
    Ok(magic)
}

/// The program that reads what begins like this, and its package.
fn decompressor(magic: &[u8]) -> Option<(&'static str, &'static str)> {
    match *magic {
        [0x1f, 0x8b, ..] => Some(("gzip", "gzip")),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(("xz", "xz-utils")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(("zstd", "zstd")),
        [b'B', b'Z', b'h', ..] => Some(("bzip2", "bzip2")),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
