//! Limits in the files of cgroup2 (the kernel's `admin-guide/cgroup-v2.rst`, "Interface Files").

use super::dir::Dir;
use super::host::{Controller, Host, IoWeight, list_of, processors};
use super::knob::{Devices, Knob, device_path, whole_pages};
use crate::error::Result;
use crate::guest::limits::IoMax;
use crate::guest::{Bytes, Cpus, Limits};

/// The period of `cpu.max` in microseconds: the kernel's default. [`Cpus::MIN_MILLI`] of it is the least quota
/// that it takes, 1 ms.
pub(super) const PERIOD: u64 = 100_000;

/// The microseconds of processor time a period that `cpus` means.
pub(super) fn quota(cpus: Cpus) -> u64 {
    u64::from(cpus.milli()) * PERIOD / 1000
}

/// The processors that so many microseconds of a period are.
pub(super) fn cpus_of(quota: u64, period: u64) -> Option<Cpus> {
    let milli = quota.checked_mul(1000)?.checked_div(period)?;
    Cpus::from_milli(u32::try_from(milli).ok()?.max(Cpus::MIN_MILLI)).ok()
}

pub(super) fn knobs(host: &Host, controller: Controller, limits: &Limits, devices: &Devices) -> Vec<Knob> {
    let knob = |field, file, value: String| Knob::new(field, controller, file, value);
    let or_max = |value: Option<u64>| value.map_or_else(|| "max".to_owned(), |v| v.to_string());
    match controller {
        Controller::Cpuset => {
            let list = limits.cpuset.as_ref().and_then(|list| processors(list.as_str()));
            vec![knob("cpuset", "cpuset.cpus", list_of(&list.unwrap_or_default()))]
        }
        Controller::Cpu => vec![
            knob(
                "cpus",
                "cpu.max",
                format!("{} {PERIOD}", or_max(limits.cpus.map(quota))),
            ),
            knob(
                "cpu_weight",
                "cpu.weight",
                limits.cpu_weight.unwrap_or(100).to_string(),
            ),
        ],
        Controller::Memory => vec![
            knob("memory", "memory.max", or_max(limits.memory.map(whole_pages))),
            knob("swap", "memory.swap.max", or_max(limits.swap.map(whole_pages))),
        ],
        Controller::Pids => vec![knob("pids", "pids.max", or_max(limits.pids.map(u64::from)))],
        Controller::Io => {
            // Only when there is one: which file it is takes a look at every disk.
            let weight = limits.io_weight.map(|weight| match host.io_weight() {
                None | Some(IoWeight::Iocost) => knob("io_weight", "io.weight", format!("default {weight}")),
                Some(IoWeight::Bfq) => knob(
                    "io_weight",
                    "io.bfq.weight",
                    format!("default {}", bfq_weight(weight)),
                ),
            });
            let devices = devices.iter().map(|(device, max)| Knob {
                device: Some(device.clone()),
                ..knob("io", "io.max", io_max(device, max))
            });
            devices
                .chain(weight.filter(|_| limits.io_weight != Some(100)))
                .collect()
        }
    }
}

/// A line of `io.max`.
pub(super) fn io_max(device: &str, max: &IoMax) -> String {
    let one = |value: Option<u64>| value.map_or_else(|| "max".to_owned(), |v| v.to_string());
    format!(
        "{device} rbps={} wbps={} riops={} wiops={}",
        one(max.read.map(|b| b.0)),
        one(max.write.map(|b| b.0)),
        one(max.read_iops.map(u64::from)),
        one(max.write_iops.map(u64::from)),
    )
}

/// BFQ knows weights up to 1,000 only. Those to 100 stay, so that 100 remains everyone's share; those above are
/// squeezed evenly.
pub(super) fn bfq_weight(weight: u16) -> u16 {
    match weight {
        0..=100 => weight,
        _ => 100 + (weight - 100) / 11,
    }
}

/// The weight that [`bfq_weight`] makes into `bfq`.
pub(super) fn weight_of_bfq(bfq: u16) -> u16 {
    match bfq {
        0..=100 => bfq,
        _ => 100 + (bfq.min(1000) - 100) * 11,
    }
}

