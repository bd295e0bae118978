//! The distributions that an image is built of by their suites, and the suites that are known: one list for everybody.
//!
//! A suite that is not in it may still be built: mirrors know suites that are younger than this hostel.

use std::fmt;

use super::Arch;

/// A distribution whose suites `mmdebstrap` builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Distribution {
    /// Debian.
    Debian,
    /// Devuan: Debian without systemd.
    Devuan,
    /// Ubuntu.
    Ubuntu,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Debian, Self::Devuan, Self::Ubuntu];

    /// The word before the colon of an image.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Devuan => "devuan",
            Self::Ubuntu => "ubuntu",
        }
    }

    /// Its name, as its makers write it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Debian => "Debian",
            Self::Devuan => "Devuan",
            Self::Ubuntu => "Ubuntu",
        }
    }

    /// The distribution of an image's word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }

    /// Its suites that can be had from its mirrors, the oldest first, then the names that move on with each release.
    pub const fn suites(self) -> &'static [&'static str] {
        match self {
            Self::Debian => &[
                "bullseye",
                "bookworm",
                "trixie",
                "forky",
                "sid",
                "oldoldstable",
                "oldstable",
                "stable",
                "testing",
                "unstable",
            ],
            Self::Devuan => &[
                "chimaera",
                "daedalus",
                "excalibur",
                "freia",
                "ceres",
                "oldstable",
                "stable",
                "testing",
                "unstable",
            ],
            Self::Ubuntu => &["focal", "jammy", "noble", "questing", "resolute", "devel"],
        }
    }

    /// Whether the list has the suite.
    pub fn knows(self, suite: &str) -> bool {
        self.suites().contains(&suite)
    }

    /// The keys that sign its archive, where its own package puts them. None where the builder trusts what apt does.
    pub const fn keyring(self) -> Option<&'static str> {
        match self {
            Self::Debian => None,
            Self::Devuan => Some("/usr/share/keyrings/devuan-archive-keyring.gpg"),
            Self::Ubuntu => Some("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
        }
    }

    /// The package that has the keys.
    pub const fn keyring_package(self) -> &'static str {
        match self {
            Self::Debian => "debian-archive-keyring",
            Self::Devuan => "devuan-keyring",
            Self::Ubuntu => "ubuntu-keyring",
        }
    }

    /// Its own mirror for an architecture. None where the builder has a default that is right.
    pub fn mirror(self, arch: Option<Arch>) -> Option<&'static str> {
        match self {
            Self::Debian => None,
            Self::Devuan => Some("http://deb.devuan.org/merged"),
            Self::Ubuntu if matches!(arch, Some(Arch::Amd64 | Arch::I386)) => {
                Some("http://archive.ubuntu.com/ubuntu")
            }
            Self::Ubuntu => Some("http://ports.ubuntu.com/ubuntu-ports"),
        }
    }

    /// The parts of its archive that a server is made of.
    pub const fn components(self) -> &'static str {
        match self {
            Self::Debian | Self::Devuan => "main",
            Self::Ubuntu => "main universe",
        }
    }

    /// The suites beside `suite` that bring its fixes.
    pub fn fixes(self, suite: &str) -> Vec<String> {
        let is_rolling = matches!(suite, "sid" | "unstable" | "ceres" | "devel");
        if is_rolling {
            return Vec::new();
        }
        ["updates", "security"]
            .map(|kind| format!("{suite}-{kind}"))
            .into()
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Whether a text can be the name of a suite at all.
pub fn is_suite(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_has_a_name_once() {
        for distribution in Distribution::ALL {
            let mut names = distribution.suites().to_vec();
            assert!(names.iter().all(|name| is_suite(name)), "{names:?}");
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count);
            assert_eq!(Distribution::of_word(distribution.word()), Some(distribution));
        }
        assert!(Distribution::Debian.knows("trixie") && !Distribution::Debian.knows("trixy"));
        assert_eq!(Distribution::of_word("alpine"), None);
        assert_eq!(
            Distribution::Ubuntu.fixes("noble"),
            ["noble-updates", "noble-security"]
        );
        assert!(Distribution::Debian.fixes("sid").is_empty());
    }
}
