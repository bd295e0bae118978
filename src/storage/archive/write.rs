//! Writing an archive. Nothing of it is held in memory but the names of files that have several.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::base::{self, Base};
use super::{
    CHECKSUM, Described, FORMAT_OF_CHANGES, MANIFEST, Manifest, REMOVED, ROOTFS, Since, hex, leaf, seal,
};
use crate::error::{Error, Kind, Result};
use crate::storage::{Inside, Progress, tree};
use crate::sys;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Names of all kinds.
    pub entries: u64,
    /// Bytes of the archive, before it was compressed.
    pub bytes: u64,
    /// Device nodes and sockets, which are left out.
    pub left_out: u64,
}

/// How many bytes are written between two reports.
const REPORT: u64 = 8 << 20;

/// Writes `manifest` and the tree to `to`. Nobody changes the tree meanwhile.
pub fn write(
    tree: &Inside,
    manifest: &impl Described,
    to: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<Written> {
    write_what(tree, manifest, None, to, progress)
}

/// The same of what has changed since `base`, the tree of the snapshot of that name. Both are read whole: what is equal
/// is told by the bytes.
pub fn write_changes(
    tree: &Inside,
    mut manifest: Manifest,
    (snapshot, base): (&str, &Inside),
    to: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<Written> {
    progress.stage(&format!("reading the snapshot {snapshot}"));
    let (hash, names) = seal::of(base, progress)?;
    progress.stage("reading the guest");
    let (result, new_names) = seal::of(tree, progress)?;
    manifest.format = FORMAT_OF_CHANGES;
    manifest.since = Some(Since {
        snapshot: snapshot.to_owned(),
        base: hash,
        result,
    });
    let root = sys::open::child_dir(base.root(), Path::new("."))
        .map_err(|errno| Error::os("open the snapshot", errno))?;
    let base = Base {
        root,
        names,
        new_names,
    };
    progress.stage("writing what has changed");
    write_what(tree, &manifest, Some(base), to, progress)
}

fn write_what(
    tree: &Inside,
    manifest: &impl Described,
    base: Option<Base>,
    to: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<Written> {
    let mut builder = Builder::new(Tee {
        to,
        hash: Sha256::new(),
        bytes: 0,
    });
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(|err| Error::new(Kind::Internal, "write the manifest").with_source(err))?;
    let wrote = |err: io::Error| Error::io("write the archive", err);
    plain(&mut builder, MANIFEST, &text).map_err(wrote)?;
    let root = sys::open::child_dir(tree.root(), Path::new("."))
        .map_err(|errno| Error::os("open the files", errno))?;
    let stat = fstat(&root).map_err(|errno| Error::os("stat the files", errno))?;
    let mut run = Run {
        builder,
        progress,
        links: HashMap::new(),
        written: Written::default(),
        told: 0,
        base,
    };
    let below = run.base.as_ref().map(|base| base.root.try_clone());
    let below = below.transpose().map_err(wrote)?;
    if !has_dir(below.as_ref(), &root, &stat)? {
        run.entry(Path::new(ROOTFS), &stat, EntryType::Directory, Some(&root), b"")
            .map_err(wrote)?;
    }
    run.dir(&root, below.as_ref(), Path::new(ROOTFS), 0)?;
    let Run {
        mut builder, written, ..
    } = run;
    let hash = hex(builder.get_ref().hash.clone());
    plain(&mut builder, CHECKSUM, format!("{hash}\n").as_bytes()).map_err(wrote)?;
    let whole = builder.into_inner().map_err(wrote)?;
    whole.to.flush().map_err(wrote)?;
    progress.bytes(whole.bytes, None);
    Ok(Written {
        bytes: whole.bytes,
        ..written
    })
}

/// A file of the archive itself.
fn plain<W: Write>(builder: &mut Builder<W>, name: &str, content: &[u8]) -> io::Result<()> {
    plain_path(builder, Path::new(name), content)
}

fn plain_path<W: Write>(builder: &mut Builder<W>, name: &Path, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content)
}

struct Tee<'a> {
    to: &'a mut dyn Write,
    hash: Sha256,
    bytes: u64,
}

impl Write for Tee<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let done = self.to.write(buffer)?;
        self.hash.update(&buffer[..done]);
        self.bytes += done as u64;
        Ok(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

struct Run<'a> {
    builder: Builder<Tee<'a>>,
    progress: &'a dyn Progress,
    /// Under which name a file with several was written first.
    links: HashMap<(u64, u64), PathBuf>,
    written: Written,
    told: u64,
    /// What is left out, where it has changes alone.
    base: Option<Base>,
}

impl Run<'_> {
    /// `below` is the directory in the base, if it is one there.
    fn dir(&mut self, dir: &OwnedFd, below: Option<&OwnedFd>, path: &Path, depth: usize) -> Result<()> {
        if let Some(below) = below {
            let up = path.strip_prefix(ROOTFS).unwrap_or(path);
            for name in base::gone(below, dir)? {
                let path = Path::new(REMOVED).join(up).join(name);
                self.written.entries += 1;
                plain_path(&mut self.builder, &path, b"").map_err(|err| writing(&path, err))?;
            }
        }
        for name in tree::names(dir)? {
            let name = tree::as_path(&name);
            let path = path.join(name);
            let fail = |errno| Error::os(format!("read `{}`", shown(&path)), errno);
            let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(fail)?;
            let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
            sys::interrupt::check()?;
            if kind == SFlag::S_IFDIR {
                if depth >= tree::DEPTH {
                    return Err(tree::too_deep(&path));
                }
                let below = match below {
                    Some(below) => base::child(below, name)?,
                    None => None,
                };
                match sys::open::child_dir(dir, name) {
                    Ok(child) => {
                        if !has_dir(below.as_ref(), &child, &stat)? {
                            self.entry(&path, &stat, EntryType::Directory, Some(&child), b"")
                                .map_err(|err| writing(&path, err))?;
                        }
                        self.dir(&child, below.as_ref(), &path, depth + 1)?;
                    }
                    // Another mount: its mount point is part of the tree, its content is not.
                    Err(Errno::EXDEV) => self
                        .entry(&path, &stat, EntryType::Directory, None, b"")
                        .map_err(|err| writing(&path, err))?,
                    Err(errno) => return Err(fail(errno)),
                }
                continue;
            }
            self.leaf((dir, below), name, &path, &stat, kind)
                .map_err(|err| writing(&path, err))?;
            let bytes = self.builder.get_ref().bytes;
            if bytes - self.told >= REPORT {
                self.told = bytes;
                self.progress.bytes(bytes, None);
            }
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        (dir, below): (&OwnedFd, Option<&OwnedFd>),
        name: &Path,
        path: &Path,
        stat: &FileStat,
        kind: SFlag,
    ) -> io::Result<()> {
        if !leaf::is_kept(stat) {
            self.written.left_out += 1;
            return Ok(());
        }
        if let (Some(base), Some(below)) = (&self.base, below)
            // A further name of what was written is a name of that.
            && !(stat.st_nlink > 1 && self.links.contains_key(&(stat.st_dev, stat.st_ino)))
            && base.has_leaf((below, dir), name, path.strip_prefix(ROOTFS).unwrap_or(path), stat)?
        {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&id).cloned() {
                return self.entry(path, stat, EntryType::Link, None, first.as_os_str().as_bytes());
            }
            self.links.insert(id, path.to_owned());
        }
        match kind {
            SFlag::S_IFLNK => {
                let target = readlinkat(dir, name)?;
                self.entry(path, stat, EntryType::Symlink, None, target.as_bytes())
            }
            SFlag::S_IFIFO => self.entry(path, stat, EntryType::Fifo, None, b""),
            _ => {
                let mut file = leaf::open(dir, name)?;
                self.written.entries += 1;
                self.records(stat, Some(file.as_fd()), b"")?;
                // With its holes (`GNU sparse`).
                self.builder.append_file(path, &mut file)
            }
        }
    }

    /// An entry without content.
    fn entry(
        &mut self,
        path: &Path,
        stat: &FileStat,
        kind: EntryType,
        open: Option<&OwnedFd>,
        target: &[u8],
    ) -> io::Result<()> {
        self.written.entries += 1;
        self.records(stat, open.map(|fd| fd.as_fd()), target)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(u64::from(stat.st_uid));
        header.set_gid(u64::from(stat.st_gid));
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_size(0);
        if !target.is_empty() && target.len() <= LINK {
            header.set_link_name_literal(target)?;
        }
        if target.len() > LINK && !is_record(target) {
            return self
                .builder
                .append_link(&mut header, path, Path::new(OsStr::from_bytes(target)));
        }
        self.builder.append_data(&mut header, path, io::empty())
    }

    /// What a header has no room for, in one of its own (`pax(1)`).
    fn records(
        &mut self,
        stat: &FileStat,
        open: Option<std::os::fd::BorrowedFd<'_>>,
        target: &[u8],
    ) -> io::Result<()> {
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        if stat.st_mtime_nsec != 0 && stat.st_mtime >= 0 {
            let time = format!("{}.{:09}", stat.st_mtime, stat.st_mtime_nsec);
            records.push(("mtime".to_owned(), time.into_bytes()));
        }
        if is_record(target) {
            records.push(("linkpath".to_owned(), target.to_vec()));
        }
        if let Some(open) = open {
            for (name, value) in leaf::attributes(open)? {
                records.push(super::record::of(&name, &value));
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let records = records
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(records)
    }
}

/// Whether the base has the directory as it is.
fn has_dir(below: Option<&OwnedFd>, dir: &OwnedFd, stat: &FileStat) -> Result<bool> {
    below.map_or(Ok(false), |below| base::has_dir(below, dir, stat))
}

/// How long a link's target may be in a header.
const LINK: usize = 100;

/// Whether a target stands in a record. One with a line end stands in an entry of GNU's kind: see `record`.
fn is_record(target: &[u8]) -> bool {
    target.len() > LINK && !target.contains(&b'\n')
}

fn writing(path: &Path, err: io::Error) -> Error {
    match err.kind() {
        io::ErrorKind::BrokenPipe => Error::new(Kind::External, "whoever reads the archive has ended"),
        _ => Error::io(format!("write `{}` to the archive", shown(path)), err),
    }
}

fn shown(path: &Path) -> impl std::fmt::Display {
    path.to_string_lossy().escape_debug().to_string()
}
