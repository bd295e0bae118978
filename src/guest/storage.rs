//! How a guest's files are kept.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, serde_as_text};

/// The word for a driver of `storage::driver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Storage {
    /// A subvolume of btrfs; a copy is a snapshot.
    Btrfs,
    /// A tree whose files share their extents with those that they were copied from.
    Reflink,
    /// A layer of its own over layers that it shares with others.
    Overlay,
    /// A tree of its own.
    Dir,
    /// A file system of its own, in one file.
    Image,
}

impl Storage {
    /// Each, in the order in which they are documented.
    pub const ALL: [Storage; 5] = [Self::Btrfs, Self::Reflink, Self::Overlay, Self::Dir, Self::Image];
    /// Their words.
    pub const NAMES: &[&str] = &["btrfs", "reflink", "overlay", "dir", "image"];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Btrfs => "btrfs",
            Self::Reflink => "reflink",
            Self::Overlay => "overlay",
            Self::Dir => "dir",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Storage {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|storage| storage.name() == text)
            .ok_or_else(|| {
                Invalid::new(
                    format!("`{}` is not a kind of storage", text.escape_debug()),
                    "`btrfs`, `reflink`, `overlay`, `dir` or `image`",
                )
            })
    }
}

serde_as_text!(Storage);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        for (storage, name) in Storage::ALL.into_iter().zip(Storage::NAMES) {
            assert_eq!(name.parse::<Storage>().unwrap(), storage);
            assert_eq!(storage.to_string(), *name);
        }
        assert!("zfs".parse::<Storage>().is_err());
    }
}
