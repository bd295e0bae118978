//! What limits mean in files: plain data, made by `v1` and `v2`, compared here, written by `group`.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use nix::sys::stat::{major, minor};

use super::host::{Controller, Host, Place};
use super::{v1, v2};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::limits::IoMax;
use crate::guest::{Bytes, Limits};

/// One value of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Knob {
    /// The limit that it stands for, as recipes name it.
    pub(super) field: &'static str,
    pub(super) controller: Controller,
    pub(super) file: &'static str,
    /// In files with a line a device: which, as `MAJOR:MINOR`.
    pub(super) device: Option<String>,
    /// What is written; the device is part of it.
    pub(super) value: String,
}

impl Knob {
    pub(super) fn new(
        field: &'static str,
        controller: Controller,
        file: &'static str,
        value: impl Into<String>,
    ) -> Self {
        Self {
            field,
            controller,
            file,
            device: None,
            value: value.into(),
        }
    }

    /// Whether both set the same thing, whatever to.
    fn is_same(&self, other: &Self) -> bool {
        self.file == other.file && self.device == other.device
    }

    /// The knob taken back to what everyone has.
    fn reset(&self) -> Self {
        let value = match (&self.device, self.file) {
            (Some(device), "io.max") => v2::io_max(device, &IoMax::default()),
            (Some(device), _) => format!("{device} 0"),
            // Weights are the only ones without a device that are left out when they are not limited.
            (None, "blkio.bfq.weight") => "100".to_owned(),
            (None, _) => "default 100".to_owned(),
        };
        Self {
            value,
            ..self.clone()
        }
    }

    /// What undoes writing it, given what the file says now.
    pub(super) fn inverse(&self, now: &str) -> Self {
        match &self.device {
            None => Self {
                // Files with a default and a line a device (`io.weight`) say the default first.
                value: now.lines().next().unwrap_or_default().trim().to_owned(),
                ..self.clone()
            },
            Some(device) => now
                .lines()
                .find(|line| line.split_whitespace().next() == Some(device))
                .map_or_else(
                    || self.reset(),
                    |line| Self {
                        value: line.trim().to_owned(),
                        ..self.clone()
                    },
                ),
        }
    }
}

/// Block devices by `MAJOR:MINOR`, with their limits.
pub(super) type Devices = BTreeMap<String, IoMax>;

/// Every knob of `limits` on `host`, also those that say unlimited, but for the io controller's, which are as many
/// as there are limits.
pub(super) fn knobs(host: &Host, limits: &Limits, devices: &Devices) -> Vec<Knob> {
    Controller::ALL
        .into_iter()
        .flat_map(|controller| match host.place(controller) {
            Place::Unified => v2::knobs(host, controller, limits, devices),
            Place::V1(_) => v1::knobs(controller, limits, devices),
            Place::Absent => Vec::new(),
        })
        .collect()
}

/// The knobs of `new` that differ from `before`, and those of `before` that must be taken back.
pub(super) fn changes(new: Vec<Knob>, before: &[Knob]) -> Vec<Knob> {
    let gone: Vec<_> = before
        .iter()
        .filter(|old| !new.iter().any(|knob| knob.is_same(old)))
        .map(Knob::reset)
        .collect();
    new.into_iter()
        .filter(|knob| !before.contains(knob))
        .chain(gone)
        .collect()
}

/// The devices that `io` names by path. A device that is gone is an error.
pub(super) fn devices(io: &BTreeMap<String, IoMax>) -> Result<Devices> {
    io.iter().map(|(path, max)| Ok((device(path)?, *max))).collect()
}

/// As [`devices`], without those that are gone: nothing is left to take back from them.
pub(super) fn devices_left(io: &BTreeMap<String, IoMax>) -> Devices {
    io.iter()
        .filter_map(|(path, max)| Some((device(path).ok()?, *max)))
        .collect()
}

fn device(path: &str) -> Result<String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // What `read_limits` says of a device whose node is gone.
    if path
        .split_once(':')
        .is_some_and(|(a, b)| is_number(a) && is_number(b))
    {
        return Ok(path.to_owned());
    }
    let metadata = std::fs::metadata(path).context(|| format!("find the block device `{path}`"))?;
    if !metadata.file_type().is_block_device() {
        return Err(
            Error::new(Kind::Invalid, format!("`{path}` is not a block device"))
                .with_hint("limits.io is keyed by the disk, such as `/dev/sda`"),
        );
    }
    let number = format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
    if Path::new(&format!("/sys/dev/block/{number}/partition")).exists() {
        return Err(Error::new(
            Kind::Invalid,
            format!("`{path}` is a partition, and the kernel bounds whole disks"),
        )
        .with_hint("name its disk"));
    }
    Ok(number)
}

