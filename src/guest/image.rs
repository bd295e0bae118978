//! Where a guest's files come from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::suites::{Distribution, is_suite};
use super::{GuestName, Invalid, serde_as_text};

/// How an image of other tools is kept, by the words of `containers-transports(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// An OCI image layout in a directory.
    Oci,
    /// An OCI image layout in a tar archive.
    OciArchive,
    /// What `docker save` writes.
    DockerArchive,
}

impl Transport {
    const ALL: [Self; 3] = [Self::Oci, Self::OciArchive, Self::DockerArchive];

    /// The word before the colon.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
        }
    }

    /// Whether it is a directory, else one file.
    pub const fn is_dir(self) -> bool {
        matches!(self, Self::Oci)
    }
}

/// An image of other tools.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Container {
    /// How it is kept.
    pub transport: Transport,
    /// Where.
    pub path: PathBuf,
    /// Which of the images there; the only one without.
    pub tag: Option<String>,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.word(), self.path.display())?;
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

/// The source of a guest's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Image {
    /// The host's static busybox and its applets.
    Busybox,
    /// A suite of Debian or what is made like it, by mmdebstrap.
    Suite(Distribution, String),
    /// An archive, compressed or not.
    Tar(PathBuf),
    /// An OCI or Docker image.
    Container(Container),
    /// A copy of a directory.
    Dir(PathBuf),
    /// A copy of another guest.
    Clone(GuestName),
}

impl FromStr for Image {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let hint = "`busybox`, `debian:SUITE`, `devuan:SUITE`, `ubuntu:SUITE`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:IMAGE]`, \
                    `tar:FILE`, `dir:PATH` or `clone:GUEST`";
        let invalid = || Invalid::new(format!("`{}` is not an image", text.escape_debug()), hint);
        if text == "busybox" {
            return Ok(Self::Busybox);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(invalid)?;
        let path = |rest: &str| {
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
        if let Some(transport) = Transport::ALL.into_iter().find(|known| known.word() == kind) {
            // As the other tools read it: a path has no colon, and a tag may have some.
            let (at, tag) = match rest.split_once(':') {
                Some((_, "")) => return Err(invalid()),
                Some((at, tag)) => (at, Some(tag.to_owned())),
                None => (rest, None),
            };
            let path = path(at)?;
            return Ok(Self::Container(Container { transport, path, tag }));
        }
        match kind {
            "tar" => path(rest).map(Self::Tar),
            "dir" => path(rest).map(Self::Dir),
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
            Self::Container(container) => write!(f, "{container}"),
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
            "oci:/srv/images",
            "oci:/srv/images:nginx:1.25",
            "oci-archive:/srv/a.tar:latest",
            "docker-archive:/srv/a.tar",
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
            "oci:x",
            "oci:/x:",
            "docker-archive:",
            "clone:../x",
            "alpine",
        ] {
            assert!(bad.parse::<Image>().is_err(), "{bad}");
        }
    }
}
