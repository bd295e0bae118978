//! Limits: what a guest may use at most.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Bytes, Cpus, Invalid, serde_as_text};

/// Upper bounds on what all processes of a guest use together (cgroup) and each one (rlimit).
///
/// `None` is unlimited. Every field can be changed while the guest runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory, page cache included (`memory.max`; v1 `memory.limit_in_bytes`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Swap beyond memory (`memory.swap.max`; v1 `memory.memsw.limit_in_bytes` less memory).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Bytes>,
    /// Processor time (`cpu.max`; v1 `cpu.cfs_quota_us`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Share of the processors when they are contended, 1 to 10,000; 100 is everyone's (`cpu.weight`; v1
    /// `cpu.shares`, where 100 is 1024).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u16>,
    /// The processors it may run on, as `0-3,7` (`cpuset.cpus`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<CpuList>,
    /// Processes and threads (`pids.max`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Share of the disks when they are contended, 1 to 10,000; 100 is everyone's (`io.weight`; v1 `blkio.weight`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u16>,
    /// Bytes a second read from, and written to, each block device by its path (`io.max`; v1 `blkio.throttle`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub io: BTreeMap<String, IoMax>,
    /// Disk space of its files. The file system enforces it (`storage::bounds`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// Files and directories, each name of one counted once: inodes. The file system enforces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u32>,
    /// The priority of its processes, -20 (first) to 19 (`setpriority(2)`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i8>,
    /// Per-process limits of `setrlimit(2)`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rlimits: BTreeMap<RlimitKind, Rlimit>,
}

impl fmt::Display for Limits {
    /// What processes use together, in one line: `memory 256M, pids 64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One place knows the names of the fields: their serialization.
        let value = serde_json::to_value(self).unwrap_or_default();
        let fields = value.as_object().into_iter().flatten();
        let words: Vec<String> = fields
            .filter(|(name, _)| !matches!(name.as_str(), "rlimits" | "nice" | "disk" | "inodes"))
            .map(|(name, value)| match value.as_str() {
                Some(text) => format!("{name} {text}"),
                None => format!("{name} {value}"),
            })
            .collect();
        f.pad(&words.join(", "))
    }
}

/// Whether so much memory can be meant as a guest's or a command's limit.
pub(crate) fn enough_memory(memory: Bytes) -> Result<Bytes, Invalid> {
    /// Below it no program of any distribution starts; who writes less has left out a unit.
    const LEAST: Bytes = Bytes(1 << 20);
    if memory >= LEAST {
        return Ok(memory);
    }
    let bytes = memory.0;
    Err(Invalid::new(
        format!("`memory` is {bytes} bytes, and nothing starts in less than 1M"),
        format!("a size has a unit: `{}M`", bytes.max(1)),
    ))
}

/// Throttling of one block device, in bytes and operations a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IoMax {
    /// Bytes read a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Bytes>,
    /// Bytes written a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Bytes>,
    /// Reads a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_iops: Option<u32>,
    /// Writes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_iops: Option<u32>,
}

impl IoMax {
    /// Whether writes are bounded.
    pub fn bounds_writes(&self) -> bool {
        self.write.is_some() || self.write_iops.is_some()
    }
}

/// A list of processors in the kernel's own notation (`cpuset(7)`, "List format").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(String);

