//! One entry of an archive after the other, each put in its place inside the new root.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, fstatat, futimens,
    mkdirat, mknodat, utimensat,
};
use nix::sys::statvfs::fstatvfs;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use tar::{Entry, EntryType};

use super::Metered;
use crate::error::{Context, Error, Kind, Result};
use crate::guest::Xid;
use crate::storage::{Inside, Progress, archive, tree};
use crate::sys;

/// The apparent size of a sparse file. Its holes take no room, but reading through them takes time.
const MAX_SPARSE: u64 = 64 << 30;

/// What the root has before.
enum Onto {
    /// Nothing.
    Nothing,
    /// A tree.
    Tree,
    /// Lower layers; and these names are of this one.
    Layer(BTreeSet<PathBuf>),
}

/// Puts entries in their places, and counts.
pub(in crate::storage) struct Unpacker {
    archive: PathBuf,
    inside: Inside,
    /// The directory of the archive below which its files are.
    below: Option<&'static str>,
    /// The last directory that something was put into. Archives name the files of a directory together.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Directories get their time last: putting something into them changes it.
    times: HashMap<PathBuf, TimeSpec>,
    onto: Onto,
    room: u64,
    names: u64,
    /// Bytes of files so far.
    pub(in crate::storage) bytes: u64,
    entries: u64,
    devices: u64,
}

impl Unpacker {
    /// For an empty root.
    pub(in crate::storage) fn new(archive: &Path, root: &Path) -> Result<Self> {
        Self::of(archive, Inside::open(root, archive.display().to_string())?)
    }

    /// For a root that has something in it: what comes replaces what has its name, whatever that is, and directories
    /// keep what is in them.
    pub(in crate::storage) fn onto(archive: &Path, inside: Inside) -> Result<Self> {
        let mut unpacker = Self::of(archive, inside)?;
        unpacker.onto = Onto::Tree;
        Ok(unpacker)
    }

    /// The same for a layer, which may take away what was there before it, and never what it brings itself.
    pub(in crate::storage) fn layer(archive: &Path, inside: Inside) -> Result<Self> {
        let mut unpacker = Self::of(archive, inside)?;
        unpacker.onto = Onto::Layer(BTreeSet::new());
        Ok(unpacker)
    }

    fn of(archive: &Path, inside: Inside) -> Result<Self> {
        let stat = fstatvfs(inside.root())
            .context(|| format!("ask for the room to unpack `{}`", archive.display()))?;
        // A file system without a fixed number of inodes says 0.
        let names = if stat.files_free() == 0 {
            u64::MAX
        } else {
            stat.files_free()
        };
        Ok(Self {
            archive: archive.to_owned(),
            inside,
            below: None,
            parent: None,
            times: HashMap::new(),
            onto: Onto::Nothing,
            room: stat.blocks_available().saturating_mul(stat.fragment_size()),
            names,
            bytes: 0,
            entries: 0,
            devices: 0,
        })
    }

    /// Whether it unpacks onto something.
    pub(in crate::storage) fn is_onto(&self) -> bool {
        !matches!(self.onto, Onto::Nothing)
    }

    /// Takes what is below this directory of the archive, and refuses what is not.
    pub(in crate::storage) fn below(mut self, dir: &'static str) -> Self {
        self.below = Some(dir);
        self
    }

