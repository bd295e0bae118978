//! Limits in the files of the v1 hierarchies (the kernel's `admin-guide/cgroup-v1/`).

use super::dir::Dir;
use super::host::{Controller, list_of, processors};
use super::knob::{Devices, Knob, device_path, whole_pages};
use super::v2::{PERIOD, bfq_weight, cpus_of, quota, weight, weight_of_bfq};
use crate::error::Result;
use crate::guest::{Bytes, Limits};

/// Both memory files say at least this when they mean unlimited: `LONG_MAX` in whole pages.
const UNLIMITED: u64 = i64::MAX as u64 / 65536 * 65536;

const READ_BPS: &str = "blkio.throttle.read_bps_device";
const WRITE_BPS: &str = "blkio.throttle.write_bps_device";
const READ_IOPS: &str = "blkio.throttle.read_iops_device";
const WRITE_IOPS: &str = "blkio.throttle.write_iops_device";

pub(super) fn knobs(controller: Controller, limits: &Limits, devices: &Devices) -> Vec<Knob> {
    let knob = |field, file, value: String| Knob::new(field, controller, file, value);
    let or_minus_one = |value: Option<u64>| value.map_or_else(|| "-1".to_owned(), |v| v.to_string());
    match controller {
        Controller::Cpuset => {
            // Empty stands for the parent's: the kernel lets no process into a v1 cpuset without processors.
            let list = limits.cpuset.as_ref().and_then(|list| processors(list.as_str()));
            vec![knob("cpuset", "cpuset.cpus", list_of(&list.unwrap_or_default()))]
        }
        Controller::Cpu => vec![
            // The period stays the kernel's default, which is the one that the quota is made for.
            knob("cpus", "cpu.cfs_quota_us", or_minus_one(limits.cpus.map(quota))),
            knob(
                "cpu_weight",
                "cpu.shares",
                shares(limits.cpu_weight.unwrap_or(100)).to_string(),
            ),
        ],
        Controller::Memory => {
            let both = limits.memory.zip(limits.swap).map(|(memory, swap)| {
                whole_pages(Bytes(whole_pages(memory).saturating_add(swap.0))).min(UNLIMITED)
            });
            vec![
                knob(
                    "memory",
                    "memory.limit_in_bytes",
                    or_minus_one(limits.memory.map(whole_pages)),
                ),
                knob("swap", "memory.memsw.limit_in_bytes", or_minus_one(both)),
            ]
        }
        Controller::Pids => {
            let value = limits
                .pids
                .map_or_else(|| "max".to_owned(), |pids| pids.to_string());
            vec![knob("pids", "pids.max", value)]
        }
        Controller::Io => {
            let throttles = devices.iter().flat_map(|(device, max)| {
                [
                    (READ_BPS, max.read.map(|b| b.0)),
                    (WRITE_BPS, max.write.map(|b| b.0)),
                    (READ_IOPS, max.read_iops.map(u64::from)),
                    (WRITE_IOPS, max.write_iops.map(u64::from)),
                ]
                .into_iter()
                .filter_map(move |(file, value)| {
                    Some(Knob {
                        device: Some(device.clone()),
                        ..Knob::new("io", controller, file, format!("{device} {}", value?))
                    })
                })
            });
            let weight = limits
                .io_weight
                .filter(|weight| *weight != 100)
                .map(|weight| knob("io_weight", "blkio.bfq.weight", bfq_weight(weight).to_string()));
            throttles.chain(weight).collect()
        }
    }
}

/// 100 is 1024 shares; the kernel takes 2 to 262,144, and 1 to 10,000 stays inside.
fn shares(weight: u16) -> u64 {
    u64::from(weight) * 1024 / 100
}