impl CpuList {
    /// The list as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CpuList {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = |t: &str| {
            t.parse::<u16>()
                .ok()
                .filter(|_| t.bytes().all(|b| b.is_ascii_digit()))
        };
        let is_valid = text.split(',').all(|part| match part.split_once('-') {
            Some((from, to)) => matches!((number(from), number(to)), (Some(a), Some(b)) if a <= b),
            None => number(part).is_some(),
        });
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                format!("`{}` is not a list of processors", text.escape_debug()),
                "numbers and ranges, such as `0-3,7`",
            ))
        }
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The resources of `setrlimit(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RlimitKind(u8);

/// In the order of `asm-generic/resource.h`; the index is the number.
const RLIMITS: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

impl RlimitKind {
    /// What a process leaves behind when it crashes.
    pub const CORE: RlimitKind = RlimitKind(4);

    /// Every resource.
    #[allow(clippy::cast_possible_truncation, reason = "16 names")]
    pub fn all() -> impl Iterator<Item = RlimitKind> {
        (0..RLIMITS.len() as u8).map(RlimitKind)
    }

    /// The kernel's number.
    pub fn number(self) -> u32 {
        u32::from(self.0)
    }

    /// The name without `RLIMIT_`, in lower case.
    pub fn name(self) -> &'static str {
        RLIMITS[usize::from(self.0)]
    }
}

impl FromStr for RlimitKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        RlimitKind::all().find(|kind| kind.name() == text).ok_or_else(|| {
            let hint = match super::caps::nearest(text, RLIMITS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of {}", RLIMITS.join(", ")),
            };
            Invalid::new(format!("`{}` is not a resource limit", text.escape_debug()), hint)
        })
    }
}

impl fmt::Display for RlimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A soft and a hard limit in the resource's own unit; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// What the process meets.
    pub soft: Option<u64>,
    /// How far it may raise its soft limit itself.
    pub hard: Option<u64>,
}

impl FromStr for Rlimit {
    type Err = Invalid;

    /// `1024`, `1024:4096`, `unlimited`; sizes may carry a unit (`64M`).
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let one = |part: &str| match part {
            "unlimited" | "infinity" => Ok(None),
            number => number.parse::<Bytes>().map(|b| Some(b.0)),
        };
        let invalid = |_: Invalid| {
            Invalid::new(
                format!("`{}` is not a resource limit", text.escape_debug()),
                "`SOFT`, `SOFT:HARD` or `unlimited`, such as `1024:4096`",
            )
        };
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let (soft, hard) = (one(soft).map_err(invalid)?, one(hard).map_err(invalid)?);
        if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
            return Err(Invalid::new(
                format!("`{text}` has a soft limit above its hard limit"),
                "the soft limit comes first: `SOFT:HARD`",
            ));
        }
        Ok(Self { soft, hard })
    }
}

impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |v: Option<u64>| v.map_or_else(|| "unlimited".to_owned(), |v| v.to_string());
        if self.soft == self.hard {
            f.pad(&one(self.soft))
        } else {
            f.pad(&format!("{}:{}", one(self.soft), one(self.hard)))
        }
    }
}

serde_as_text!(CpuList, RlimitKind, Rlimit);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_without_a_unit_is_not_meant() {
        assert_eq!(enough_memory(Bytes(1 << 20)), Ok(Bytes(1 << 20)));
        let invalid = enough_memory(Bytes(64)).unwrap_err();
        assert_eq!(
            invalid.message,
            "`memory` is 64 bytes, and nothing starts in less than 1M"
        );
        assert_eq!(invalid.hint.as_deref(), Some("a size has a unit: `64M`"));
        assert!(enough_memory(Bytes(0)).is_err());
    }

    #[test]
    fn cpu_lists() {
        for good in ["0", "0-3", "0-3,7,9-11"] {
            assert!(good.parse::<CpuList>().is_ok(), "{good}");
        }
        for bad in ["", "a", "3-1", "1,", "-1", "+1", "0-"] {
            assert!(bad.parse::<CpuList>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rlimits() {
        assert_eq!(
            "1024:4096".parse(),
            Ok(Rlimit {
                soft: Some(1024),
                hard: Some(4096)
            })
        );
        assert_eq!(
            "unlimited".parse(),
            Ok(Rlimit {
                soft: None,
                hard: None
            })
        );
        assert!("4096:1024".parse::<Rlimit>().is_err());
        assert!("unlimited:5".parse::<Rlimit>().is_err());
        assert_eq!("nofile".parse::<RlimitKind>().unwrap().number(), 7);
    }
}
