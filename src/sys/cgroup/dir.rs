//! One cgroup directory by descriptor, and its files as text.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Context as _, Error, Kind, Result};

/// An open cgroup directory. Its files are reached through the descriptor; the path is for messages alone.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

const OPEN: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC);

impl Dir {
    /// The directory at `path`; `None` when there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        Self::opened(openat(AT_FDCWD, path, OPEN, Mode::empty()), path.to_owned())
    }

    /// The child `name`; `None` when there is none.
    pub(super) fn child(&self, name: &str) -> Result<Option<Self>> {
        let found = openat(&self.fd, name, OPEN | OFlag::O_NOFOLLOW, Mode::empty());
        Self::opened(found, self.path.join(name))
    }

    fn opened(found: nix::Result<OwnedFd>, path: PathBuf) -> Result<Option<Self>> {
        match found {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(errno) if is_gone(errno) => Ok(None),
            Err(errno) => Err(Error::os(format!("open cgroup `{}`", path.display()), errno)),
        }
    }

    /// The child `name`, made if it is not there; whether it was made.
    pub(super) fn ensure(&self, name: &str) -> Result<(Self, bool)> {
        let path = self.path.join(name);
        // 0755: what a guest's cgroup says may be read by everyone, as everywhere in cgroupfs.
        let made = match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(Errno::EROFS) => {
                return Err(
                    Error::os(format!("make cgroup `{}`", path.display()), Errno::EROFS)
                        .with_kind(Kind::Unsupported)
                        .with_hint(
                            "cgroups are mounted read-only here; hostel must run where it may make them",
                        ),
                );
            }
            Err(Errno::EAGAIN) => {
                return Err(
                    Error::os(format!("make cgroup `{}`", path.display()), Errno::EAGAIN)
                        .with_hint("`cgroup.max.descendants` or `cgroup.max.depth` of a parent is reached"),
                );
            }
            Err(errno) => return Err(Error::os(format!("make cgroup `{}`", path.display()), errno)),
        };
        let dir = self.child(name)?.ok_or_else(|| {
            Error::os(format!("open cgroup `{}`", path.display()), Errno::ENOENT)
                .with_hint("another process removed it at the same moment")
        })?;
        Ok((dir, made))
    }

    /// Removes the child `name`, which must be empty; whether it was there.
    pub(super) fn remove(&self, name: &str) -> nix::Result<bool> {
        match unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir) {
            Ok(()) => Ok(true),
            Err(errno) if is_gone(errno) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// The names of the child cgroups, sorted.
    pub(super) fn children(&self) -> Result<Vec<String>> {
        // Through the descriptor: a guest that owns its cgroup can nest names until the path is too long.
        let listing = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let what = || format!("list cgroup `{}`", self.path.display());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(listing).context(what)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(source) if source.raw_os_error().is_some_and(|e| is_gone(Errno::from_raw(e))) => break,
                Err(source) => return Err(Error::io(what(), source)),
            };
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The content of `file`; `None` when this kernel has no such file, or the cgroup is gone.
    pub(super) fn read_if(&self, file: &str) -> Result<Option<String>> {
        let fd = match openat(&self.fd, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            Err(errno) if is_gone(errno) => return Ok(None),
            Err(errno) => return Err(Error::os(self.what("read", file), errno)),
        };
        match read_from_start(&File::from(fd)) {
            Ok(text) => Ok(Some(text)),
            Err(source) if source.raw_os_error().is_some_and(|e| is_gone(Errno::from_raw(e))) => Ok(None),
            Err(source) => Err(Error::io(self.what("read", file), source)),
        }
    }

    /// The content of `file`, which this kernel must have.
    pub(super) fn read(&self, file: &str) -> Result<String> {
        self.read_if(file)?.ok_or_else(|| self.missing("read", file))
    }

    /// The number in `file`; `None` when there is no such file or it says `max`.
    pub(super) fn number(&self, file: &str) -> Result<Option<u64>> {
        Ok(self.read_if(file)?.and_then(|text| text.trim().parse().ok()))
    }

    /// Opens `file` for reading again and again, with [`read_from_start`].
    pub(super) fn watch(&self, file: &str) -> Result<File> {
        match openat(&self.fd, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(File::from(fd)),
            Err(errno) if is_gone(errno) => Err(self.missing("read", file)),
            Err(errno) => Err(Error::os(self.what("read", file), errno)),
        }
    }

    /// Writes `value` into `file`, in the one `write(2)` that cgroupfs requires.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<()> {
        let what = || format!("write `{}` to `{}`", value.trim(), self.path.join(file).display());
        tracing::trace!("{}", what());
        let flags = OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, file, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Err(self.missing("write", file)),
            Err(errno) => return Err(Error::os(what(), errno)),
        };
        // An empty write(2) does nothing at all: the newline is what empties a value such as cpuset.cpus.
        let value = if value.is_empty() { "\n" } else { value };
        File::from(fd).write_all(value.as_bytes()).context(what)
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn what(&self, verb: &str, file: &str) -> String {
        format!("{verb} `{}`", self.path.join(file).display())
    }

    fn missing(&self, verb: &str, file: &str) -> Error {
        Error::os(self.what(verb, file), Errno::ENOENT)
            .with_kind(Kind::Unsupported)
            .with_hint(format!("the kernel offers no `{file}` in this cgroup"))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Half a page: most files are shorter, cgroup.procs of a fork bomb is not.
const SMALL: usize = 2048;

/// The whole of a cgroup file from its start, whatever was read before.
pub(super) fn read_from_start(file: &File) -> std::io::Result<String> {
    let mut bytes = vec![0; 2 * SMALL];
    let mut filled = 0;
    loop {
        let count = file.read_at(&mut bytes[filled..], filled as u64)?;
        filled += count;
        // The kernel fills a page with whole lines, so a read that leaves more than a line free is the last: no
        // second system call for the small files that nearly all are.
        if count == 0 || filled < SMALL {
            bytes.truncate(filled);
            return String::from_utf8(bytes).map_err(std::io::Error::other);
        }
        if filled == bytes.len() {
            bytes.resize(filled * 2, 0);
        }
    }
}

/// ENOENT is a directory that is not there, ENODEV a file of one that was removed after it was opened.
fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_length_are_read_whole() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap().unwrap();
        for lines in [0, 1, 255, 256, 257, 511, 512, 513, 100_000] {
            let text = "1234567\n".repeat(lines);
            std::fs::write(temp.path().join("f"), &text).unwrap();
            assert_eq!(dir.read("f").unwrap(), text, "{lines}");
        }
        assert_eq!(dir.read_if("g").unwrap(), None);
        assert_eq!(dir.read("g").unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn a_write_empties_with_a_newline() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap().unwrap();
        std::fs::write(temp.path().join("f"), "0-3").unwrap();
        dir.write("f", "").unwrap();
        assert_eq!(dir.read("f").unwrap(), "\n");
        let err = dir.write("g", "1").unwrap_err();
        assert_eq!(err.kind(), Kind::Unsupported);
        assert_eq!(err.hint(), Some("the kernel offers no `g` in this cgroup"));
    }

    #[test]
    fn children_are_directories_and_no_links_are_followed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap().unwrap();
        assert!(dir.ensure("b").unwrap().1);
        assert!(!dir.ensure("b").unwrap().1);
        dir.ensure("a").unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/", temp.path().join("link")).unwrap();
        assert_eq!(dir.children().unwrap(), ["a", "b"]);
        assert!(dir.child("link").is_err());
        assert_eq!(dir.remove("a"), Ok(true));
        assert_eq!(dir.remove("a"), Ok(false));
    }
}
