//! Source files, read by hostel's own process: the one that evaluates a recipe opens nothing.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::channel::Channel;
use crate::sys::open;

/// The largest source that is read.
pub(crate) const LARGEST: u64 = 16 << 20;

/// How often a file that changes while it is read is read again.
const TRIES: usize = 3;

/// Where the modules of a recipe are.
#[derive(Debug, Default)]
pub(crate) enum Modules {
    /// There are none: a script finds its own.
    #[default]
    None,
    /// In a folder that this process reads.
    Folder(Folder),
    /// In a folder that another process reads and sends.
    Sent(Channel),
}

/// A module's source and its path below the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Modules {
    /// The module of this name; what is wrong with its file otherwise.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Found>, String> {
        match self {
            Self::None => Ok(None),
            Self::Folder(folder) => folder.find(name),
            Self::Sent(channel) => channel.ask(name),
        }
    }
}

/// The folder of a recipe: no path below it leads out.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty())
            .map(Self)
            .map_err(|errno| format!("read `{}`: {}", path.display(), said(errno)))
    }

    /// `lib.shops` is lib/shops.lua, or lib/lib/shops.lua.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Found>, String> {
        if !is_module(name) {
            return Ok(None);
        }
        let relative = format!("{}.lua", name.replace('.', "/"));
        for below in ["", "lib/"] {
            let path = format!("{below}{relative}");
            match open::beneath(&self.0, Path::new(&path), OFlag::O_PATH) {
                Ok(file) => {
                    let text = text_of(&file, &path)?;
                    return Ok(Some(Found { path, text }));
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EXDEV) => return Err(format!("`{path}` leads out of the recipe's folder")),
                Err(errno) => return Err(format!("read `{path}`: {}", said(errno))),
            }
        }
        Ok(None)
    }
}

/// Whether a name can be a module's: words of letters, digits, `_` and `-`, joined by dots.
pub(crate) fn is_module(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    name.len() <= 200 && name.split('.').all(is_part)
}

/// A source text: a regular file of valid UTF-8.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let shown = path.display().to_string();
    let file = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| format!("read `{shown}`: {}", said(errno)))?;
    text_of(&file, &shown)
}

/// As the standard library says it, with its own number for what it has no words for.
fn said(errno: Errno) -> String {
    if errno == Errno::ENOENT {
        return "there is no such file".to_owned();
    }
    let text = std::io::Error::from(errno).kind().to_string();
    match text.as_str() {
        "uncategorized error" | "other error" => errno.desc().to_lowercase(),
        _ => text,
    }
}

/// The text of a file that was opened with `O_PATH`. A device or a FIFO is not opened at all.
fn text_of(file: &OwnedFd, shown: &str) -> Result<String, String> {
    let fail = |what: String| format!("read `{shown}`: {what}");
    let meta = nix::sys::stat::fstat(file).map_err(|errno| fail(said(errno)))?;
    if meta.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(fail("not a file".to_owned()));
    }
    let file = File::from(open::reopen(file.as_fd()).map_err(|errno| fail(said(errno)))?);
    for _ in 0..TRIES {
        let before = state(&file).map_err(|source| fail(source.kind().to_string()))?;
        if before.0 > LARGEST {
            return Err(fail(format!("larger than {} MiB", LARGEST >> 20)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(before.0).unwrap_or(0) + 1);
        // Each try starts anew at the front, whatever the last one read.
        std::io::Seek::rewind(&mut &file).map_err(|source| fail(source.kind().to_string()))?;
        (&file)
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| fail(source.kind().to_string()))?;
        let after = state(&file).map_err(|source| fail(source.kind().to_string()))?;
        if before == after && bytes.len() as u64 == before.0 {
            return decoded(bytes).map_err(fail);
        }
    }
    Err(fail("it changes while it is read".to_owned()))
}

/// What changes when a file does: size, and the times of its content and of its inode.
fn state(file: &File) -> std::io::Result<(u64, i64, i64, i64, i64)> {
    let meta = file.metadata()?;
    Ok((
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ))
}

