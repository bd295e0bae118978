//! Capabilities: which a guest's root keeps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, serde_as_text};

/// One capability of `capabilities(7)`, by its kernel number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cap(u8);

/// In the order of `linux/capability.h`; the index is the number.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

impl Cap {
    /// Every capability that hostel knows.
    #[allow(clippy::cast_possible_truncation, reason = "41 names")]
    pub fn all() -> impl Iterator<Item = Cap> {
        (0..NAMES.len() as u8).map(Cap)
    }

    /// The kernel's number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name without `cap_`, in lower case.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

impl FromStr for Cap {
    type Err = Invalid;

    /// `net_bind_service`, `NET_BIND_SERVICE` or `CAP_NET_BIND_SERVICE`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("cap_").unwrap_or(&lower);
        Cap::all().find(|cap| cap.name() == name).ok_or_else(|| {
            let hint = match nearest(name, NAMES) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "see capabilities(7)".to_owned(),
            };
            Invalid::new(format!("`{}` is not a capability", text.escape_debug()), hint)
        })
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of capabilities, as the kernel's bit mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Cap>", into = "Vec<Cap>")]
pub struct CapSet(u64);

impl CapSet {
    /// None.
    pub const EMPTY: CapSet = CapSet(0);

    /// What a guest's root keeps when the recipe says nothing (docs/security.md gives the reason for each).
    pub fn guest_default() -> Self {
        [
            "chown",
            "dac_override",
            "fowner",
            "fsetid",
            "kill",
            "setgid",
            "setuid",
            "setpcap",
            "setfcap",
            "net_bind_service",
            "sys_chroot",
            "audit_write",
        ]
        .into_iter()
        .filter_map(|name| name.parse::<Cap>().ok())
        .collect()
    }

    /// Whether `cap` is in it.
    pub fn contains(self, cap: Cap) -> bool {
        self.0 & (1 << cap.0) != 0
    }

    /// With `cap`.
    #[must_use]
    pub fn with(self, cap: Cap) -> Self {
        Self(self.0 | (1 << cap.0))
    }

    /// Without `cap`.
    #[must_use]
    pub fn without(self, cap: Cap) -> Self {
        Self(self.0 & !(1 << cap.0))
    }

    /// The kernel's bit mask.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The capabilities in it, by number.
    pub fn iter(self) -> impl Iterator<Item = Cap> {
        Cap::all().filter(move |cap| self.contains(*cap))
    }
}

impl FromIterator<Cap> for CapSet {
    fn from_iter<I: IntoIterator<Item = Cap>>(caps: I) -> Self {
        caps.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl From<Vec<Cap>> for CapSet {
    fn from(caps: Vec<Cap>) -> Self {
        caps.into_iter().collect()
    }
}

impl From<CapSet> for Vec<Cap> {
    fn from(set: CapSet) -> Self {
        set.iter().collect()
    }
}

/// What a recipe says about capabilities: changes to the default set, or another set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caps {
    /// Added to the set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<Cap>,
    /// Taken from the set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<Cap>,
    /// The set, instead of the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<Cap>>,
}

impl Caps {
    /// The set that this means, starting from `default`.
    pub fn resolve(&self, default: CapSet) -> CapSet {
        let start = match &self.only {
            Some(only) => only.iter().copied().collect(),
            None => default,
        };
        let kept = self.keep.iter().copied().fold(start, CapSet::with);
        self.drop.iter().copied().fold(kept, CapSet::without)
    }

    /// Whether it changes nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The word among `words` that is most like `word`, if one is like enough to be meant (Damerau-Levenshtein, at
/// most a third of the letters wrong).
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs the product of the lengths, and a name may be a megabyte.
    if word.len() > 64 {
        return None;
    }
    words
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(d, candidate)| *d <= word.len().max(candidate.len()).div_ceil(3).min(3))
        .min_by_key(|(d, _)| *d)
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            next[j] = (row[j] + 1).min(next[j - 1] + 1).min(row[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

serde_as_text!(Cap);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        assert_eq!("CAP_NET_BIND_SERVICE".parse::<Cap>().unwrap().number(), 10);
        assert_eq!("checkpoint_restore".parse::<Cap>().unwrap().number(), 40);
        let err = "net_bind".parse::<Cap>().unwrap_err();
        assert_eq!(err.message, "`net_bind` is not a capability");
        assert_eq!(
            "sys_amdin".parse::<Cap>().unwrap_err().hint.as_deref(),
            Some("did you mean `sys_admin`?")
        );
    }

    #[test]
    fn keep_drop_and_only() {
        let cap = |name: &str| name.parse::<Cap>().unwrap();
        let caps = Caps {
            keep: vec![cap("net_raw")],
            drop: vec![cap("kill")],
            only: None,
        };
        let set = caps.resolve(CapSet::guest_default());
        assert!(set.contains(cap("net_raw")) && set.contains(cap("chown")) && !set.contains(cap("kill")));
        let caps = Caps {
            only: Some(vec![cap("chown")]),
            ..Caps::default()
        };
        assert_eq!(caps.resolve(CapSet::guest_default()).bits(), 1);
    }
}