    /// One entry.
    pub(in crate::storage) fn entry(&mut self, entry: &mut Entry<'_, Metered<'_>>) -> Result<()> {
        let name = entry.path_bytes().into_owned();
        let header = entry.header();
        let kind = header.entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let damaged = |err| {
            self.refuse(&name, "has a header that makes no sense")
                .with_source(err)
        };
        let mut attributes = Attributes {
            mode: header.mode().map_err(damaged)?,
            uid: self.id(&name, header.uid().map_err(damaged)?)?,
            gid: self.id(&name, header.gid().map_err(damaged)?)?,
            time: TimeSpec::new(i64::try_from(header.mtime().map_err(damaged)?).unwrap_or(0), 0),
        };
        self.entries += 1;
        self.account(&name, entry, kind)?;
        let path = self.clean(&name)?;
        let (xattrs, time) = self.records(&name, entry)?;
        attributes.time = time.unwrap_or(attributes.time);
        let Some(file_name) = path.file_name() else {
            // The root itself.
            let root = self.inside.make_dir_all(Path::new("/"), 0o755)?;
            let root = sys::open::child_dir(root, Path::new(".")).map_err(|e| self.fail(&name, e))?;
            attributes.set(&root).map_err(|errno| self.fail(&name, errno))?;
            set_xattrs(&root, &xattrs).map_err(|errno| self.fail(&name, errno))?;
            self.times.insert(path, attributes.time);
            return Ok(());
        };
        let file_name = Path::new(file_name);
        let dir = self.parent(path.parent().unwrap_or(Path::new("")))?;
        if self.is_onto() {
            self.make_way(&dir, file_name, kind).map_err(|err| {
                err.context(format!(
                    "unpack `{}` of `{}`",
                    shown(&path),
                    self.archive.display()
                ))
            })?;
        }
        if let Onto::Layer(made) = &mut self.onto {
            made.insert(path.clone());
        }
        let fail = |errno| self.fail(&name, errno);
        match kind {
            EntryType::Directory => {
                let made = directory(&dir, file_name).map_err(fail)?;
                attributes.set(&made).map_err(fail)?;
                if self.is_onto() {
                    only_xattrs(&made, &xattrs).map_err(fail)?;
                }
                set_xattrs(&made, &xattrs).map_err(fail)?;
                self.times.insert(path, attributes.time);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                clear(&dir, file_name).map_err(fail)?;
                let flags =
                    OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = openat(&dir, file_name, flags, Mode::S_IWUSR).map_err(fail)?;
                let mut file = File::from(file);
                let copied = if kind == EntryType::GNUSparse {
                    sparsely(entry, &mut file)
                } else {
                    io::copy(entry, &mut file)
                };
                let size = entry.size();
                match copied {
                    Ok(copied) if copied == size => {}
                    Ok(_) => return Err(self.refuse(&name, "is cut off")),
                    Err(err) => return Err(self.refuse(&name, "cannot be unpacked").with_source(err)),
                }
                attributes.set(&file).map_err(fail)?;
                set_xattrs(&file, &xattrs).map_err(fail)?;
                futimens(&file, &attributes.time, &attributes.time).map_err(fail)?;
                if kind != EntryType::GNUSparse {
                    self.bytes += size;
                }
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.hard_link(&name, &dir, file_name, &target)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                clear(&dir, file_name).map_err(fail)?;
                symlinkat(OsStr::from_bytes(&target), &dir, file_name).map_err(fail)?;
                attributes.set_named(&dir, file_name).map_err(fail)?;
                // The remembered directory may have been reached through what is now a link.
                self.parent = None;
            }
            EntryType::Fifo => {
                clear(&dir, file_name).map_err(fail)?;
                mknodat(&dir, file_name, SFlag::S_IFIFO, Mode::S_IRUSR, 0).map_err(fail)?;
                let mode = Mode::from_bits_truncate(attributes.mode & 0o7777);
                fchmodat(&dir, file_name, mode, FchmodatFlags::FollowSymlink).map_err(fail)?;
                attributes.set_named(&dir, file_name).map_err(fail)?;
            }
            EntryType::Char | EntryType::Block => self.devices += 1,
            other => {
                let what = format!("is of the unknown kind {:?}", char::from(other.as_byte()));
                return Err(self.refuse(&name, &what));
            }
        }
        Ok(())
    }

    /// Takes away what a directory gives no way to, and what is no directory where one comes.
    fn make_way(&mut self, dir: &OwnedFd, name: &Path, kind: EntryType) -> Result<()> {
        if kind == EntryType::Directory {
            return Ok(());
        }
        let is_left_out = matches!(kind, EntryType::Char | EntryType::Block);
        let there = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let is_dir = |stat: FileStat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        if is_left_out || there.is_ok_and(is_dir) {
            tree::remove(dir, name)?;
            self.parent = None;
        }
        Ok(())
    }

