//! The names and numbers of guests and processes. One number, the [`Xid`], names a guest everywhere.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, serde_as_text};

/// The name of a guest: a directory name, an argument and a word in Lua, so it can be nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestName(String);

impl GuestName {
    /// The longest name. A DNS label has as many bytes (RFC 1035), and a guest's name is its default hostname.
    pub const MAX: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GuestName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let hint = "1 to 63 of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`, the first a letter or digit";
        let head = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let body = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if head && body && text.len() <= Self::MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                format!("`{}` is not a guest name", text.escape_debug()),
                hint,
            ))
        }
    }
}

impl fmt::Display for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A hostname as `sethostname(2)` and DNS take it: labels of letters, digits and `-`, at most 64 bytes in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname(String);

impl Hostname {
    /// `__NEW_UTS_LEN`: the kernel's limit, from `uname(2)`.
    pub const MAX: usize = 64;

    /// The hostname as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hostname {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if text.len() <= Self::MAX && text.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                format!("`{}` is not a hostname", text.escape_debug()),
                "labels of `a-z`, `0-9` and `-` joined by dots, at most 64 bytes (hostname(7))",
            ))
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The context id. Everything that a guest needs a number for is derived from it, so nothing else is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Xid(u16);

impl Xid {
    /// The host itself: sees all and has power over all.
    pub const HOST: Xid = Xid(0);
    /// The spectator: sees all and has power over none.
    pub const SPECTATOR: Xid = Xid(1);
    /// The lowest number of a guest.
    pub const MIN: Xid = Xid(2);
    /// The highest number of a guest: the last whose loopback address stays clear of 127.192.0.0/10 and whose
    /// id range (`xid << 16`) stays clear of the top quarter of the 32-bit ids, where systemd and others allocate.
    pub const MAX: Xid = Xid(49151);
    /// Where automatic allocation begins; the numbers below are left to people.
    pub const FIRST_AUTOMATIC: Xid = Xid(1000);
    /// How many ids a guest has: all of a conventional 16-bit system, `nobody` (65534) included.
    pub const IDS: u32 = 1 << 16;

    /// A guest's number, 2 to 49151.
    pub fn new(number: u32) -> Result<Self, Invalid> {
        match u16::try_from(number) {
            Ok(n) if (Self::MIN.0..=Self::MAX.0).contains(&n) => Ok(Self(n)),
            _ => Err(Invalid::new(
                format!("`{number}` is not a guest's context id"),
                "2 to 49151; 0 is the host, 1 the spectator",
            )),
        }
    }

    /// A number that hostel itself has written: a guest's, or the spectator's.
    pub fn read(number: u32) -> Result<Self, Invalid> {
        if number == u32::from(Self::SPECTATOR.0) {
            return Ok(Self::SPECTATOR);
        }
        Self::new(number)
    }

    /// The number.
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }

    /// The host id that is id 0 inside.
    pub fn id_base(self) -> u32 {
        self.get() << 16
    }

    /// The address that 127.0.0.1 is inside: 127.hi.lo.1.
    pub fn loopback4(self) -> Ipv4Addr {
        let [hi, lo] = self.0.to_be_bytes();
        Ipv4Addr::new(127, hi, lo, 1)
    }

    /// The address that `::1` is inside: `fd68:6f73:7465:6c::XID` (RFC 4193; the prefix spells `hostel`).
    pub fn loopback6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd68, 0x6f73, 0x7465, 0x6c, 0, 0, 0, self.0)
    }

    /// The name of its cgroup below hostel's own: `x101`.
    pub fn cgroup_name(self) -> String {
        format!("x{}", self.0)
    }
}

impl TryFrom<u32> for Xid {
    type Error = Invalid;

    fn try_from(number: u32) -> Result<Self, Invalid> {
        Self::new(number)
    }
}

impl From<Xid> for u32 {
    fn from(xid: Xid) -> u32 {
        xid.get()
    }
}

impl FromStr for Xid {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = text.parse::<u32>().map_err(|source| {
            Invalid::new(
                format!("`{}` is not a context id: {source}", text.escape_debug()),
                "a number, 2 to 49151",
            )
        })?;
        Self::new(number)
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A process as the host numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct HostPid(pub i32);

impl fmt::Display for HostPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A process as its guest numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct GuestPid(pub i32);

impl fmt::Display for GuestPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

serde_as_text!(GuestName, Hostname);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_name_cannot_be_a_path_or_an_option() {
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "-rf",
            "a\nb",
            "a\0b",
            "é",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<GuestName>().is_err(), "{bad:?}");
        }
        for good in ["web", "web.example", "9p", "A_b-c", &"a".repeat(63)] {
            assert!(good.parse::<GuestName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_hostname_is_labels() {
        for bad in [
            "",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a\n",
            &"a".repeat(65),
            &format!("{}.x", "a".repeat(64)),
        ] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad:?}");
        }
        assert!("web.example.net".parse::<Hostname>().is_ok());
    }

    #[test]
    fn everything_follows_from_the_xid() {
        let xid = Xid::new(0x1234).unwrap();
        assert_eq!(xid.id_base(), 0x1234_0000);
        assert_eq!(xid.loopback4(), Ipv4Addr::new(127, 0x12, 0x34, 1));
        assert_eq!(xid.loopback6().to_string(), "fd68:6f73:7465:6c::1234");
        assert_eq!(
            Xid::MAX
                .id_base()
                .checked_add(Xid::IDS - 1)
                .map(|top| top < 0xC000_0000),
            Some(true)
        );
        for bad in [0, 1, 49152, 65536 + 2] {
            assert!(Xid::new(bad).is_err(), "{bad}");
        }
    }
}
