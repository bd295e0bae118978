//! What is remembered of files that were read: their keys, by inode, size and time of change.
//!
//! It saves reading and is never believed for more: bytes are compared before they are shared. A file that cannot be
//! read, of another format, or cut off is as good as none.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::FileStat;

use super::key::Key;
use crate::error::{Context as _, Result};
use crate::storage::scratch;

const MAGIC: &[u8; 8] = b"hstlkn\x00\x01";
const RECORD: usize = 56;
/// A hundred times the files of a large guest. Beyond that only the present ones are kept.
const MOST: usize = 1 << 21;

/// A file that was changed so shortly before it was read may change again within the same tick of the clock, and
/// would then look as if it had not.
const SETTLED: Duration = Duration::from_secs(1);

/// Whether it was changed long enough before it was read.
pub(super) fn is_settled(stat: &FileStat, read: SystemTime) -> bool {
    let changed = Duration::new(
        u64::try_from(stat.st_ctime).unwrap_or(0),
        u32::try_from(stat.st_ctime_nsec).unwrap_or(0),
    );
    read.duration_since(UNIX_EPOCH).unwrap_or_default() >= changed + SETTLED
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    changed: (i64, i64),
    size: i64,
    key: Key,
    is_shared: bool,
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Known {
    old: HashMap<(u64, u64), Entry>,
    new: Mutex<HashMap<(u64, u64), Entry>>,
}

impl Known {
    /// Reads it.
    pub(super) fn read(path: &Path) -> Self {
        let mut bytes = Vec::new();
        // One record more than any that is written.
        let most = (MOST as u64 + 1) * RECORD as u64;
        let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        let old = read.ok().and_then(|_| parse(&bytes)).unwrap_or_default();
        Self {
            old,
            new: Mutex::default(),
        }
    }

    /// The key of a file that is as it was, and whether it was shared then.
    pub(super) fn find(&self, stat: &FileStat) -> Option<(Key, bool)> {
        let entry = self.old.get(&(stat.st_dev, stat.st_ino))?;
        let is_same = entry.changed == (stat.st_ctime, stat.st_ctime_nsec) && entry.size == stat.st_size;
        is_same.then_some((entry.key, entry.is_shared))
    }

    /// Whether a file that is not one of `seen` may have one of the `keys`.
    pub(super) fn has_elsewhere(&self, keys: &HashSet<Key>, seen: &HashSet<(u64, u64)>) -> bool {
        // Of more than are kept some are not known.
        self.old.len() >= MOST
            || self
                .old
                .iter()
                .any(|(id, entry)| keys.contains(&entry.key) && !seen.contains(id))
    }

    /// Remembers a key.
    pub(super) fn note(&self, stat: &FileStat, key: Key, is_shared: bool) {
        if !is_settled(stat, SystemTime::now()) {
            return;
        }
        let entry = Entry {
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            size: stat.st_size,
            key,
            is_shared,
        };
        if let Ok(mut new) = self.new.lock() {
            new.insert((stat.st_dev, stat.st_ino), entry);
        }
    }

    /// Writes it if there is anything new, in one step. It need not survive a power failure.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let Ok(new) = self.new.lock() else { return Ok(()) };
        if new.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity((self.old.len() + new.len()) * RECORD + 64);
        bytes.extend(MAGIC);
        let old = self
            .old
            .iter()
            .filter(|(id, _)| self.old.len() < MOST && !new.contains_key(id));
        for ((dev, ino), entry) in new.iter().chain(old).take(MOST) {
            let before = bytes.len();
            bytes.extend(dev.to_le_bytes());
            bytes.extend(ino.to_le_bytes());
            bytes.extend(entry.changed.0.to_le_bytes());
            bytes.extend(entry.changed.1.to_le_bytes());
            bytes.extend(entry.size.to_le_bytes());
            bytes.extend(entry.key.as_bytes());
            bytes.push(u8::from(entry.is_shared));
            debug_assert_eq!(bytes.len() - before, RECORD, "a record");
        }
        let sum = blake3::hash(&bytes);
        bytes.extend(sum.as_bytes());
        let sibling = path.with_extension(scratch::unique());
        let write = || {
            crate::storage::state::private(&sibling)?.write_all(&bytes)?;
            fs::rename(&sibling, path)
        };
        write()
            .context(|| format!("write `{}`", path.display()))
            .inspect_err(|_| {
                let _ = fs::remove_file(&sibling);
            })
    }
}

fn parse(bytes: &[u8]) -> Option<HashMap<(u64, u64), Entry>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if blake3::hash(body).as_bytes() != sum {
        return None;
    }
    let records = body.strip_prefix(MAGIC)?.chunks_exact(RECORD);
    let number = |record: &[u8], at: usize| record[at..at + 8].try_into().map(u64::from_le_bytes);
    let mut known = HashMap::with_capacity(records.len());
    for record in records {
        let at = |at| number(record, at).ok();
        let signed = |at| Some(at_signed(number(record, at).ok()?));
        let entry = Entry {
            changed: (signed(16)?, signed(24)?),
            size: signed(32)?,
            key: Key::from_bytes(record[40..55].try_into().ok()?)?,
            is_shared: record[55] == 1,
        };
        known.insert((at(0)?, at(8)?), entry);
    }
    Some(known)
}

fn at_signed(bits: u64) -> i64 {
    bits.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_has_not_changed_and_survives_garbage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known");
        let file = dir.path().join("f");
        fs::write(&file, "x").unwrap();
        let mut stat = nix::sys::stat::stat(&file).unwrap();
        stat.st_ctime -= 100;
        let key = Key::of_text("x");
        let known = Known::read(&path);
        assert_eq!(known.find(&stat), None);
        known.note(&stat, key, true);
        known.write(&path).unwrap();
        let again = Known::read(&path);
        assert_eq!(again.find(&stat), Some((key, true)));
        stat.st_size += 1;
        assert_eq!(again.find(&stat), None);
        stat.st_size -= 1;
        for spoil in [0, 9, 30, 80] {
            let mut bytes = fs::read(&path).unwrap();
            bytes[spoil] ^= 1;
            fs::write(dir.path().join("bad"), &bytes).unwrap();
            assert_eq!(Known::read(&dir.path().join("bad")).find(&stat), None, "{spoil}");
            fs::write(dir.path().join("bad"), &bytes[..spoil]).unwrap();
            assert_eq!(Known::read(&dir.path().join("bad")).find(&stat), None, "{spoil}");
        }
        // What has changed just now may change again unseen.
        let fresh = Known::default();
        stat.st_ctime = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            .cast_signed();
        fresh.note(&stat, key, false);
        fresh.write(&dir.path().join("none")).unwrap();
        assert!(!dir.path().join("none").exists());
    }
}
