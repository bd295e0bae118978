//! Things that are being made: a directory below `tmp/` that is swept when its maker is gone.
//!
//! The maker holds a `flock(2)` on the directory itself. The kernel drops it however the maker dies, so whoever
//! gets the lock knows that the directory is left over. What is finished is renamed out of it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{Layout, tree};
use crate::error::{Context, Error, Result};

/// A directory that is removed with everything in it when this value is dropped or its process dies.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    parent: File,
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes one for a guest.
    pub fn new(layout: &Layout) -> Result<Self> {
        Self::below(&layout.tmp())
    }

    /// Makes one for an image.
    pub fn for_image(layout: &Layout) -> Result<Self> {
        let tmp = layout.images_tmp();
        match DirBuilder::new().mode(0o700).create(&tmp) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io(format!("make `{}`", tmp.display()), err))
            }
            _ => Self::below(&tmp),
        }
    }

    fn below(tmp: &Path) -> Result<Self> {
        let parent = File::open(tmp).context(|| format!("open `{}`", tmp.display()))?;
        loop {
            let path = tmp.join(unique());
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .context(|| format!("make `{}`", path.display()))?;
            // A sweeper may have come between the two lines; then the directory is no longer there.
            if let Some(lock) = lock(&path, FlockArg::LockExclusive)? {
                return Ok(Self {
                    path,
                    parent,
                    _lock: lock,
                });
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whatever cannot be removed now is removed by the next sweep.
        if let Some(name) = self.path.file_name() {
            let _ = tree::remove(&self.parent, Path::new(name));
        }
    }
}

/// Removes what dead commands left half made, and says what it was.
pub fn sweep(layout: &Layout) -> Result<Vec<PathBuf>> {
    let mut swept = sweep_dir(&layout.tmp())?;
    swept.extend(sweep_dir(&layout.images_tmp())?);
    Ok(swept)
}

fn sweep_dir(tmp: &Path) -> Result<Vec<PathBuf>> {
    let parent = match File::open(tmp) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("open `{}`", tmp.display()))?,
    };
    let mut swept = Vec::new();
    for entry in fs::read_dir(tmp).context(|| format!("list `{}`", tmp.display()))? {
        let entry = entry.context(|| format!("list `{}`", tmp.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // Only directories are ever made here by something that lives longer than one call.
        let _held = if is_dir {
            match lock(&path, FlockArg::LockExclusiveNonblock)? {
                Some(lock) => Some(lock),
                None => continue,
            }
        } else {
            None
        };
        tree::remove(&parent, Path::new(&name)).context(|| format!("sweep `{}`", path.display()))?;
        swept.push(path);
    }
    Ok(swept)
}

/// Locks the directory; `None` when somebody else has, or when it is gone.
fn lock(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>> {
    let dir = match File::open(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context(|| format!("open `{}`", path.display()))?,
    };
    let dir = match Flock::lock(dir, how) {
        Ok(dir) => dir,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(Error::os(format!("lock `{}`", path.display()), errno)),
    };
    let ours = dir.metadata().context(|| format!("stat `{}`", path.display()))?;
    let is_there = fs::symlink_metadata(path).is_ok_and(|there| there.ino() == ours.ino());
    Ok(is_there.then_some(dir))
}

/// A name that nothing else has: of this process, this instant and this call.
pub(super) fn unique() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    format!("{}-{nanos:x}-{call}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_only_what_nobody_holds() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        let held = Scratch::new(&layout).unwrap();
        fs::write(held.path().join("f"), "x").unwrap();
        let left = layout.tmp().join("left-over");
        fs::create_dir_all(left.join("a/b")).unwrap();
        std::os::unix::fs::symlink(held.path(), left.join("a/link")).unwrap();

        assert_eq!(sweep(&layout).unwrap(), vec![left]);
        assert!(held.path().join("f").exists());
        drop(held);
        assert_eq!(fs::read_dir(layout.tmp()).unwrap().count(), 0);
    }
}