    /// Takes away what is at `path`, with everything below; with `is_lower`, only what was there before this archive.
    /// `name` is the entry's that says so.
    pub(in crate::storage) fn remove(&mut self, name: &[u8], path: &Path, is_lower: bool) -> Result<()> {
        self.parent = None;
        let (Some(last), up) = (path.file_name(), path.parent().unwrap_or(Path::new(""))) else {
            return Err(self.refuse(name, "takes the root away"));
        };
        if !self.inside.exists(up)? {
            return Ok(());
        }
        let dir = self.parent(up)?;
        self.parent = None;
        let made = match &self.onto {
            Onto::Layer(made) if is_lower => made,
            _ => return tree::remove(&dir, Path::new(last)),
        };
        if below(made, path).next().is_some() {
            // Of a directory that came with this archive too, what was there before goes.
            let Ok(child) = sys::open::child_dir(&dir, Path::new(last)) else {
                return Ok(());
            };
            return self.empty(&child, path);
        }
        tree::remove(&dir, Path::new(last))
    }

    /// Takes away all that a directory had before this archive.
    pub(in crate::storage) fn make_opaque(&mut self, path: &Path) -> Result<()> {
        self.parent = None;
        if !self.inside.exists(path)? {
            return Ok(());
        }
        let dir = self.parent(path)?;
        self.parent = None;
        self.empty(&dir, path)
    }

    fn empty(&self, dir: &OwnedFd, path: &Path) -> Result<()> {
        let dir = sys::open::child_dir(dir, Path::new("."))
            .map_err(|errno| self.fail(path.as_os_str().as_bytes(), errno))?;
        // What was made below it, by its first name below: all of the others go at once.
        let Onto::Layer(made) = &self.onto else {
            return Ok(());
        };
        let made = below(made, path);
        let kept: HashSet<&OsStr> = made
            .filter_map(|own| own.strip_prefix(path).ok()?.components().next())
            .map(Component::as_os_str)
            .collect();
        for name in tree::names(&dir)? {
            let name = tree::as_path(&name);
            if !kept.contains(name.as_os_str()) {
                tree::remove(&dir, name)?;
            } else if let Ok(child) = sys::open::child_dir(&dir, name) {
                self.empty(&child, &path.join(name))?;
            }
        }
        Ok(())
    }

