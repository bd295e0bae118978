//! One change of the limits, as `KEY=VALUE`: what `hostel set` and `hostel limit` take.

use std::fmt;
use std::str::FromStr;

use super::caps::nearest;
use super::limits::{CpuList, IoMax, enough_memory};
use super::{Bytes, Cpus, Invalid, Limits, Rlimit, RlimitKind};

/// A limit and its new value; `None` takes the limit away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitChange {
    /// See [`Limits::memory`].
    Memory(Option<Bytes>),
    /// See [`Limits::swap`].
    Swap(Option<Bytes>),
    /// See [`Limits::cpus`].
    Cpus(Option<Cpus>),
    /// See [`Limits::cpu_weight`].
    CpuWeight(Option<u16>),
    /// See [`Limits::cpuset`].
    Cpuset(Option<CpuList>),
    /// See [`Limits::pids`].
    Pids(Option<u32>),
    /// See [`Limits::io_weight`].
    IoWeight(Option<u16>),
    /// See [`Limits::io`].
    Io(String, IoChange),
    /// See [`Limits::disk`].
    Disk(Option<Bytes>),
    /// See [`Limits::inodes`].
    Inodes(Option<u32>),
    /// See [`Limits::nice`].
    Nice(Option<i8>),
    /// See [`Limits::rlimits`].
    Rlimit(RlimitKind, Option<Rlimit>),
}

/// A change of one field of [`IoMax`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoChange {
    /// See [`IoMax::read`].
    Read(Option<Bytes>),
    /// See [`IoMax::write`].
    Write(Option<Bytes>),
    /// See [`IoMax::read_iops`].
    ReadIops(Option<u32>),
    /// See [`IoMax::write_iops`].
    WriteIops(Option<u32>),
}

/// The keys that are fields of [`Limits`].
const FIELDS: [&str; 11] = [
    "memory",
    "swap",
    "cpus",
    "cpu_weight",
    "cpuset",
    "pids",
    "io_weight",
    "io",
    "disk",
    "inodes",
    "nice",
];

impl LimitChange {
    /// The fields that a cgroup enforces.
    pub fn of_cgroup() -> impl Iterator<Item = &'static str> {
        FIELDS
            .into_iter()
            .filter(|key| !matches!(*key, "disk" | "inodes" | "nice"))
    }

    /// Every key, for completion. The block devices of `io` and the name of a guest cannot be known here.
    pub fn keys() -> impl Iterator<Item = String> {
        let fields = FIELDS.into_iter().filter(|key| *key != "io").map(str::to_owned);
        let rlimits = RlimitKind::all().map(|kind| Self::Rlimit(kind, None).key());
        fields.chain(rlimits)
    }

    /// The key as it is written.
    pub fn key(&self) -> String {
        match self {
            Self::Memory(_) => "memory".into(),
            Self::Swap(_) => "swap".into(),
            Self::Cpus(_) => "cpus".into(),
            Self::CpuWeight(_) => "cpu_weight".into(),
            Self::Cpuset(_) => "cpuset".into(),
            Self::Pids(_) => "pids".into(),
            Self::IoWeight(_) => "io_weight".into(),
            Self::Io(device, IoChange::Read(_)) => format!("io.{device}.read"),
            Self::Io(device, IoChange::Write(_)) => format!("io.{device}.write"),
            Self::Io(device, IoChange::ReadIops(_)) => format!("io.{device}.read_iops"),
            Self::Io(device, IoChange::WriteIops(_)) => format!("io.{device}.write_iops"),
            Self::Disk(_) => "disk".into(),
            Self::Inodes(_) => "inodes".into(),
            Self::Nice(_) => "nice".into(),
            // `nice` alone is the priority itself, the limit on raising it is the rarer.
            Self::Rlimit(kind, _) if kind.name() == "nice" => "rlimits.nice".into(),
            Self::Rlimit(kind, _) => kind.name().into(),
        }
    }

    /// The value as it is written.
    pub fn value(&self) -> String {
        match self {
            Self::Memory(v)
            | Self::Swap(v)
            | Self::Disk(v)
            | Self::Io(_, IoChange::Read(v) | IoChange::Write(v)) => or_max(v.as_ref()),
            Self::Cpus(v) => or_max(v.as_ref()),
            Self::CpuWeight(v) | Self::IoWeight(v) => or_max(v.as_ref()),
            Self::Cpuset(v) => or_max(v.as_ref()),
            Self::Pids(v) | Self::Inodes(v) | Self::Io(_, IoChange::ReadIops(v) | IoChange::WriteIops(v)) => {
                or_max(v.as_ref())
            }
            Self::Nice(v) => or_max(v.as_ref()),
            Self::Rlimit(_, v) => or_max(v.as_ref()),
        }
    }

    /// Changes `limits`.
    pub fn apply_to(&self, limits: &mut Limits) {
        match self {
            Self::Memory(v) => limits.memory = *v,
            Self::Swap(v) => limits.swap = *v,
            Self::Cpus(v) => limits.cpus = *v,
            Self::CpuWeight(v) => limits.cpu_weight = *v,
            Self::Cpuset(v) => limits.cpuset.clone_from(v),
            Self::Pids(v) => limits.pids = *v,
            Self::IoWeight(v) => limits.io_weight = *v,
            Self::Disk(v) => limits.disk = *v,
            Self::Inodes(v) => limits.inodes = *v,
            Self::Nice(v) => limits.nice = *v,
            Self::Io(device, change) => {
                let max = limits.io.entry(device.clone()).or_default();
                change.apply_to(max);
                if *max == IoMax::default() {
                    limits.io.remove(device);
                }
            }
            Self::Rlimit(kind, Some(limit)) => {
                limits.rlimits.insert(*kind, *limit);
            }
            Self::Rlimit(kind, None) => {
                limits.rlimits.remove(kind);
            }
        }
    }
}

