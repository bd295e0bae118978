//! The store: the content that layers share, each file once, by its key.
//!
//! ```text
//! store/root/.NAME/KEY    the lowest layer of every guest that has unified layers
//! store/hide/.NAME        a whiteout, in a layer above it: no guest sees the store
//! ```
//!
//! A file of a unified layer is metadata alone (`trusted.overlay.metacopy`): size, mode, owner, times and attributes are
//! its own, and `trusted.overlay.redirect` leads overlayfs to the content. So a guest sees what it saw, with one name
//! each and an inode of its own; and the pages of a library are those of one inode, however many guests have it mapped.
//! NAME is made up on each host: a guest cannot have a directory that is called so.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::linkat;

use super::key::{Key, LENGTH};
use crate::error::{Context as _, Error, Kind, Result};
use crate::storage::scratch::Scratch;
use crate::storage::tree::Elsewhere;
use crate::storage::{Layout, state, tree};
use crate::sys;

/// The marks of a file that is metadata alone.
pub(super) const METACOPY: &std::ffi::CStr = c"trusted.overlay.metacopy";
pub(super) const REDIRECT: &std::ffi::CStr = c"trusted.overlay.redirect";

/// The store, which nobody else changes meanwhile.
pub(super) struct Store {
    dir: OwnedFd,
    name: String,
    _lock: Flock<File>,
}

/// What came of adding a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// The store has it from now on.
    New,
    /// It had an equal one.
    Equal,
    /// It has another one by that key, or cannot take it.
    No,
}

impl Store {
    /// Opens it, and makes it when there is none.
    pub(super) fn open(layout: &Layout) -> Result<Self> {
        if !layout.store().join("root").is_dir() {
            make(layout)?;
        }
        match Self::existing(layout)? {
            Some(store) => Ok(store),
            None => Err(
                Error::new(Kind::Busy, "another command works on the store").with_hint(
                    "one `hostel unify` at a time; wait for it, or end it: the next one goes on where it was",
                ),
            ),
        }
    }

    /// The store if there is one and nobody works on it.
    fn existing(layout: &Layout) -> Result<Option<Self>> {
        let place = layout.store();
        let lock = match File::open(&place) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.context(|| format!("open `{}`", place.display()))?,
        };
        let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(Error::os(format!("lock `{}`", place.display()), errno)),
        };
        let name = name_in(&place)?;
        let path = place.join("root").join(&name);
        let dir = File::open(&path).context(|| format!("open `{}`", path.display()))?;
        Ok(Some(Self {
            dir: dir.into(),
            name,
            _lock: lock,
        }))
    }

    /// What a guest must not have at its root.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where overlayfs finds the content of that key.
    pub(super) fn redirect(&self, key: Key) -> String {
        format!("/{}/{}", self.name, key.as_str())
    }

    /// Adds the file `name` of the directory `from`, by another link to it: nothing is copied. Bytes are compared.
    pub(super) fn put(&self, key: Key, from: BorrowedFd<'_>, name: &Path) -> Result<Put, Errno> {
        match linkat(from, name, &self.dir, key.as_str(), AtFlags::empty()) {
            Ok(()) => return Ok(Put::New),
            Err(Errno::EEXIST) => {}
            // As many names as its file system can give it.
            Err(Errno::EMLINK | Errno::EPERM) => return Ok(Put::No),
            Err(errno) => return Err(errno),
        }
        let open = |dir: BorrowedFd<'_>, name: &Path| {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            openat(dir, name, flags, Mode::empty()).map(File::from)
        };
        let one = open(from, name)?;
        let other = open(self.dir.as_fd(), Path::new(key.as_str()))?;
        Ok(if are_equal(one, other).map_err(|err| errno_of(&err))? {
            Put::Equal
        } else {
            Put::No
        })
    }

    /// Removes what no key of `used` names. How many files and bytes that were.
    fn keep(&self, used: &HashSet<Key>) -> Result<(u64, u64)> {
        let (mut files, mut bytes) = (0, 0);
        for name in tree::names(&self.dir)? {
            let key = name.to_bytes().try_into().ok().and_then(Key::from_bytes);
            if key.is_some_and(|key| used.contains(&key)) {
                continue;
            }
            let path = tree::as_path(&name);
            if let Ok(stat) = nix::sys::stat::fstatat(&self.dir, path, AtFlags::AT_SYMLINK_NOFOLLOW) {
                bytes += if stat.st_nlink == 1 {
                    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
                } else {
                    0
                };
            }
            nix::unistd::unlinkat(&self.dir, path, nix::unistd::UnlinkatFlags::NoRemoveDir)
                .context(|| format!("remove `{}` from the store", path.display()))?;
            files += 1;
        }
        Ok((files, bytes))
    }
}