    /// A second name for what an earlier entry made, and for nothing else.
    fn hard_link(&self, name: &[u8], dir: &OwnedFd, file_name: &Path, target: &[u8]) -> Result<()> {
        let target = self.clean(target)?;
        let missing = || {
            self.refuse(
                name,
                &format!("is a hard link to `{}`, which is not there", shown(&target)),
            )
        };
        let Some(target_name) = target.file_name() else {
            return Err(missing());
        };
        let up = target.parent().unwrap_or(Path::new(""));
        if !self.inside.exists(up)? {
            return Err(missing());
        }
        let target_dir = self.inside.make_dir_all(up, 0o755)?;
        let fail = |errno| self.fail(name, errno);
        let stat = match fstatat(&target_dir, target_name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Err(missing()),
            other => other.map_err(fail)?,
        };
        if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
            return Err(missing());
        }
        match fstatat(dir, file_name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // Already the same file: clearing the name would take the file away.
            Ok(there) if there.st_ino == stat.st_ino => return Ok(()),
            _ => clear(dir, file_name).map_err(fail)?,
        }
        linkat(&target_dir, target_name, dir, file_name, AtFlags::empty()).map_err(fail)
    }

    /// After the last entry: times of directories, and what was left out.
    pub(in crate::storage) fn finish(self, progress: &dyn Progress) -> Result<()> {
        if self.entries == 0 {
            let message = format!(
                "`{}` is not a tar archive, or an empty one",
                self.archive.display()
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        self.finish_layer(progress)
    }

    /// The same of an archive that may have nothing in it.
    pub(in crate::storage) fn finish_layer(self, progress: &dyn Progress) -> Result<()> {
        if self.devices > 0 {
            progress.warning(&format!(
                "{} device nodes in {} were left out: a guest gets its own /dev",
                self.devices,
                self.archive.display()
            ));
        }
        for (path, time) in &self.times {
            // A later entry may have replaced it by something else; then it has the time of that.
            if let Ok(dir) = sys::open::in_root(
                self.inside.root(),
                &Path::new(".").join(path),
                OFlag::O_RDONLY | OFlag::O_DIRECTORY,
                Mode::empty(),
            ) {
                futimens(dir, time, time).map_err(|e| self.fail(path.as_os_str().as_bytes(), e))?;
            }
        }
        Ok(())
    }

    /// Refuses what the disk has no room for before it is full.
    fn account(&mut self, name: &[u8], entry: &Entry<'_, Metered<'_>>, kind: EntryType) -> Result<()> {
        let full = |what: String| {
            let message = format!("`{}` unpacks to more than {what}", self.archive.display());
            Err(Error::new(Kind::System, message).with_hint("HOSTEL_ROOT may be on a larger file system"))
        };
        let size = if kind == EntryType::GNUSparse {
            if entry.size() > MAX_SPARSE {
                return Err(self.refuse(name, "is a sparse file of more than 64G"));
            }
            entry.header().entry_size().unwrap_or(0)
        } else {
            entry.size()
        };
        if self.bytes.saturating_add(size) > self.room {
            return full(format!("the {} bytes that are free", self.room));
        }
        if self.entries > self.names {
            return full(format!("the {} files that there is room for", self.names));
        }
        Ok(())
    }

    /// The path of an entry as names below the root.
    pub(in crate::storage) fn clean(&self, name: &[u8]) -> Result<PathBuf> {
        let clean = self.components(name)?;
        match self.below {
            None => Ok(clean),
            Some(dir) => self.strip(name, &clean, dir),
        }
    }

    /// The same of an entry that is below another directory of the archive.
    pub(in crate::storage) fn clean_below(&self, name: &[u8], dir: &str) -> Result<PathBuf> {
        self.strip(name, &self.components(name)?, dir)
    }

    fn strip(&self, name: &[u8], clean: &Path, dir: &str) -> Result<PathBuf> {
        match clean.strip_prefix(dir) {
            Ok(path) => Ok(path.to_owned()),
            Err(_) => Err(self.refuse(name, &format!("is not below `{dir}`"))),
        }
    }

    fn components(&self, name: &[u8]) -> Result<PathBuf> {
        let path = Path::new(OsStr::from_bytes(name));
        if name.contains(&0) {
            return Err(self.refuse(name, "has a NUL in it"));
        }
        let mut clean = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => clean.push(part),
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => {
                    return Err(self.refuse(name, "is an absolute name"));
                }
                Component::ParentDir => return Err(self.refuse(name, "has `..` in it")),
            }
        }
        Ok(clean)
    }

    fn parent(&mut self, path: &Path) -> Result<OwnedFd> {
        let bytes = path.as_os_str().as_bytes();
        if let Some((known, fd)) = &self.parent
            && known == path
        {
            return fd.try_clone().map_err(|err| self.fail(bytes, errno_of(&err)));
        }
        let fd = self.inside.make_dir_all(path, 0o755)?;
        if self.is_onto() && !self.times.contains_key(path) {
            // One that no entry is for keeps its time.
            let stat = fstat(&fd).map_err(|errno| self.fail(bytes, errno))?;
            let time = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
            self.times.insert(path.to_owned(), time);
        }
        let second = fd.try_clone().map_err(|err| self.fail(bytes, errno_of(&err)))?;
        self.parent = Some((path.to_owned(), fd));
        Ok(second)
    }

    fn id(&self, name: &[u8], id: u64) -> Result<u32> {
        match u32::try_from(id) {
            Ok(id) if id < Xid::IDS => Ok(id),
            _ => Err(self
                .refuse(name, &format!("belongs to the id {id}"))
                .with_hint("a guest has the ids 0 to 65535")),
        }
    }

    /// What stands in headers of an entry's own: extended attributes, and a time that is finer than a second.
    fn records(&self, name: &[u8], entry: &mut Entry<'_, Metered<'_>>) -> Result<(Xattrs, Option<TimeSpec>)> {
        let mut found = Vec::new();
        let mut time = None;
        let damaged = |err| {
            self.refuse(name, "has a header that makes no sense")
                .with_source(err)
        };
        let Some(records) = entry.pax_extensions().map_err(damaged)? else {
            return Ok((found, None));
        };
        for record in records {
            let record = record.map_err(damaged)?;
            let key = record.key_bytes();
            if key.starts_with(b"GNU.sparse.") {
                return Err(self
                    .refuse(name, "is a sparse file in the pax format")
                    .with_kind(Kind::Unsupported)
                    .with_hint("make the archive with `tar --format=gnu --sparse`"));
            }
            if key == b"mtime" {
                time = record.value().ok().and_then(fine);
            }
            if let Some((attribute, value)) = archive::record::attribute(key, record.value_bytes())
                && tree::is_the_guests(&attribute)
            {
                found.push((attribute, value));
            }
        }
        Ok((found, time))
    }

    pub(in crate::storage) fn refuse(&self, name: &[u8], what: &str) -> Error {
        let name = shown(Path::new(OsStr::from_bytes(name)));
        Error::new(
            Kind::Invalid,
            format!("`{name}` in `{}` {what}", self.archive.display()),
        )
    }

    fn fail(&self, name: &[u8], errno: Errno) -> Error {
        let name = shown(Path::new(OsStr::from_bytes(name)));
        Error::os(format!("unpack `{name}` of `{}`", self.archive.display()), errno)
    }
}

