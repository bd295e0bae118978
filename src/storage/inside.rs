//! A guest's tree as hostile input: every path in it is resolved as if its root were `/`.
//!
//! `openat2(2)` with `RESOLVE_IN_ROOT` does the resolving, in the kernel and in one step, so there is no check that
//! a racing rename could outrun. Owns: reading and writing single files in a tree, and the targets of mounts.
//! Refuses: paths with `..`, links that lead nowhere, and everything that is neither file nor directory: opening a
//! FIFO would block, and opening a device would act on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, unlinkat};

use super::{scratch, tree};
use crate::error::{Context as _, Error, Kind as Failure, Result};
use crate::sys;

/// A tree that its own processes may have filled with traps.
#[derive(Debug)]
pub struct Inside {
    root: OwnedFd,
    label: String,
    /// What the guest's id 0 is on the host, seen through this tree.
    owner: u32,
    /// Whether each file that is written is on the disk before it is in its place.
    flushes: bool,
}

/// What a mount target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file.
    File,
}

impl Inside {
    /// The last component of what `path` leads to when every link is followed: what program a name is.
    pub fn final_name(&self, path: &Path) -> Result<String> {
        use std::os::fd::AsRawFd as _;
        let label = || format!("open `{}:{}`", self.label, path.display());
        let file =
            crate::sys::open::in_root(self.root(), path, OFlag::O_PATH, Mode::empty()).context(label)?;
        let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).context(label)?;
        Ok(real
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default())
    }

    /// The tree at `root`, a path that the guest cannot bend. `label` names it in errors: the guest's name.
    pub fn open(root: &Path, label: impl Into<String>) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match open(root, flags, Mode::empty()) {
            Ok(fd) => Ok(Self::from_fd(fd, label)),
            Err(errno) => Err(Error::os(format!("open `{}`", root.display()), errno)),
        }
    }

    /// The same of a directory that the host's administrator has named, perhaps by a link.
    pub fn open_followed(root: &Path, label: impl Into<String>) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match open(root, flags, Mode::empty()) {
            Ok(fd) => Ok(Self::from_fd(fd, label)),
            Err(errno) => Err(Error::os(format!("open `{}`", root.display()), errno)),
        }
    }

    /// The tree below an open directory.
    pub fn from_fd(root: OwnedFd, label: impl Into<String>) -> Self {
        let label = label.into();
        Self {
            root,
            label,
            owner: 0,
            flushes: true,
        }
    }

    /// The tree as a running guest has it mounted, where its id N is `owner + N` on the host. What is made in it is
    /// still said in the guest's ids.
    pub fn of_running(root: OwnedFd, label: impl Into<String>, owner: u32) -> Self {
        let label = label.into();
        Self {
            root,
            label,
            owner,
            flushes: true,
        }
    }

    /// The same of a guest that is just being made: who makes it known flushes all of it at once.
    #[must_use]
    pub fn flushed_later(self) -> Self {
        Self {
            flushes: false,
            ..self
        }
    }

    /// Makes something as the tree's root.
    fn as_owner<T>(&self, make: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        if self.owner == 0 {
            return make();
        }
        let _acting = sys::fsid::act_as(self.owner)?;
        make()
    }

    /// The root of the tree.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Replaces the file at `path` with one that holds `content`; missing directories above it are made. A link in
    /// its place is replaced, never followed; whoever had the old file open keeps the old file.
    pub fn write_file(&self, path: &Path, content: &[u8], mode: u32, uid: u32, gid: u32) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        let dir = self.make_dir_all(&parent, 0o755)?;
        let temporary = PathBuf::from(format!(".hostel-{}", scratch::unique()));
        let fail = |errno| self.fail("write", path, errno);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = self
            .as_owner(|| openat(&dir, &temporary, flags, Mode::from_bits_truncate(0o600)))
            .map_err(fail)?;
        let (uid, gid) = (self.owner.saturating_add(uid), self.owner.saturating_add(gid));
        let write = || {
            let mut file = File::from(file);
            file.write_all(content).map_err(|err| errno_of(&err))?;
            // In this order: a change of the owner takes the set-id bits away (`chown(2)`).
            fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            fchmod(&file, Mode::from_bits_truncate(mode & 0o7777))?;
            if self.flushes {
                fsync(&file)?;
            }
            renameat(&dir, &temporary, &dir, name)
        };
        write().map_err(|errno| {
            let failure = fail(errno);
            match unlinkat(&dir, &temporary, UnlinkatFlags::NoRemoveDir) {
                Ok(()) => failure,
                Err(errno) => failure.and_also(self.fail("remove", &temporary, errno)),
            }
        })
    }

    /// Opens the directory at `path`, making what is missing with `mode` and the owner 0:0.
    pub fn make_dir_all(&self, path: &Path, mode: u32) -> Result<OwnedFd> {
        let mut so_far = PathBuf::from(".");
        let mut dir = self.locate(&so_far).map_err(|e| self.fail("open", path, e))?;
        for name in self.components(path)? {
            so_far.push(name);
            dir = match self.locate(&so_far) {
                Err(Errno::ENOENT) => {
                    match self.as_owner(|| make_dir(&dir, name, mode)) {
                        // Somebody else made it, or a link that leads nowhere is in its place: locate decides.
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(errno) => return Err(self.fail("make", path, errno)),
                    }
                    self.locate(&so_far)
                }
                other => other,
            }
            .map_err(|errno| self.fail("open", path, errno))?;
        }
        let stat = fstat(&dir).map_err(|errno| self.fail("stat", path, errno))?;
        if type_of(&stat) == SFlag::S_IFDIR {
            Ok(dir)
        } else {
            Err(self.refuse(path, "is not a directory"))
        }
    }

    /// Opens the file at `path` for reading, links followed inside the tree. What is not a plain file is refused.
    pub fn open_file(&self, path: &Path) -> Result<File> {
        self.components(path)?;
        let fail = |errno| self.fail("read", path, errno);
        let found = self.locate(path).map_err(fail)?;
        let stat = fstat(&found).map_err(fail)?;
        if type_of(&stat) != SFlag::S_IFREG {
            return Err(self.refuse(path, "is not a file"));
        }
        // It is known to be a plain file before it is opened for good, and stays the same one: by descriptor.
        let again = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        open(again.as_str(), flags, Mode::empty())
            .map(File::from)
            .map_err(fail)
    }

    /// The content of the file at `path`, links followed inside the tree. More than `limit` bytes are refused.
    pub fn read_file(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        let file = self.open_file(path)?;
        let mut content = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut content);
        read.map_err(|err| self.fail("read", path, errno_of(&err)))?;
        if content.len() as u64 > limit {
            return Err(self.refuse(path, &format!("is larger than {limit} bytes")));
        }
        Ok(content)
    }

    /// Whether something is at `path`, links followed inside the tree.
    pub fn exists(&self, path: &Path) -> Result<bool> {
        self.components(path)?;
        match self.locate(path) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(false),
            Err(errno) => Err(self.fail("look for", path, errno)),
        }
    }

    /// Removes what is at `path`: a link itself, a directory with everything below. `false` when nothing was there.
    pub fn remove(&self, path: &Path) -> Result<bool> {
        let (parent, name) = self.parent(path)?;
        let dir = match self.locate(&parent) {
            Ok(dir) => dir,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(false),
            Err(errno) => return Err(self.fail("remove", path, errno)),
        };
        match fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(self.fail("remove", path, errno)),
            Ok(_) => tree::remove(&dir, Path::new(name))
                .map(|()| true)
                .map_err(|err| err.context(format!("remove {}", self.subject(path)))),
        }
    }

    /// Opens what a mount goes on (`O_PATH`), making it when it is missing. Links are followed inside the tree.
    pub fn open_target(&self, path: &Path, kind: Kind) -> Result<OwnedFd> {
        let wanted = match kind {
            Kind::Dir => return self.make_dir_all(path, 0o755),
            Kind::File => SFlag::S_IFREG,
        };
        let (parent, name) = self.parent(path)?;
        let fail = |errno| self.fail("open", path, errno);
        let found = match self.locate(path) {
            Err(Errno::ENOENT) => {
                let dir = self.make_dir_all(&parent, 0o755)?;
                let flags =
                    OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                match self.as_owner(|| openat(&dir, name, flags, Mode::S_IRUSR)) {
                    Ok(made) => fchmod(made, Mode::from_bits_truncate(0o644)).map_err(fail)?,
                    Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(fail(errno)),
                }
                self.locate(path).map_err(fail)?
            }
            other => other.map_err(fail)?,
        };
        let stat = fstat(&found).map_err(fail)?;
        if type_of(&stat) == wanted {
            Ok(found)
        } else {
            Err(self.refuse(path, "is not a file"))
        }
    }

    /// Finds `path` without opening it: `O_PATH` runs no driver and waits for no FIFO.
    fn locate(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        sys::open::in_root(&self.root, path, OFlag::O_PATH, Mode::empty())
    }

    /// The names that make up a path of a recipe or of hostel, which has no use for `..`.
    fn components<'a>(&self, path: &'a Path) -> Result<Vec<&'a OsStr>> {
        path.components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(Ok(name)),
                Component::RootDir | Component::CurDir => None,
                Component::ParentDir | Component::Prefix(_) => Some(Err(self.refuse(path, "has `..` in it"))),
            })
            .collect()
    }

    fn parent<'a>(&self, path: &'a Path) -> Result<(PathBuf, &'a OsStr)> {
        match self.components(path)?.split_last() {
            Some((name, parents)) => Ok((parents.iter().collect(), name)),
            None => Err(self.refuse(path, "is the root of the tree")),
        }
    }

    fn subject(&self, path: &Path) -> String {
        let path = Path::new("/").join(path);
        format!("`{}:{}`", self.label, path.to_string_lossy().escape_debug())
    }

    fn fail(&self, operation: &str, path: &Path, errno: Errno) -> Error {
        let failure = Error::os(format!("{operation} {}", self.subject(path)), errno);
        match errno {
            Errno::ENOENT => failure
                .with_kind(Failure::NotFound)
                .with_hint("it is missing, or a link on the way leads nowhere inside the guest"),
            Errno::ELOOP => failure
                .with_kind(Failure::Invalid)
                .with_hint("a link on the way leads to itself or out of the guest"),
            Errno::ENOTDIR => failure
                .with_kind(Failure::Invalid)
                .with_hint("something on the way is not a directory"),
            Errno::ENOSYS => failure.with_hint("openat2(2) needs Linux 5.6"),
            _ => failure,
        }
    }

    fn refuse(&self, path: &Path, what: &str) -> Error {
        Error::new(Failure::Invalid, format!("{} {what}", self.subject(path)))
    }
}