/// The path of a device by its number, as `/dev/sda`; the number itself when it has no node.
pub(super) fn device_path(number: &str) -> String {
    std::fs::read_to_string(format!("/sys/dev/block/{number}/uevent"))
        .ok()
        .and_then(|text| {
            Some(format!(
                "/dev/{}",
                text.lines().find_map(|l| l.strip_prefix("DEVNAME="))?
            ))
        })
        .filter(|path| Path::new(path).exists())
        .unwrap_or_else(|| number.to_owned())
}

/// Memory is limited in whole pages, rounded down; said here so that what is written is what is read.
pub(super) fn whole_pages(bytes: Bytes) -> u64 {
    // POSIX has a page size, so sysconf(3) cannot fail; 4096 divides every other one.
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|page| u64::try_from(page).ok())
        .unwrap_or(4096);
    bytes.0 / page * page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(controllers: &[Controller], v1: bool) -> Host {
        super::super::host::tests::made_up(controllers, v1)
    }

    fn limits() -> Limits {
        Limits {
            memory: Some(Bytes(512 << 20)),
            swap: Some(Bytes(64 << 20)),
            cpus: Some("1.5".parse().unwrap()),
            cpu_weight: Some(200),
            cpuset: Some("1,0".parse().unwrap()),
            pids: Some(100),
            io_weight: Some(50),
            ..Limits::default()
        }
    }

    fn io() -> Devices {
        let max = IoMax {
            read: Some(Bytes(1 << 20)),
            read_iops: Some(7),
            ..IoMax::default()
        };
        BTreeMap::from([("8:0".to_owned(), max)])
    }

    fn text(knobs: &[Knob]) -> Vec<String> {
        knobs.iter().map(|k| format!("{}={}", k.file, k.value)).collect()
    }

    #[test]
    fn limits_on_cgroup_v2() {
        let host = host(&Controller::ALL, false);
        let none = knobs(&host, &Limits::default(), &Devices::new());
        let all = knobs(&host, &limits(), &io());
        assert_eq!(
            text(&changes(all.clone(), &none)),
            [
                "cpuset.cpus=0-1",
                "cpu.max=150000 100000",
                "cpu.weight=200",
                "memory.max=536870912",
                "memory.swap.max=67108864",
                "pids.max=100",
                "io.max=8:0 rbps=1048576 wbps=max riops=7 wiops=max",
                "io.bfq.weight=default 50",
            ]
        );
        assert_eq!(
            text(&changes(none, &all)),
            [
                "cpuset.cpus=",
                "cpu.max=max 100000",
                "cpu.weight=100",
                "memory.max=max",
                "memory.swap.max=max",
                "pids.max=max",
                "io.max=8:0 rbps=max wbps=max riops=max wiops=max",
                "io.bfq.weight=default 100",
            ]
        );
    }

    #[test]
    fn limits_on_cgroup_v1() {
        let host = host(&Controller::ALL, true);
        let none = knobs(&host, &Limits::default(), &Devices::new());
        let all = knobs(&host, &limits(), &io());
        assert_eq!(
            text(&changes(all.clone(), &none)),
            [
                "cpuset.cpus=0-1",
                "cpu.cfs_quota_us=150000",
                "cpu.shares=2048",
                "memory.limit_in_bytes=536870912",
                "memory.memsw.limit_in_bytes=603979776",
                "pids.max=100",
                "blkio.throttle.read_bps_device=8:0 1048576",
                "blkio.throttle.read_iops_device=8:0 7",
                "blkio.bfq.weight=50",
            ]
        );
        assert_eq!(
            text(&changes(none, &all))[6..],
            [
                "blkio.throttle.read_bps_device=8:0 0",
                "blkio.throttle.read_iops_device=8:0 0",
                "blkio.bfq.weight=100",
            ]
        );
    }

    #[test]
    fn only_what_changed_is_written() {
        let host = host(&Controller::ALL, false);
        let before = knobs(&host, &limits(), &io());
        let mut new = limits();
        new.pids = Some(5);
        assert_eq!(text(&changes(knobs(&host, &new, &io()), &before)), ["pids.max=5"]);
        assert_eq!(changes(before.clone(), &before), []);
    }

    #[test]
    fn a_write_is_undone_by_what_the_file_said() {
        let knob = Knob::new("pids", Controller::Pids, "pids.max", "5");
        assert_eq!(knob.inverse("max\n").value, "max");
        let knob = &v2::knobs(
            &host(&Controller::ALL, false),
            Controller::Io,
            &Limits::default(),
            &io(),
        )[0];
        assert_eq!(
            knob.inverse("").value,
            "8:0 rbps=max wbps=max riops=max wiops=max"
        );
        let line = "8:0 rbps=9 wbps=max riops=max wiops=max";
        assert_eq!(knob.inverse(&format!("8:16 rbps=1\n{line}\n")).value, line);
    }

    #[test]
    fn a_file_is_no_block_device() {
        assert_eq!(device("/proc/self/stat").unwrap_err().kind(), Kind::Invalid);
        assert!(device("/nonexistent").is_err());
        assert_eq!(device("8:0").unwrap(), "8:0");
    }
}