fn errno_of(err: &io::Error) -> Errno {
    Errno::from_raw(err.raw_os_error().unwrap_or(0))
}

/// `seconds.fraction` as pax has it; `None` for what is none, or before 1970.
fn fine(text: &str) -> Option<TimeSpec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos = format!("{fraction:0<9}");
    Some(TimeSpec::new(
        seconds.parse::<u32>().ok()?.into(),
        nanos.get(..9)?.parse::<u32>().ok()?.into(),
    ))
}

/// Names and values of extended attributes.
type Xattrs = Vec<(CString, Vec<u8>)>;

/// What an entry says about its file.
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    time: TimeSpec,
}

impl Attributes {
    /// The owner first: a change of it takes the set-id bits away (`chown(2)`).
    fn set(&self, fd: impl std::os::fd::AsFd) -> Result<(), Errno> {
        let fd = fd.as_fd();
        fchown(fd, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        fchmod(fd, Mode::from_bits_truncate(self.mode & 0o7777))
    }

    fn set_named(&self, dir: &OwnedFd, name: &Path) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        utimensat(dir, name, &self.time, &self.time, UtimensatFlags::NoFollowSymlink)
    }
}

fn set_xattrs(fd: impl std::os::fd::AsFd, xattrs: &[(CString, Vec<u8>)]) -> Result<(), Errno> {
    xattrs
        .iter()
        .try_for_each(|(name, value)| sys::file::set_xattr(fd.as_fd(), name, value))
}

/// The path, if it is among them, and those below: paths are in the order of their names.
fn below<'s>(made: &'s BTreeSet<PathBuf>, path: &'s Path) -> impl Iterator<Item = &'s PathBuf> {
    made.range::<Path, _>((Bound::Included(path), Bound::Unbounded))
        .take_while(move |own| own.starts_with(path))
}

/// Takes away the attributes that are not among these.
fn only_xattrs(dir: &OwnedFd, xattrs: &[(CString, Vec<u8>)]) -> Result<(), Errno> {
    let there = match sys::file::xattr_names(dir) {
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        other => other?,
    };
    there
        .iter()
        .filter(|name| tree::is_the_guests(name) && !xattrs.iter().any(|(kept, _)| kept == *name))
        .try_for_each(|name| sys::file::remove_xattr(dir, name))
}

/// Makes the name free: a later entry of one name replaces the earlier. A directory with something in it stays, and
/// is an error.
fn clear(dir: &OwnedFd, name: &Path) -> Result<(), Errno> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => unlinkat(dir, name, UnlinkatFlags::RemoveDir),
        Err(errno) => Err(errno),
    }
}

/// The directory of that name, made when it is not there. What else has the name gives way; a link is not followed.
fn directory(dir: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    match sys::open::child_dir(dir, name) {
        Err(Errno::ENOENT) => {}
        Err(Errno::ENOTDIR | Errno::ELOOP) => unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?,
        other => return other,
    }
    mkdirat(dir, name, Mode::S_IRWXU)?;
    sys::open::child_dir(dir, name)
}

/// Copies and leaves holes where there are none but zeros.
fn sparsely(from: &mut impl Read, to: &mut File) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if read == 0 {
            to.set_len(size)?;
            return Ok(size);
        }
        if buffer[..read].iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Current(i64::try_from(read).unwrap_or(0)))?;
        } else {
            to.write_all(&buffer[..read])?;
        }
        size += read as u64;
    }
}

fn shown(path: &Path) -> impl Display {
    path.to_string_lossy().escape_debug().to_string()
}
