//! What makes two files equal: content, mode, owner, extended attributes with capabilities and ACLs.

use std::cell::RefCell;
use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};

use crate::storage::tree::{is_a_mark, is_the_guests};
use crate::sys;

/// How long a key is. With the name of the store's directory it makes a redirection of 24 bytes: as much as fits, beside
/// the other mark, into an inode of 256 bytes of ext4. Longer, each file would have a block for its attributes.
pub(super) const LENGTH: usize = 15;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_";

/// 90 bits of a hash, as a name. Bytes are compared before anything is shared, so whoever finds two files with one key
/// has found two that are not shared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key([u8; LENGTH]);

impl Key {
    fn of(hash: &blake3::Hash) -> Self {
        let mut text = [0; LENGTH];
        for (digit, byte) in text.iter_mut().zip(hash.as_bytes()) {
            *digit = DIGITS[usize::from(byte & 63)];
        }
        Self(text)
    }

    /// Its text, if it is one.
    pub(super) fn from_bytes(bytes: &[u8; LENGTH]) -> Option<Self> {
        // As `DIGITS`, which a million of them are not looked up in.
        let is_digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'_');
        bytes.iter().all(is_digit).then_some(Self(*bytes))
    }

    /// Its text.
    pub(super) fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// Its text, as a name.
    pub(super) fn as_str(&self) -> &str {
        // Made of `DIGITS` alone.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn of_text(text: &str) -> Self {
        Self::of(&blake3::hash(text.as_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

thread_local! {
    /// One for all files that a thread reads: a new one for each costs a page fault for every page of it.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 << 10]);
}

/// The key of an open file of that state, which is told the bytes that are read. `None` when it has changed meanwhile,
/// or is what only a mark of a layer explains.
pub(super) fn read(file: &mut File, stat: &FileStat, told: impl Fn(u64)) -> Result<Option<Key>, Errno> {
    let io = |err: std::io::Error| err.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let Some(attributes) = attributes(file.as_fd())? else {
        return Ok(None);
    };
    let mut hash = blake3::Hasher::new();
    let numbers = [
        u64::from(stat.st_mode),
        u64::from(stat.st_uid),
        u64::from(stat.st_gid),
        stat.st_size.cast_unsigned(),
    ];
    for number in numbers {
        hash.update(&number.to_le_bytes());
    }
    for (name, value) in attributes {
        hash.update(name.to_bytes_with_nul());
        hash.update(&(value.len() as u64).to_le_bytes());
        hash.update(&value);
    }
    hash.update(b"content");
    // No further than it was long: one that grows under the reading would never end.
    let mut left = stat.st_size.cast_unsigned();
    let is_whole = BUFFER.with_borrow_mut(|buffer| {
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let done = match file.read(&mut buffer[..want]) {
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map_err(io)?,
            };
            if done == 0 || crate::sys::interrupt::pending().is_some() {
                return Ok(false);
            }
            hash.update(&buffer[..done]);
            left -= done as u64;
            told(done as u64);
        }
        Ok(true)
    })?;
    if !is_whole {
        return Ok(None);
    }
    let now = fstat(&*file)?;
    let is_same =
        (now.st_size, now.st_ctime, now.st_ctime_nsec) == (stat.st_size, stat.st_ctime, stat.st_ctime_nsec);
    Ok(is_same.then(|| Key::of(&hash.finalize())))
}

/// Extended attributes: names and values.
type Attributes = Vec<(CString, Vec<u8>)>;

/// The extended attributes of a file that count, by name; `None` of what only a mark of a layer explains.
pub(super) fn attributes(file: BorrowedFd<'_>) -> Result<Option<Attributes>, Errno> {
    let mut names = match sys::file::xattr_names(file) {
        Err(Errno::EOPNOTSUPP) => Vec::new(),
        other => other?,
    };
    names.sort();
    let mut all = Vec::new();
    for name in names {
        if is_a_mark(&name) && name.to_bytes() != b"trusted.overlay.origin" {
            return Ok(None);
        }
        if is_the_guests(&name) {
            let value = sys::file::xattr(file, &name)?;
            all.push((name, value));
        }
    }
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_its_digits_alone() {
        for byte in 0..=255 {
            let is_key = Key::from_bytes(&[byte; LENGTH]).is_some();
            assert_eq!(is_key, DIGITS.contains(&byte), "{byte}");
        }
    }
}
