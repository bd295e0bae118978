//! What a test left behind. Everything is compared within the test's own namespaces, so tests that run at the same
//! time do not disturb each other, and so the answer is exact.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use nix::fcntl::{Flock, FlockArg};

use super::command::eventually;
use super::hierarchy::{hierarchies, processes, subtree};
use super::world::World;

/// The state of the test's world before the test.
pub(crate) struct Before {
    mounts: BTreeSet<String>,
    network: BTreeSet<String>,
    netns: BTreeSet<String>,
}

impl Before {
    pub(crate) fn look() -> Self {
        Self {
            mounts: mounts(),
            network: network(),
            netns: names(Path::new("/run/netns")),
        }
    }

    /// One line for each thing that is there and was not.
    pub(crate) fn leaks(&self, world: &World) -> Vec<String> {
        let mut found = vec![];
        // A process that was killed a moment ago may still be on its way out, and with it its cgroup and its mounts.
        eventually(Duration::from_secs(3), || {
            found = self.leaks_now(world);
            found.is_empty()
        });
        found
    }

    fn leaks_now(&self, world: &World) -> Vec<String> {
        let mut found = vec![];
        for hierarchy in hierarchies() {
            let top = hierarchy.mount.join(&world.cgroup);
            for pid in processes(&top) {
                found.push(format!(
                    "process {pid} ({}) in {}",
                    command_line(pid),
                    top.display()
                ));
            }
            // hostel's own cgroup stays: its BPF programs are attached there.
            for cgroup in subtree(&top).iter().filter(|cgroup| **cgroup != top) {
                found.push(format!("cgroup {}", cgroup.display()));
            }
            // The test process itself is here, and with it whatever it started and forgot.
            let runner = hierarchy.mount.join(format!("{}-runner", world.cgroup));
            let own = std::process::id().cast_signed();
            for pid in processes(&runner).into_iter().filter(|pid| *pid != own) {
                found.push(format!("process {pid} ({})", command_line(pid)));
            }
        }
        // A bpf file system for the pins lasts as long as the programs: until the machine goes down.
        let pins = format!(" {}/", world.run.display());
        for mount in mounts()
            .difference(&self.mounts)
            .filter(|line| !(line.contains(&pins) && line.ends_with(" bpf")))
        {
            found.push(format!("mount{mount}"));
        }
        for line in network().difference(&self.network) {
            found.push(format!("network: {line}"));
        }
        for name in names(Path::new("/run/netns")).difference(&self.netns) {
            found.push(format!("network namespace {name}"));
        }
        for name in names(&world.root.join("tmp")) {
            found.push(format!("file {}/tmp/{name}", world.root.display()));
        }
        for name in names(&world.root.join("lock")) {
            let file = fs::File::open(world.root.join("lock").join(&name));
            if file.is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()) {
                found.push(format!("held lock {name}"));
            }
        }
        for dir in [&world.run.join("bpf"), Path::new("/sys/fs/bpf")] {
            found.extend(bpf_under(dir));
        }
        found.extend(loops_under(&world.dir));
        found
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Target and type of every mount.
fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        Some(format!(
            " {} {}",
            left.split(' ').nth(4)?,
            right.split(' ').next()?
        ))
    };
    text.lines().filter_map(line).collect()
}

/// Every address, route and device, as iproute2 prints them; what a guest had is named in the difference.
fn network() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for what in [
        &["-o", "addr"][..],
        &["-o", "-br", "link"],
        &["rule"],
        &["-6", "rule"],
    ] {
        let out = Command::new("ip")
            .args(what)
            .output()
            .expect("ip (iproute2) is needed by the leak check");
        let text = String::from_utf8_lossy(&out.stdout);
        // Lifetimes count down.
        all.extend(
            text.lines()
                .map(|line| line.split('\\').next().unwrap_or(line).trim().to_owned()),
        );
    }
    all
}

/// Contexts that the programs of chbind still know, and sets of programs that are only half there. The test has a
/// BPF file system of its own, so all of it is the test's.
fn bpf_under(dir: &Path) -> Vec<String> {
    let mut found = vec![];
    for set in names(dir).into_iter().filter(|name| name.starts_with("hostel-")) {
        for part in names(&dir.join(&set)) {
            let path = dir.join(&set).join(&part);
            if part.starts_with("new-") {
                found.push(format!("half-installed BPF programs {}", path.display()));
            }
            let map = MapData::from_pin(path.join("contexts"))
                .ok()
                .map(Map::from_map_data);
            let Some(Ok(map)) = map else { continue };
            if let Ok(contexts) = HashMap::<_, u32, u64>::try_from(map) {
                let keys = contexts.keys().flatten();
                found.extend(keys.map(|xid| format!("BPF entry of context {xid} in {}", path.display())));
            }
        }
    }
    found
}

fn loops_under(dir: &Path) -> Vec<String> {
    let mut found = vec![];
    for device in names(Path::new("/sys/block"))
        .into_iter()
        .filter(|name| name.starts_with("loop"))
    {
        let file = fs::read_to_string(format!("/sys/block/{device}/loop/backing_file")).unwrap_or_default();
        if Path::new(file.trim()).starts_with(dir) {
            found.push(format!("/dev/{device} on {}", file.trim()));
        }
    }
    found
}

fn command_line(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line)
        .replace('\0', " ")
        .trim()
        .to_owned()
}