/// UTF-8 without a byte order mark, which editors of other systems write, and without NUL.
fn decoded(mut bytes: Vec<u8>) -> Result<String, String> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    let line = |at: usize, bytes: &[u8]| bytes[..at].split(|b| *b == b'\n').count();
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(format!(
            "a NUL byte in line {}; a recipe is text",
            line(at, &bytes)
        ));
    }
    String::from_utf8(bytes).map_err(|source| {
        let at = source.utf8_error().valid_up_to();
        let bytes = source.into_bytes();
        format!(
            "not UTF-8 in line {}, byte {} of the file",
            line(at, &bytes),
            at + 1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        let folder = Folder::open(&dir.path().join("in")).unwrap();
        (dir, folder)
    }

    #[test]
    fn a_module_is_found_beside_the_recipe_or_in_lib() {
        let (dir, folder) = folder();
        let inside = dir.path().join("in");
        std::fs::create_dir_all(inside.join("lib/a")).unwrap();
        std::fs::write(inside.join("lib/a/b.lua"), "return 1").unwrap();
        let found = folder.find("a.b").unwrap().unwrap();
        assert_eq!(
            (found.path.as_str(), found.text.as_str()),
            ("lib/a/b.lua", "return 1")
        );
        assert_eq!(folder.find("lib.a.b").unwrap().unwrap().path, "lib/a/b.lua");
        assert_eq!(folder.find("missing"), Ok(None));
        for outside in ["..", "../x", "/etc/passwd", "a..b", "", "a/b", "x\0"] {
            assert_eq!(folder.find(outside), Ok(None), "{outside:?}");
        }
    }

    #[test]
    fn no_link_leads_out() {
        let (dir, folder) = folder();
        let inside = dir.path().join("in");
        std::fs::write(dir.path().join("outside.lua"), "return 1").unwrap();
        std::fs::write(inside.join("own.lua"), "return 2").unwrap();
        symlink("../outside.lua", inside.join("relative.lua")).unwrap();
        symlink(dir.path().join("outside.lua"), inside.join("absolute.lua")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("own.lua", inside.join("alias.lua")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        for name in ["relative", "absolute", "up.outside", "magic.etc.passwd"] {
            let err = folder.find(name).unwrap_err();
            assert!(err.ends_with("leads out of the recipe's folder"), "{name}: {err}");
        }
        assert_eq!(folder.find("alias").unwrap().unwrap().text, "return 2");
    }

    #[test]
    fn what_is_no_text_is_said() {
        let (dir, _) = folder();
        let path = dir.path().join("x.lua");
        for (bytes, expected) in [
            (&b"a\nb\xff\n"[..], "not UTF-8 in line 2, byte 4 of the file"),
            (b"a\nb\n\0", "a NUL byte in line 3; a recipe is text"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path), Err(format!("read `{}`: {expected}", path.display())));
        }
        std::fs::write(&path, b"\xef\xbb\xbfreturn 1\r\n").unwrap();
        assert_eq!(read(&path).unwrap(), "return 1\r\n");
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let (dir, folder) = folder();
        let fifo = dir.path().join("in/fifo.lua");
        nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
        // To open it would wait for a writer.
        assert_eq!(read(&fifo), Err(format!("read `{}`: not a file", fifo.display())));
        assert_eq!(folder.find("fifo"), Err("read `fifo.lua`: not a file".to_owned()));
        assert_eq!(
            read(Path::new("/dev/zero")),
            Err("read `/dev/zero`: not a file".to_owned())
        );
        assert_eq!(
            read(dir.path()),
            Err(format!("read `{}`: not a file", dir.path().display()))
        );
        let missing = dir.path().join("missing.lua");
        assert_eq!(
            read(&missing),
            Err(format!("read `{}`: there is no such file", missing.display()))
        );
    }

    #[test]
    fn a_hundred_megabytes_are_refused_without_reading_them() {
        let (dir, _) = folder();
        let path = dir.path().join("big.lua");
        let file = File::create(&path).unwrap();
        file.set_len(100 << 20).unwrap();
        assert_eq!(
            read(&path),
            Err(format!("read `{}`: larger than 16 MiB", path.display()))
        );
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_whole_or_refused() {
        let (dir, _) = folder();
        let path = dir.path().join("x.lua");
        let (one, two) = ("-".repeat(1 << 20), "=".repeat(3 << 19));
        std::fs::write(&path, &one).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::fs::write(&path, &two).unwrap();
                    std::fs::write(&path, &one).unwrap();
                }
            });
            for _ in 0..50 {
                match read(&path) {
                    // Written in place, a file is seen short; it is never seen mixed.
                    Ok(text) => assert!(
                        text.bytes().all(|b| b == b'-') || text.bytes().all(|b| b == b'='),
                        "half of each"
                    ),
                    Err(err) => assert!(err.ends_with("it changes while it is read"), "{err}"),
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