impl IoChange {
    fn apply_to(self, max: &mut IoMax) {
        match self {
            Self::Read(v) => max.read = v,
            Self::Write(v) => max.write = v,
            Self::ReadIops(v) => max.read_iops = v,
            Self::WriteIops(v) => max.write_iops = v,
        }
    }
}

impl FromStr for LimitChange {
    type Err = Invalid;

    /// `memory=512M`, `cpus=1.5`, `nofile=1024:4096`, `io./dev/sda.read=10M`; `memory=max` takes a limit away.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Invalid::new(
                format!("`{}` is not a limit and its value", text.escape_debug()),
                "`KEY=VALUE`, such as `memory=512M`",
            ));
        };
        if let Some(device) = key.strip_prefix("io.") {
            return io(key, device, value);
        }
        if let Some(kind) = key.strip_prefix("rlimits.") {
            return Ok(Self::Rlimit(kind.parse()?, or_none(value)?));
        }
        Ok(match key {
            "memory" => Self::Memory(or_none(value)?.map(enough_memory).transpose()?),
            "swap" => Self::Swap(or_none(value)?),
            "cpus" => Self::Cpus(or_none(value)?),
            "cpu_weight" => Self::CpuWeight(number(key, value, 1, 10_000)?),
            "cpuset" => Self::Cpuset(or_none(value)?),
            "pids" => Self::Pids(number(key, value, 1, 4_194_304)?),
            "io_weight" => Self::IoWeight(number(key, value, 1, 10_000)?),
            "disk" => Self::Disk(or_none(value)?),
            "inodes" => Self::Inodes(number(key, value, 1, i64::from(u32::MAX))?),
            "nice" => Self::Nice(number(key, value, -20, 19)?),
            _ => match RlimitKind::all().find(|kind| kind.name() == key) {
                Some(kind) => Self::Rlimit(kind, or_none(value)?),
                None => return Err(unknown(key)),
            },
        })
    }
}

impl fmt::Display for LimitChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key(), self.value())
    }
}

fn io(key: &str, rest: &str, value: &str) -> Result<LimitChange, Invalid> {
    let hint =
        "`io.DEVICE.FIELD` with FIELD one of read, write, read_iops, write_iops, such as `io./dev/sda.read`";
    let invalid = || Invalid::new(format!("`{}` is not a limit", key.escape_debug()), hint);
    let (device, field) = rest.rsplit_once('.').ok_or_else(invalid)?;
    if !device.starts_with('/') {
        return Err(invalid());
    }
    let change = match field {
        "read" => IoChange::Read(or_none(value)?),
        "write" => IoChange::Write(or_none(value)?),
        "read_iops" => IoChange::ReadIops(number(key, value, 1, i64::from(u32::MAX))?),
        "write_iops" => IoChange::WriteIops(number(key, value, 1, i64::from(u32::MAX))?),
        _ => return Err(invalid()),
    };
    Ok(LimitChange::Io(device.to_owned(), change))
}

