//! Where a guest's files come from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::suites::{Distribution, is_suite};
use super::{GuestName, Invalid, serde_as_text};

/// The source of a guest's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Image {
    /// The host's static busybox and its applets.
    Busybox,
    /// A suite of Debian or what is made like it, by mmdebstrap.
    Suite(Distribution, String),
    /// An archive, compressed or not.
    Tar(PathBuf),
    /// A copy of a directory.
    Dir(PathBuf),
    /// A copy of another guest.
    Clone(GuestName),
}

impl FromStr for Image {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let hint = "`busybox`, `debian:SUITE`, `devuan:SUITE`, `ubuntu:SUITE`, `tar:FILE`, `dir:PATH` or `clone:GUEST`";
        let invalid = || Invalid::new(format!("`{}` is not an image", text.escape_debug()), hint);
        if text == "busybox" {
            return Ok(Self::Busybox);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(invalid)?;
        let path = || {
            let path = PathBuf::from(rest);
            if path.is_absolute() && !rest.contains('\0') {
                Ok(path)
            } else {
                Err(Invalid::new(
                    format!("`{}` has no absolute path", text.escape_debug()),
                    "start it with `/`",
                ))
            }
        };
        if let Some(distribution) = Distribution::of_word(kind) {
            return if is_suite(rest) {
                Ok(Self::Suite(distribution, rest.to_owned()))
            } else {
                Err(invalid())
            };
        }
        match kind {
            "tar" => path().map(Self::Tar),
            "dir" => path().map(Self::Dir),
            "clone" => rest.parse().map(Self::Clone),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busybox => f.pad("busybox"),
            Self::Suite(distribution, suite) => write!(f, "{distribution}:{suite}"),
            Self::Tar(path) => write!(f, "tar:{}", path.display()),
            Self::Dir(path) => write!(f, "dir:{}", path.display()),
            Self::Clone(guest) => write!(f, "clone:{guest}"),
        }
    }
}

serde_as_text!(Image);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in [
            "busybox",
            "debian:bookworm",
            "devuan:daedalus",
            "ubuntu:noble",
            "tar:/a/b.tar.zst",
            "dir:/srv/x",
            "clone:web",
        ] {
            assert_eq!(text.parse::<Image>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "debian:",
            "debian:--x",
            "debian:A b",
            "tar:x.tar",
            "dir:",
            "clone:../x",
            "alpine",
        ] {
            assert!(bad.parse::<Image>().is_err(), "{bad}");
        }
    }
}