/// Finds the content of files of unified layers, for a copy of such a layer.
pub(super) fn contents(layout: &Layout) -> Result<Elsewhere> {
    let root = layout.store().join("root");
    let root = File::open(&root).context(|| format!("open `{}`", root.display()))?;
    let find = move |file: BorrowedFd<'_>| {
        let to = match sys::file::xattr(file, REDIRECT) {
            Err(Errno::ENODATA) => return Ok(None),
            other => other?,
        };
        let to = std::str::from_utf8(&to).ok().and_then(|to| to.strip_prefix('/'));
        let to = Path::new(to.ok_or(Errno::EINVAL)?);
        sys::open::beneath(&root, to, OFlag::O_RDONLY | OFlag::O_NOFOLLOW).map(|fd| Some(File::from(fd)))
    };
    Ok(Elsewhere(std::sync::Arc::new(find)))
}

/// Removes what no layer has. What was removed: files, and bytes that are free now.
pub fn sweep(layout: &Layout) -> Result<(u64, u64)> {
    let Some(store) = Store::existing(layout)? else {
        return Ok((0, 0));
    };
    let mut used = HashSet::new();
    let entries = match fs::read_dir(layout.layers()) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return store.keep(&used),
        other => other.context(|| format!("list `{}`", layout.layers().display()))?,
    };
    // Of every layer that is there, used or not: who removes one removes the store's part of it the next time.
    for entry in entries {
        let path = entry.context(|| "list the layers")?.path().join("keys");
        match fs::read(&path) {
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            other => used.extend(keys(&other.context(|| format!("read `{}`", path.display()))?)),
        }
    }
    store.keep(&used)
}

/// Everything that it has.
pub(super) fn keys_of(layout: &Layout) -> Result<HashSet<Key>> {
    let place = layout.store();
    if !place.join("root").is_dir() {
        return Ok(HashSet::new());
    }
    let path = place.join("root").join(name_in(&place)?);
    let dir = File::open(&path).context(|| format!("open `{}`", path.display()))?;
    let names = tree::names(&dir.into())?;
    let key = |name: &std::ffi::CString| name.to_bytes().try_into().ok().and_then(Key::from_bytes);
    Ok(names.iter().filter_map(key).collect())
}

fn keys(text: &[u8]) -> impl Iterator<Item = Key> + '_ {
    let lines = text.chunks(LENGTH + 1);
    lines.filter_map(|line| Key::from_bytes(line.get(..LENGTH)?.try_into().ok()?))
}

/// Notes the keys of a layer beside it.
pub(super) fn write_keys(layer: &Path, keys: &mut Vec<Key>) -> Result<()> {
    keys.sort_unstable();
    keys.dedup();
    let mut text = Vec::with_capacity(keys.len() * (LENGTH + 1));
    for key in keys {
        text.extend(key.as_bytes());
        text.push(b'\n');
    }
    state::put(&layer.join("keys"), &text)
}

fn name_in(place: &Path) -> Result<String> {
    let root = place.join("root");
    let entries = fs::read_dir(&root).context(|| format!("list `{}`", root.display()))?;
    let mut names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    match (names.next(), names.next()) {
        (Some(name), None) if name.starts_with('.') && name.len() == 7 => Ok(name),
        _ => Err(Error::new(
            Kind::Invalid,
            format!("`{}` is not what hostel writes", root.display()),
        )),
    }
}

fn make(layout: &Layout) -> Result<()> {
    let scratch = Scratch::new(layout)?;
    let made = scratch.path().join("store");
    let mut random = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .context(|| "read `/dev/urandom`")?;
    let hash = blake3::hash(&random).to_hex();
    let name = format!(".{}", &hash[..6]);
    let dir = |path: &Path, mode| {
        DirBuilder::new()
            .mode(mode)
            .create(path)
            .context(|| format!("make `{}`", path.display()))
    };
    dir(&made, 0o700)?;
    for part in ["root", "hide"] {
        dir(&made.join(part), 0o755)?;
    }
    dir(&made.join("root").join(&name), 0o700)?;
    let whiteout = made.join("hide").join(&name);
    mknod(&whiteout, SFlag::S_IFCHR, Mode::empty(), 0)
        .context(|| format!("make `{}`", whiteout.display()))?;
    match fs::rename(&made, layout.store()) {
        // Another command was faster.
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => Ok(()),
        other => other.context(|| format!("make `{}`", layout.store().display())),
    }
}

fn are_equal(mut one: File, mut other: File) -> io::Result<bool> {
    let (a, b) = (one.metadata()?, other.metadata()?);
    if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
        return Ok(true);
    }
    if a.len() != b.len() {
        return Ok(false);
    }
    let mut buffers = (vec![0; 128 << 10], vec![0; 128 << 10]);
    let mut left = a.len();
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffers.0.len());
        one.read_exact(&mut buffers.0[..want])?;
        other.read_exact(&mut buffers.1[..want])?;
        if buffers.0[..want] != buffers.1[..want] {
            return Ok(false);
        }
        left -= want as u64;
    }
    Ok(true)
}

fn errno_of(err: &io::Error) -> Errno {
    err.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
