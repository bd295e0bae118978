//! What a group has used.

use serde::Serialize;

use super::dir::Dir;
use super::group::Group;
use super::host::{Controller, Place};
use crate::error::{Error, Result};
use crate::guest::{Bytes, HostPid};

/// What a group uses and has used. `None` where no controller of this group counts it: on a hybrid host that is
/// what has no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Usage {
    /// Processes.
    pub processes: u64,
    /// Processes and threads, as the `pids` limit counts them.
    pub tasks: Option<u64>,
    /// Memory now, page cache included.
    pub memory: Option<Bytes>,
    /// The most memory at any moment since it was made.
    pub memory_peak: Option<Bytes>,
    /// Swap now.
    pub swap: Option<Bytes>,
    /// Processor time in microseconds, by what is in it and what was.
    pub cpu_micros: Option<u64>,
    /// Read from block devices.
    pub io_read: Option<Bytes>,
    /// Written to block devices.
    pub io_written: Option<Bytes>,
    /// How many periods of 100 ms it was stopped in by its `cpus` limit.
    pub throttled: Option<u64>,
    /// How many of its processes were killed at its `memory` limit.
    pub oom_kills: Option<u64>,
    /// How many forks failed at its `pids` limit.
    pub forks_refused: Option<u64>,
}

/// The controllers that count something.
const COUNTING: [Controller; 4] = [
    Controller::Cpu,
    Controller::Memory,
    Controller::Pids,
    Controller::Io,
];

/// The little of a group that a list of hundreds shows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Glance {
    /// Its processes, as [`Group::pids`] gives them; none when it is empty, and then nothing else was looked at.
    pub pids: Vec<HostPid>,
    /// Whether a process is in it or below it.
    pub is_populated: bool,
    /// Whether they all stand still.
    pub is_frozen: bool,
    /// Memory now; `None` where it is not counted.
    pub memory: Option<Bytes>,
    /// Processor time in microseconds, by what is in it and what was.
    pub cpu_micros: Option<u64>,
}

impl Group {
    /// What a list shows, in a third of the time that [`usage`](Self::usage) takes.
    pub fn glance(&self) -> Result<Glance> {
        let events = self.dir().read_if("cgroup.events")?.unwrap_or_default();
        if value(&events, "populated") != Some(1) {
            return Ok(Glance::default());
        }
        let memory = match self.root().host().place(Controller::Memory) {
            Place::Unified => self.dir().number("memory.current")?,
            Place::V1(index) => match self.v1(index)? {
                Some(dir) => dir.number("memory.usage_in_bytes")?,
                None => None,
            },
            Place::Absent => None,
        };
        let cpu = self.dir().read_if("cpu.stat")?.unwrap_or_default();
        Ok(Glance {
            pids: self.pids()?,
            is_populated: true,
            is_frozen: value(&events, "frozen") == Some(1),
            memory: memory.map(Bytes),
            cpu_micros: value(&cpu, "usage_usec"),
        })
    }

    /// The most memory at any moment since it was made; `None` where it is not counted.
    pub fn memory_peak(&self) -> Result<Option<Bytes>> {
        let peak = match self.root().host().place(Controller::Memory) {
            Place::Unified => self.dir().number("memory.peak")?,
            Place::V1(index) => match self.v1(index)? {
                Some(dir) => dir.number("memory.max_usage_in_bytes")?,
                None => None,
            },
            Place::Absent => None,
        };
        Ok(peak.map(Bytes))
    }

    /// What it uses and has used: a dozen small reads, no walk over processes.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage {
            processes: processes(self.dir())?,
            ..Usage::default()
        };
        // cgroup2 counts processor time without any controller.
        let cpu = self.dir().read_if("cpu.stat")?.unwrap_or_default();
        usage.cpu_micros = value(&cpu, "usage_usec");
        usage.throttled = value(&cpu, "nr_throttled");
        for controller in COUNTING {
            match self.root().host().place(controller) {
                Place::Unified => v2(self.dir(), controller, &mut usage)?,
                Place::V1(index) => {
                    if let Some(dir) = self.v1(index)? {
                        v1(&dir, controller, &mut usage)?;
                    }
                }
                Place::Absent => {}
            }
        }
        Ok(usage)
    }
}

fn v2(dir: &Dir, controller: Controller, usage: &mut Usage) -> Result<()> {
    match controller {
        Controller::Memory => {
            usage.memory = dir.number("memory.current")?.map(Bytes);
            usage.memory_peak = dir.number("memory.peak")?.map(Bytes);
            usage.swap = dir.number("memory.swap.current")?.map(Bytes);
            usage.oom_kills = dir
                .read_if("memory.events")?
                .and_then(|text| value(&text, "oom_kill"));
        }
        Controller::Pids => {
            usage.tasks = dir.number("pids.current")?;
            usage.forks_refused = dir.read_if("pids.events")?.and_then(|text| value(&text, "max"));
        }
        Controller::Io => {
            if let Some(text) = dir.read_if("io.stat")? {
                let sum = |key: &str| {
                    let of_word = |word: &str| word.strip_prefix(key)?.parse::<u64>().ok();
                    Bytes(text.split_whitespace().filter_map(of_word).sum())
                };
                usage.io_read = Some(sum("rbytes="));
                usage.io_written = Some(sum("wbytes="));
            }
        }
        Controller::Cpu | Controller::Cpuset => {}
    }
    Ok(())
}

