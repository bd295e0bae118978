//! Named volumes: data that outlives the guests that mount it, and that several of them can share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Bytes, GuestName, Invalid, Storage, serde_as_text};

/// The name of a volume: a directory name, an argument and a word in Lua, so it is made as a guest's name is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeName(String);

impl VolumeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.parse::<GuestName>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(invalid) => Err(Invalid {
                message: format!("`{}` is not a name of a volume", text.escape_debug()),
                ..invalid
            }),
        }
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(VolumeName);

/// What a recipe says about a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// What is in it may take this at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// So many files and directories may be in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u32>,
    /// How it is kept; what the file system does best without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
}

impl Volume {
    /// The ways to keep one. Not in layers: two guests that have the same top layer mounted undo each other's work, and
    /// there is nothing below that many would share.
    pub const STORAGE: &[&str] = &["btrfs", "reflink", "dir", "image"];

    /// Whether one that is like this needs no change to be what is said.
    pub fn is_as(&self, said: &Self) -> bool {
        let is_kept_so = said.storage.is_none() || said.storage == self.storage;
        is_kept_so && (self.size, self.inodes) == (said.size, said.inodes)
    }
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or directory of the host.
    Path(PathBuf),
    /// A volume.
    Volume(VolumeName),
}

impl Source {
    /// The path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Volume(_) => None,
        }
    }

    /// The volume, if it is one.
    pub fn volume(&self) -> Option<&VolumeName> {
        match self {
            Self::Path(_) => None,
            Self::Volume(name) => Some(name),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Volume(name) => write!(f, "volume:{name}"),
        }
    }
}

impl FromStr for Source {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(name) = text.strip_prefix("volume:") {
            return name.parse().map(Self::Volume);
        }
        if text.starts_with('/') && !text.contains('\0') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        Err(Invalid::new(
            format!(
                "`{}` is neither a path of the host nor a volume",
                text.escape_debug()
            ),
            "an absolute path, or `volume:NAME`",
        ))
    }
}

serde_as_text!(Source);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_or_a_volume() {
        for good in ["/srv/web", "volume:data", "/volume:data"] {
            assert_eq!(good.parse::<Source>().unwrap().to_string(), good);
        }
        assert_eq!(
            "volume:data"
                .parse::<Source>()
                .unwrap()
                .volume()
                .unwrap()
                .as_str(),
            "data"
        );
        for bad in [
            "",
            "srv",
            "volume:",
            "volume:../x",
            "volume:a/b",
            "volume:.x",
            "Volume:a",
        ] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }
}
