//! One hash of all that an archive keeps of a tree: two trees with the same are the same, on whatever file system.
//!
//! A directory's hash is that of its entries in the order of their names, so no more is held than the names of one
//! branch, and of files that have several.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};
use sha2::{Digest as _, Sha256};

use super::{hex, leaf};
use crate::error::{Error, Result};
use crate::storage::{Inside, Progress, tree};
use crate::sys;

/// Names of files that have several names, by what `stat(2)` tells of them. In the order of a walk.
pub(super) type Names = HashMap<(u64, u64), Vec<PathBuf>>;

/// The hash of a tree, and which names are one file.
pub(super) fn of(tree: &Inside, progress: &dyn Progress) -> Result<(String, Names)> {
    let root = sys::open::child_dir(tree.root(), Path::new("."))
        .map_err(|errno| Error::os("open the guest's files", errno))?;
    let stat = fstat(&root).map_err(|errno| Error::os("stat the guest's files", errno))?;
    let mut run = Run {
        names: Names::new(),
        bytes: 0,
        progress,
    };
    let hash = run.dir(&root, &stat, Path::new(""), 0)?;
    run.names.retain(|_, names| names.len() > 1);
    Ok((hex(hash), run.names))
}

/// The names in a directory, in order.
pub(super) fn sorted(dir: &OwnedFd) -> Result<Vec<std::ffi::CString>> {
    let mut names = tree::names(dir)?;
    names.sort();
    Ok(names)
}

struct Run<'a> {
    names: Names,
    bytes: u64,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    fn dir(&mut self, dir: &OwnedFd, stat: &FileStat, path: &Path, depth: usize) -> Result<Sha256> {
        let failed = |path: &Path, err: io::Error| Error::io(format!("read `{}`", shown(path)), err);
        let mut hash = facts(stat);
        let attributes = leaf::attributes(dir.as_fd()).map_err(|errno| failed(path, errno.into()))?;
        hash_attributes(&mut hash, &attributes);
        for name in sorted(dir)? {
            sys::interrupt::check()?;
            let name = tree::as_path(&name);
            let path = path.join(name);
            let fail = |errno: Errno| failed(&path, errno.into());
            let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(fail)?;
            if !leaf::is_kept(&stat) {
                continue;
            }
            let entry = if leaf::kind(&stat) == SFlag::S_IFDIR {
                if depth >= tree::DEPTH {
                    return Err(tree::too_deep(&path));
                }
                match sys::open::child_dir(dir, name) {
                    Ok(child) => self.dir(&child, &stat, &path, depth + 1)?,
                    // Another mount: its mount point is part of the tree, its content is not.
                    Err(Errno::EXDEV) => facts(&stat),
                    Err(errno) => return Err(fail(errno)),
                }
            } else {
                self.leaf(dir, name, &path, &stat)
                    .map_err(|err| failed(&path, err))?
            };
            sized(&mut hash, name.as_os_str().as_bytes());
            hash.update(entry.finalize());
        }
        Ok(hash)
    }

    fn leaf(&mut self, dir: &OwnedFd, name: &Path, path: &Path, stat: &FileStat) -> io::Result<Sha256> {
        let mut hash = facts(stat);
        if stat.st_nlink > 1 {
            let names = self.names.entry((stat.st_dev, stat.st_ino)).or_default();
            names.push(path.to_owned());
            if let [first, _, ..] = &names[..] {
                // Its content stands at its first name.
                sized(&mut hash, first.as_os_str().as_bytes());
                return Ok(hash);
            }
        }
        match leaf::kind(stat) {
            SFlag::S_IFLNK => sized(&mut hash, readlinkat(dir, name)?.as_bytes()),
            SFlag::S_IFREG => {
                let file = leaf::open(dir, name)?;
                hash_attributes(&mut hash, &leaf::attributes(file.as_fd())?);
                self.content(file, &mut hash)?;
            }
            _ => {}
        }
        Ok(hash)
    }

    fn content(&mut self, mut file: File, hash: &mut Sha256) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = leaf::fill(&mut file, &mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            hash.update(&buffer[..read]);
            self.bytes += read as u64;
            self.progress.bytes(self.bytes, None);
        }
    }
}

fn facts(stat: &FileStat) -> Sha256 {
    let (seconds, nanos) = leaf::time(stat);
    let size = if leaf::kind(stat) == SFlag::S_IFREG {
        stat.st_size
    } else {
        0
    };
    Sha256::new()
        .chain_update(stat.st_mode.to_le_bytes())
        .chain_update(stat.st_uid.to_le_bytes())
        .chain_update(stat.st_gid.to_le_bytes())
        .chain_update(seconds.to_le_bytes())
        .chain_update(nanos.to_le_bytes())
        .chain_update(size.to_le_bytes())
}

fn hash_attributes(hash: &mut Sha256, attributes: &leaf::Attributes) {
    hash.update((attributes.len() as u64).to_le_bytes());
    for (name, value) in attributes {
        sized(hash, name.to_bytes());
        sized(hash, value);
    }
}

/// With its length, so that nothing of what follows passes for its end.
fn sized(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn shown(path: &Path) -> impl std::fmt::Display {
    path.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Silent;
    use std::fs;

    #[test]
    fn any_change_shows() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/a"), "a").unwrap();
        fs::write(at("b"), "b").unwrap();
        let seal = || of(&Inside::open(dir.path(), "web").unwrap(), &Silent).unwrap().0;
        let mut known = vec![seal()];
        assert_eq!(seal(), known[0]);
        let mut changed = |what: &str| {
            let now = seal();
            assert!(!known.contains(&now), "{what}");
            known.push(now);
        };
        fs::write(at("d/a"), "c").unwrap();
        changed("content");
        std::os::unix::fs::chown(at("b"), Some(7), None).unwrap();
        changed("owner");
        fs::hard_link(at("b"), at("c")).unwrap();
        changed("a second name");
        fs::remove_file(at("c")).unwrap();
        fs::copy(at("b"), at("c")).unwrap();
        changed("a copy instead of it");
        fs::rename(at("c"), at("e")).unwrap();
        changed("another name");
        std::os::unix::fs::symlink("b", at("f")).unwrap();
        changed("a link");
        fs::remove_file(at("f")).unwrap();
        nix::unistd::mkfifo(&at("f"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        changed("a fifo");
    }
}