fn unknown(key: &str) -> Invalid {
    let names = FIELDS.into_iter().chain(RlimitKind::all().map(RlimitKind::name));
    let hint = match nearest(key, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`hostel help limits` lists them".to_owned(),
    };
    Invalid::new(format!("`{}` is not a limit", key.escape_debug()), hint)
}

fn or_none<T: FromStr<Err = Invalid>>(value: &str) -> Result<Option<T>, Invalid> {
    if value == "max" {
        return Ok(None);
    }
    value.parse().map(Some)
}

fn or_max<T: fmt::Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "max".to_owned(), ToString::to_string)
}

fn number<T: TryFrom<i64>>(key: &str, value: &str, least: i64, most: i64) -> Result<Option<T>, Invalid> {
    if value == "max" {
        return Ok(None);
    }
    let number = value.parse::<i64>().ok();
    let fits = number.filter(|number| (least..=most).contains(number));
    match fits.and_then(|number| T::try_from(number).ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(Invalid::new(
            format!("`{}` is not a value of `{key}`", value.escape_debug()),
            format!("a whole number from {least} to {most}, or `max`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> LimitChange {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_read_is_written_back() {
        for text in [
            "memory=512M",
            "swap=0",
            "cpus=1.5",
            "cpu_weight=50",
            "cpuset=0-3,7",
            "pids=64",
            "io_weight=200",
            "io./dev/sda.read=10M",
            "io./dev/disk/by-id/a.b.write_iops=100",
            "disk=2G",
            "inodes=100000",
            "nice=-5",
            "nofile=1024:4096",
            "core=unlimited",
            "rlimits.nice=20",
            "memory=max",
            "nofile=max",
            "io./dev/sda.read=max",
        ] {
            assert_eq!(change(text).to_string(), text);
        }
        for key in LimitChange::keys() {
            assert_eq!(change(&format!("{key}=max")).key(), key);
        }
    }

    #[test]
    fn max_takes_a_limit_away() {
        let mut limits = Limits::default();
        for text in ["memory=1G", "nofile=9", "io./dev/sda.read=1M", "nice=5"] {
            change(text).apply_to(&mut limits);
        }
        assert_eq!(limits.memory, Some(Bytes(1 << 30)));
        assert_eq!(limits.io["/dev/sda"].read, Some(Bytes(1 << 20)));
        for text in ["memory=max", "nofile=max", "io./dev/sda.read=max", "nice=max"] {
            change(text).apply_to(&mut limits);
        }
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn says_what_would_be_right() {
        for (text, message, hint) in [
            (
                "memory",
                "`memory` is not a limit and its value",
                "`KEY=VALUE`, such as `memory=512M`",
            ),
            ("memroy=1", "`memroy` is not a limit", "did you mean `memory`?"),
            ("x=1", "`x` is not a limit", "`hostel help limits` lists them"),
            (
                "pids=0",
                "`0` is not a value of `pids`",
                "a whole number from 1 to 4194304, or `max`",
            ),
            (
                "nice=20",
                "`20` is not a value of `nice`",
                "a whole number from -20 to 19, or `max`",
            ),
            (
                "io.sda.read=1M",
                "`io.sda.read` is not a limit",
                "`io.DEVICE.FIELD` with FIELD one of read, write, read_iops, write_iops, such as `io./dev/sda.read`",
            ),
            (
                "memory=64",
                "`memory` is 64 bytes, and nothing starts in less than 1M",
                "a size has a unit: `64M`",
            ),
            (
                "memory=lots",
                "`lots` is not an amount of bytes",
                "a number with K, M, G or T (powers of 1024), such as `512M`",
            ),
        ] {
            let err = text.parse::<LimitChange>().unwrap_err();
            assert_eq!((err.message.as_str(), err.hint.as_deref()), (message, Some(hint)));
        }
    }
}