fn v1(dir: &Dir, controller: Controller, usage: &mut Usage) -> Result<()> {
    match controller {
        Controller::Memory => {
            usage.memory = dir.number("memory.usage_in_bytes")?.map(Bytes);
            usage.memory_peak = dir.number("memory.max_usage_in_bytes")?.map(Bytes);
            let both = dir.number("memory.memsw.usage_in_bytes")?;
            usage.swap = both
                .zip(usage.memory)
                .map(|(both, memory)| Bytes(both.saturating_sub(memory.0)));
            usage.oom_kills = dir
                .read_if("memory.oom_control")?
                .and_then(|text| value(&text, "oom_kill"));
        }
        Controller::Pids => v2(dir, controller, usage)?,
        Controller::Cpu => {
            usage.throttled = dir
                .read_if("cpu.stat")?
                .and_then(|text| value(&text, "nr_throttled"));
        }
        Controller::Io => {
            if let Some(text) = dir.read_if("blkio.throttle.io_service_bytes_recursive")? {
                let sum = |operation: &str| {
                    Bytes(
                        text.lines()
                            .filter_map(|line| {
                                let mut words = line.split_whitespace().skip(1);
                                (words.next()? == operation).then(|| words.next()?.parse::<u64>().ok())?
                            })
                            .sum(),
                    )
                };
                usage.io_read = Some(sum("Read"));
                usage.io_written = Some(sum("Write"));
            }
        }
        Controller::Cpuset => {}
    }
    Ok(())
}

/// The processes in `dir` and below, counted.
fn processes(dir: &Dir) -> Result<u64> {
    // A threaded cgroup lists no processes; those of its domain are in the list of the domain.
    let lines = |dir: &Dir| {
        dir.read_if("cgroup.procs")
            .map_or(0, |text| text.unwrap_or_default().lines().count() as u64)
    };
    let mut count = lines(dir);
    for child in children(dir)? {
        count += processes(&child)?;
    }
    Ok(count)
}

/// The child cgroups of `dir`.
pub(super) fn children(dir: &Dir) -> Result<Vec<Dir>> {
    // Listing a cgroup costs twenty times what this does, and most guests have none below. A directory of cgroupfs has
    // two links and one more for each directory in it; a file system that does not count says 1.
    let stat = nix::sys::stat::fstat(dir)
        .map_err(|errno| Error::os(format!("stat cgroup `{}`", dir.path().display()), errno))?;
    if stat.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for name in dir.children()? {
        all.extend(dir.child(&name)?);
    }
    Ok(all)
}

/// The number after `key` in a file of `key number` lines.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(files: &[(&str, &str)]) -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        for (file, text) in files {
            std::fs::write(temp.path().join(file), text).unwrap();
        }
        let dir = Dir::open(temp.path()).unwrap().unwrap();
        (temp, dir)
    }

    #[test]
    fn both_versions_count_the_same() {
        let (_temp, two) = dir(&[
            ("memory.current", "8192\n"),
            ("memory.peak", "16384\n"),
            ("memory.swap.current", "4096\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n"),
            ("pids.current", "5\n"),
            ("pids.events", "max 2\n"),
            (
                "io.stat",
                "8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=0\n",
            ),
        ]);
        let (_temp, one) = dir(&[
            ("memory.usage_in_bytes", "8192\n"),
            ("memory.max_usage_in_bytes", "16384\n"),
            ("memory.memsw.usage_in_bytes", "12288\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            ),
            ("pids.current", "5\n"),
            ("pids.events", "max 2\n"),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 10\n8:0 Write 20\n8:16 Read 5\n8:0 Total 30\nTotal 35\n",
            ),
        ]);
        let (mut a, mut b) = (Usage::default(), Usage::default());
        for controller in Controller::ALL {
            v2(&two, controller, &mut a).unwrap();
            v1(&one, controller, &mut b).unwrap();
        }
        assert_eq!(a, b);
        assert_eq!((a.io_read, a.io_written), (Some(Bytes(15)), Some(Bytes(20))));
        assert_eq!((a.oom_kills, a.forks_refused), (Some(1), Some(2)));
    }

    #[test]
    fn what_is_not_counted_is_none() {
        let (_temp, empty) = dir(&[]);
        let mut usage = Usage::default();
        v2(&empty, Controller::Memory, &mut usage).unwrap();
        assert_eq!(usage, Usage::default());
    }

    #[test]
    fn keys_are_whole_words() {
        assert_eq!(value("oom 1\noom_kill 2\n", "oom"), Some(1));
        assert_eq!(value("oom_kill 2\n", "oom"), None);
    }
}
