//! Keys of files by their content, found out once by a process and those that it forks: a thousand guests of one archive
//! read it once.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::{LazyLock, Mutex};

use sha2::{Digest as _, Sha256};

use super::short;
use crate::error::{Context as _, Result};
use crate::sys;

/// A file as it was: device, inode, size, times of modification and change.
type Seen = (u64, u64, u64, (i64, i64), (i64, i64));

/// By the kind of image: one file may be asked for as several.
static KEYS: LazyLock<Mutex<HashMap<(&str, Seen), String>>> = LazyLock::new(Mutex::default);

/// The key of an image of that kind: of `seed` and of all that is in `file`.
pub(super) fn key(kind: &'static str, seed: &[u8], file: &File, what: impl Fn() -> String) -> Result<String> {
    once(kind, file, || {
        let mut hash = Sha256::new_with_prefix(seed);
        add(&mut hash, file, what)?;
        Ok(format!("{kind}-{}", short(hash)))
    })
}

/// The key of `file`, by `read` where it is not known. A file that changes while it is read is not remembered.
fn once(kind: &'static str, file: &File, read: impl FnOnce() -> Result<String>) -> Result<String> {
    let before = seen(file)?;
    let known = |keys: &HashMap<_, String>| keys.get(&(kind, before)).cloned();
    if let Some(key) = KEYS.lock().ok().and_then(|keys| known(&keys)) {
        return Ok(key);
    }
    let key = read()?;
    if seen(file)? == before
        && let Ok(mut keys) = KEYS.lock()
    {
        keys.insert((kind, before), key.clone());
    }
    Ok(key)
}

/// Adds what is in `file` to `hash`.
fn add(hash: &mut Sha256, file: &File, what: impl Fn() -> String) -> Result<()> {
    tracing::debug!("{} to know it by its content", what());
    let mut buffer = vec![0; 1 << 17];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at).context(&what)?;
        if read == 0 {
            return Ok(());
        }
        sys::interrupt::check()?;
        hash.update(&buffer[..read]);
        at += read as u64;
    }
}

fn seen(file: &File) -> Result<Seen> {
    let meta = file.metadata().context(|| "stat an image")?;
    let (modified, changed) = (
        (meta.mtime(), meta.mtime_nsec()),
        (meta.ctime(), meta.ctime_nsec()),
    );
    Ok((meta.dev(), meta.ino(), meta.size(), modified, changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_once_until_it_changes() {
        let file = tempfile::tempfile().unwrap();
        let key = |found: &str| once("tar", &file, || Ok(found.to_owned())).unwrap();
        assert_eq!((key("a"), key("b")), ("a".to_owned(), "a".to_owned()));
        assert_eq!(
            once("busybox", &file, || Ok("another".to_owned())).unwrap(),
            "another"
        );
        file.set_len(5).unwrap();
        assert_eq!((key("c"), key("d")), ("c".to_owned(), "c".to_owned()));
        let changing = || {
            file.set_len(6).unwrap();
            Ok("e".to_owned())
        };
        file.set_len(7).unwrap();
        assert_eq!(once("tar", &file, changing).unwrap(), "e");
        file.set_len(7).unwrap();
        assert_eq!(key("f"), "f");
    }
}