/// Makes a directory of exactly this mode: the umask of whoever runs hostel has no say inside a guest.
fn make_dir(dir: &OwnedFd, name: &OsStr, mode: u32) -> Result<(), Errno> {
    mkdirat(dir, name, Mode::S_IRWXU)?;
    let child = sys::open::child_dir(dir, Path::new(name))?;
    fchmod(child, Mode::from_bits_truncate(mode))
}

fn type_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn errno_of(err: &std::io::Error) -> Errno {
    err.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// A guest's tree, and beside it a canary directory that every trap points at.
    struct Trap {
        dir: tempfile::TempDir,
    }

    impl Trap {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("guest/etc")).unwrap();
            fs::create_dir(dir.path().join("canary")).unwrap();
            fs::write(dir.path().join("canary/secret"), "host").unwrap();
            Self { dir }
        }

        fn guest(&self) -> PathBuf {
            self.dir.path().join("guest")
        }

        fn canary(&self) -> PathBuf {
            self.dir.path().join("canary")
        }

        fn inside(&self) -> Inside {
            Inside::open(&self.guest(), "web").unwrap()
        }

        fn is_unharmed(&self) {
            let names: Vec<_> = fs::read_dir(self.canary()).unwrap().collect();
            assert_eq!(names.len(), 1);
            assert_eq!(fs::read(self.canary().join("secret")).unwrap(), b"host");
        }
    }

    #[test]
    fn writes_with_mode_and_owner_and_reads_back() {
        let trap = Trap::new();
        let inside = trap.inside();
        inside
            .write_file(Path::new("/a/b/c"), b"text", 0o4750, 1000, 1001)
            .unwrap();
        let meta = fs::metadata(trap.guest().join("a/b/c")).unwrap();
        assert_eq!(
            (meta.mode() & 0o7777, meta.uid(), meta.gid()),
            (0o4750, 1000, 1001)
        );
        assert_eq!(inside.read_file(Path::new("a/b/c"), 4).unwrap(), b"text");
        let err = inside.read_file(Path::new("a/b/c"), 3).unwrap_err();
        assert_eq!(err.to_string(), "`web:/a/b/c` is larger than 3 bytes");
        assert_eq!(fs::read_dir(trap.guest().join("a/b")).unwrap().count(), 1);
        assert!(inside.exists(Path::new("/a/b")).unwrap());
        assert!(inside.remove(Path::new("/a")).unwrap());
        assert!(!inside.remove(Path::new("/a")).unwrap());
        assert!(!inside.exists(Path::new("/a/b")).unwrap());
    }

    #[test]
    fn every_link_ends_inside() {
        for target in ["absolute", "climbing", "root"] {
            let trap = Trap::new();
            let to = match target {
                "absolute" => trap.canary(),
                "climbing" => "../../../../../../../../../../".into(),
                _ => "/".into(),
            };
            fs::remove_dir(trap.guest().join("etc")).unwrap();
            symlink(&to, trap.guest().join("etc")).unwrap();
            let inside = trap.inside();
            // A link to the canary leads nowhere inside; one to the root leads to the guest's own.
            let written = inside.write_file(Path::new("/etc/secret"), b"guest", 0o644, 0, 0);
            assert_eq!(written.is_ok(), target != "absolute", "{target}");
            if target != "absolute" {
                assert_eq!(fs::read(trap.guest().join("secret")).unwrap(), b"guest");
            }
            let _ = inside.open_target(Path::new("/etc/x/y"), Kind::Dir);
            let _ = inside.open_target(Path::new("/etc/x/z"), Kind::File);
            let _ = inside.remove(Path::new("/etc/secret"));
            trap.is_unharmed();
        }
    }

    #[test]
    fn a_link_in_place_of_the_file_is_replaced() {
        let trap = Trap::new();
        symlink(trap.canary().join("secret"), trap.guest().join("etc/resolv.conf")).unwrap();
        let inside = trap.inside();
        assert!(inside.read_file(Path::new("/etc/resolv.conf"), 99).is_err());
        inside
            .write_file(Path::new("/etc/resolv.conf"), b"new", 0o644, 0, 0)
            .unwrap();
        assert!(
            fs::symlink_metadata(trap.guest().join("etc/resolv.conf"))
                .unwrap()
                .is_file()
        );
        trap.is_unharmed();
    }

    #[test]
    fn var_run_may_be_a_link() {
        let trap = Trap::new();
        fs::create_dir(trap.guest().join("var")).unwrap();
        symlink("/etc", trap.guest().join("var/run")).unwrap();
        let inside = trap.inside();
        inside
            .write_file(Path::new("/var/run/x"), b"", 0o644, 0, 0)
            .unwrap();
        assert!(trap.guest().join("etc/x").exists());
    }

    #[test]
    fn nothing_is_waited_for() {
        let trap = Trap::new();
        nix::unistd::mkfifo(&trap.guest().join("etc/fifo"), Mode::S_IRWXU).unwrap();
        let inside = trap.inside();
        let fifo = Path::new("/etc/fifo");
        let expected = "`web:/etc/fifo` is not a file";
        assert_eq!(inside.read_file(fifo, 9).unwrap_err().to_string(), expected);
        assert_eq!(
            inside.open_target(fifo, Kind::File).unwrap_err().to_string(),
            expected
        );
        let err = inside.open_target(fifo, Kind::Dir).unwrap_err();
        assert_eq!(err.to_string(), "`web:/etc/fifo` is not a directory");
        assert!(inside.write_file(&fifo.join("x"), b"", 0o644, 0, 0).is_err());
        inside.write_file(fifo, b"x", 0o644, 0, 0).unwrap();
        assert!(trap.guest().join("etc/fifo").is_file());
    }

    #[test]
    fn refuses_dangling_looping_and_climbing() {
        let trap = Trap::new();
        symlink("nowhere", trap.guest().join("dangling")).unwrap();
        symlink("loop", trap.guest().join("loop")).unwrap();
        let inside = trap.inside();
        for bad in [
            "/dangling",
            "/dangling/x",
            "/loop",
            "/loop/x",
            "/../x",
            "/etc/../../x",
            "/",
        ] {
            assert!(inside.open_target(Path::new(bad), Kind::File).is_err(), "{bad}");
        }
        assert!(inside.open_target(Path::new("/dangling"), Kind::Dir).is_err());
        assert!(!inside.exists(Path::new("/dangling")).unwrap());
        assert!(!inside.exists(Path::new("/loop")).unwrap());
        assert!(fs::symlink_metadata(trap.guest().join("nowhere")).is_err());
    }

    #[test]
    fn targets_are_made_when_missing() {
        let trap = Trap::new();
        let inside = trap.inside();
        inside.open_target(Path::new("/srv/data"), Kind::Dir).unwrap();
        inside.open_target(Path::new("/srv/file"), Kind::File).unwrap();
        inside.open_target(Path::new("/srv/file"), Kind::File).unwrap();
        assert!(trap.guest().join("srv/data").is_dir());
        assert!(trap.guest().join("srv/file").is_file());
        assert!(inside.open_target(Path::new("/srv/data"), Kind::File).is_err());
        assert!(inside.open_target(Path::new("/srv/file"), Kind::Dir).is_err());
    }
}
