//! A directory of the host that no attack may change: what it holds is known, and compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Context as _, Result};

/// A directory and what was in it.
#[derive(Debug)]
pub(super) struct Canary {
    dir: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// Makes one, with files that attacks like to write to.
    pub(super) fn make(dir: PathBuf) -> Result<Self> {
        let made = || -> std::io::Result<()> {
            fs::create_dir_all(dir.join("sub"))?;
            for name in ["secret", "passwd", "resolv.conf", "null", "hostname"] {
                fs::write(dir.join(name), "of the host\n")?;
            }
            Ok(())
        };
        made().context(|| format!("make `{}`", dir.display()))?;
        let before = look(&dir)?;
        Ok(Self { dir, before })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// What differs from what was there.
    pub(super) fn changes(&self) -> Result<Vec<String>> {
        let now = look(&self.dir)?;
        let all = self
            .before
            .keys()
            .chain(now.keys().filter(|path| !self.before.contains_key(*path)));
        Ok(all
            .filter(|path| self.before.get(*path) != now.get(*path))
            .map(|path| format!("`{}` of the host has changed", path.display()))
            .collect())
    }
}

/// Every name below a directory, with all that is known of it. Access times are not: to be read is no change.
fn look(dir: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(path) = waiting.pop() {
        let stat = fs::symlink_metadata(&path).context(|| format!("look at `{}`", path.display()))?;
        let mut told = format!(
            "{:o} {}:{} {} {} {}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.ino(),
            stat.rdev(),
            stat.ctime_nsec()
        );
        if stat.is_dir() {
            let entries = fs::read_dir(&path).context(|| format!("list `{}`", path.display()))?;
            for entry in entries {
                waiting.push(entry.context(|| format!("list `{}`", path.display()))?.path());
            }
        } else if stat.is_file() {
            let content = fs::read(&path).context(|| format!("read `{}`", path.display()))?;
            let hash = Sha256::digest(content);
            told.extend(hash.iter().map(|byte| format!("{byte:02x}")));
        }
        all.insert(path, told);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let canary = Canary::make(dir.path().join("canary")).unwrap();
        fs::read(canary.path().join("secret")).unwrap();
        assert_eq!(canary.changes().unwrap(), Vec::<String>::new());
        fs::write(canary.path().join("secret"), "of another\n").unwrap();
        fs::write(canary.path().join("sub/new"), "").unwrap();
        fs::remove_file(canary.path().join("passwd")).unwrap();
        let changed = canary.changes().unwrap().join("\n");
        for name in ["secret", "sub/new", "passwd"] {
            assert!(
                changed.contains(&format!("canary/{name}` of the host has changed")),
                "{changed}"
            );
        }
        assert!(!changed.contains("hostname"), "{changed}");
    }
}