fn weight_of_shares(shares: u64) -> Option<u16> {
    // Rounded up, as `shares` rounds down.
    u16::try_from((shares * 100).div_ceil(1024))
        .ok()
        .filter(|weight| *weight != 100)
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
            let period = dir.number("cpu.cfs_period_us")?.unwrap_or(PERIOD);
            // -1 is unlimited, and no unsigned number.
            limits.cpus = dir
                .number("cpu.cfs_quota_us")?
                .and_then(|quota| cpus_of(quota, period));
            limits.cpu_weight = dir.number("cpu.shares")?.and_then(weight_of_shares);
        }
        Controller::Memory => {
            let bounded = |value: Option<u64>| value.filter(|bytes| *bytes < UNLIMITED);
            let memory = bounded(dir.number("memory.limit_in_bytes")?);
            let both = bounded(dir.number("memory.memsw.limit_in_bytes")?);
            limits.memory = memory.map(Bytes);
            limits.swap = both
                .zip(memory)
                .map(|(both, memory)| Bytes(both.saturating_sub(memory)));
        }
        Controller::Pids => {
            limits.pids = dir.number("pids.max")?.and_then(|n| u32::try_from(n).ok());
        }
        Controller::Io => {
            limits.io_weight = weight(dir.read_if("blkio.bfq.weight")?.as_deref()).map(weight_of_bfq);
            for file in [READ_BPS, WRITE_BPS, READ_IOPS, WRITE_IOPS] {
                for line in dir.read_if(file)?.unwrap_or_default().lines() {
                    let Some((device, value)) = line.trim().split_once(' ') else {
                        continue;
                    };
                    let Ok(value) = value.trim().parse::<u64>() else {
                        continue;
                    };
                    let max = limits.io.entry(device_path(device)).or_default();
                    match file {
                        READ_BPS => max.read = Some(Bytes(value)),
                        WRITE_BPS => max.write = Some(Bytes(value)),
                        READ_IOPS => max.read_iops = u32::try_from(value).ok(),
                        _ => max.write_iops = u32::try_from(value).ok(),
                    }
                }
            }
        }
    }
    Ok(())
}

/// Gives a new cpuset the processors and memory nodes of its parent, without which nothing can join it.
pub(super) fn inherit_cpuset(parent: &Dir, dir: &Dir) -> Result<()> {
    for file in ["cpuset.mems", "cpuset.cpus"] {
        if dir.read(file)?.trim().is_empty() {
            dir.write(file, parent.read(file)?.trim())?;
        }
    }
    Ok(())
}

/// Puts the two memory files in the order that keeps memory at or below memory and swap at every moment (else
/// EINVAL): what grows starts with the sum, what shrinks with memory. `now` is the sum as it is.
pub(super) fn order_memory(knobs: &mut [Knob], now: Option<u64>) {
    let find = |knobs: &[Knob], file: &str| knobs.iter().position(|knob| knob.file == file);
    let (Some(memory), Some(both)) = (
        find(knobs, "memory.limit_in_bytes"),
        find(knobs, "memory.memsw.limit_in_bytes"),
    ) else {
        return;
    };
    // -1 is unlimited: more than anything.
    let wanted: u64 = knobs[both].value.parse().unwrap_or(u64::MAX);
    let grows = wanted >= now.unwrap_or(u64::MAX).min(UNLIMITED);
    if grows != (both < memory) {
        knobs.swap(memory, both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back_as_the_weight() {
        for w in (1..=10_000).filter(|w| *w != 100) {
            assert!((2..=262_144).contains(&shares(w)));
            assert_eq!(weight_of_shares(shares(w)), Some(w));
        }
        assert_eq!(weight_of_shares(1024), None);
    }

    #[test]
    fn memory_never_exceeds_the_sum() {
        let mib = |n: u64| Bytes(n << 20);
        let knobs_of = |memory, swap| {
            let limits = Limits {
                memory,
                swap,
                ..Limits::default()
            };
            knobs(Controller::Memory, &limits, &Devices::new())
        };
        for (memory, swap, now, first) in [
            (
                Some(mib(64)),
                Some(mib(64)),
                Some(256 << 20),
                "memory.limit_in_bytes",
            ),
            (
                Some(mib(512)),
                Some(mib(64)),
                Some(256 << 20),
                "memory.memsw.limit_in_bytes",
            ),
            (
                Some(mib(64)),
                Some(mib(0)),
                Some(UNLIMITED + 4096),
                "memory.limit_in_bytes",
            ),
            (None, None, Some(256 << 20), "memory.memsw.limit_in_bytes"),
        ] {
            let mut knobs = knobs_of(memory, swap);
            order_memory(&mut knobs, now);
            assert_eq!(knobs[0].file, first, "{memory:?} {swap:?} {now:?}");
        }
    }
}