/// Reads back into `limits` what the files of `controller` say.
pub(super) fn read(dir: &Dir, controller: Controller, limits: &mut Limits) -> Result<()> {
    match controller {
        Controller::Cpuset => {
            limits.cpuset = dir
                .read_if("cpuset.cpus")?
                .and_then(|text| text.trim().parse().ok());
        }
        Controller::Cpu => {
            limits.cpus = dir.read_if("cpu.max")?.and_then(|text| {
                let (quota, period) = text.trim().split_once(' ')?;
                cpus_of(quota.parse().ok()?, period.parse().ok()?)
            });
            limits.cpu_weight = weight(dir.read_if("cpu.weight")?.as_deref());
        }
        Controller::Memory => {
            limits.memory = dir.number("memory.max")?.map(Bytes);
            limits.swap = dir.number("memory.swap.max")?.map(Bytes);
        }
        Controller::Pids => {
            limits.pids = dir.number("pids.max")?.and_then(|n| u32::try_from(n).ok());
        }
        Controller::Io => {
            let bfq = weight(dir.read_if("io.bfq.weight")?.as_deref()).map(weight_of_bfq);
            limits.io_weight = weight(dir.read_if("io.weight")?.as_deref()).or(bfq);
            for line in dir.read_if("io.max")?.unwrap_or_default().lines() {
                let mut words = line.split_whitespace();
                let Some(device) = words.next() else { continue };
                let mut max = IoMax::default();
                for (key, value) in words.filter_map(|word| word.split_once('=')) {
                    let value: Option<u64> = value.parse().ok();
                    let count = value.and_then(|v| u32::try_from(v).ok());
                    match key {
                        "rbps" => max.read = value.map(Bytes),
                        "wbps" => max.write = value.map(Bytes),
                        "riops" => max.read_iops = count,
                        "wiops" => max.write_iops = count,
                        _ => {}
                    }
                }
                if max != IoMax::default() {
                    limits.io.insert(device_path(device), max);
                }
            }
        }
    }
    Ok(())
}

/// `100` and `default 100` are what everyone has, so they are no limit.
pub(super) fn weight(text: Option<&str>) -> Option<u16> {
    let first = text?.lines().next()?;
    let number = first.strip_prefix("default ").unwrap_or(first).trim();
    number.parse().ok().filter(|weight| *weight != 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn dir(files: &[(&str, &str)]) -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        for (file, text) in files {
            std::fs::write(temp.path().join(file), text).unwrap();
        }
        let dir = Dir::open(Path::new(temp.path())).unwrap().unwrap();
        (temp, dir)
    }

    #[test]
    fn reads_back_what_it_writes() {
        let (_temp, dir) = dir(&[
            ("cpu.max", "150000 100000\n"),
            ("cpu.weight", "200\n"),
            ("cpuset.cpus", "0-1\n"),
            ("memory.max", "536870912\n"),
            ("memory.swap.max", "0\n"),
            ("pids.max", "max\n"),
            ("io.max", "999:9 rbps=1048576 wbps=max riops=7 wiops=max\n"),
            ("io.weight", "default 100\n8:0 50\n"),
        ]);
        let mut limits = Limits::default();
        for controller in Controller::ALL {
            read(&dir, controller, &mut limits).unwrap();
        }
        let expected = Limits {
            memory: Some(Bytes(512 << 20)),
            swap: Some(Bytes(0)),
            cpus: Some("1.5".parse().unwrap()),
            cpu_weight: Some(200),
            cpuset: Some("0-1".parse().unwrap()),
            io: [(
                "999:9".to_owned(),
                IoMax {
                    read: Some(Bytes(1 << 20)),
                    read_iops: Some(7),
                    ..IoMax::default()
                },
            )]
            .into(),
            ..Limits::default()
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn a_fresh_cgroup_has_no_limits() {
        let (_temp, dir) = dir(&[
            ("cpu.max", "max 100000\n"),
            ("cpu.weight", "100\n"),
            ("cpuset.cpus", "\n"),
            ("memory.max", "max\n"),
            ("memory.swap.max", "max\n"),
            ("pids.max", "max\n"),
            ("io.max", ""),
            ("io.weight", "default 100\n"),
        ]);
        let mut limits = Limits::default();
        for controller in Controller::ALL {
            read(&dir, controller, &mut limits).unwrap();
        }
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn bfq_weights_stay_in_range_and_order() {
        let mut before = 0;
        for weight in 1..=10_000 {
            let bfq = bfq_weight(weight);
            assert!((1..=1000).contains(&bfq) && bfq >= before, "{weight}");
            assert_eq!(bfq_weight(weight_of_bfq(bfq)), bfq, "{weight}");
            before = bfq;
        }
    }
}
