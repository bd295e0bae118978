//! Limits that hold, and that change while their processes run.

use std::fs;
use std::time::Duration;

use hostel::error::Kind;
use hostel::guest::limits::IoMax;
use hostel::guest::{Bytes, Limits};
use hostel::sys::cgroup::{Group, Host};

use crate::cgroup::{directories, root, soon};
use crate::support::{World, eventually, hierarchies, tests};
use crate::waiting::Waiting;

tests! {
    [Root, Cgroup2, Controller("memory")] => a_memory_hog_is_held,
    [Root, Cgroup2, Controller("pids")] => a_fork_bomb_is_held,
    [Root, Cgroup2, Controller("cpu")] => a_spinner_is_held,
    [Root, Cgroup2, Controller("cpuset")] => a_process_stays_on_its_processors,
    [Root, Cgroup2, Controller("memory"), Controller("pids"), Controller("cpu"), Controller("cpuset")]
        => what_is_set_is_read_back_and_drift_is_seen,
    [Root, Cgroup2, Controller("memory"), Controller("pids"), Controller("cpu"), Controller("cpuset")]
        => limits_are_raised_lowered_and_lifted_while_it_runs,
    [Root, Cgroup2, Controller("memory"), Controller("pids"), Controller("cpu"), Controller("cpuset")]
        => a_group_without_limits_gets_them_while_it_runs,
    [Root, Cgroup2, Controller("memory")] => memory_in_use_is_not_taken_by_killing,
    [Root, Cgroup2, Controller("memory")] => page_cache_makes_room_for_a_lower_limit,
    [Root, Cgroup2] => a_disk_is_bounded,
}

const MIB: u64 = 1 << 20;

fn mib(n: u64) -> Bytes {
    Bytes(n * MIB)
}

/// Swap is bounded too where it is accounted; else a hog would only be slowed.
fn memory(n: u64) -> Limits {
    let swap = Limits {
        memory: Some(mib(n)),
        swap: Some(Bytes(0)),
        ..Limits::default()
    };
    if Host::detect().unwrap().refuse(&swap).is_empty() {
        swap
    } else {
        Limits { swap: None, ..swap }
    }
}

fn a_memory_hog_is_held(world: &World) {
    let root = root(world);
    let group = Group::create(&root, "x101", &memory(32)).unwrap();
    // dd fills one buffer of that size, and no more.
    let mut hog = Waiting::new("exec dd if=/dev/zero of=/dev/null bs=128M count=1");
    group.attach_all(hog.pid()).unwrap();
    assert_eq!(hog.finish(), 128 + 9);
    group.wait_empty(soon()).unwrap();
    let usage = group.usage().unwrap();
    assert_eq!(usage.oom_kills, Some(1));
    assert!(usage.memory_peak.is_none_or(|peak| peak.0 <= 32 * MIB), "{usage:?}");
    // The same within its limit.
    let mut modest = Waiting::new("exec dd if=/dev/zero of=/dev/null bs=8M count=1");
    group.attach_all(modest.pid()).unwrap();
    assert_eq!(modest.finish(), 0);
    group.wait_empty(soon()).unwrap();
    group.remove().unwrap();
}

fn a_fork_bomb_is_held(world: &World) {
    let root = root(world);
    let limits = Limits {
        pids: Some(30),
        ..Limits::default()
    };
    let group = Group::create(&root, "x101", &limits).unwrap();
    let mut bomb = Waiting::new("b() { b | b & }; b; sleep 1000");
    group.attach_all(bomb.pid()).unwrap();
    bomb.release();
    assert!(eventually(Duration::from_secs(20), || {
        let usage = group.usage().unwrap();
        assert!(usage.tasks.unwrap() <= 30, "{usage:?}");
        usage.forks_refused.unwrap() > 0
    }));
    // It is still forking: nothing escapes the kill.
    group.kill().unwrap();
    group.wait_empty(soon()).unwrap();
    // 2 when its first shell could not fork, 137 when it was killed.
    assert_ne!(bomb.finish(), 0);
    group.remove().unwrap();
}

fn a_spinner_is_held(world: &World) {
    let root = root(world);
    let limits = Limits {
        cpus: Some("0.1".parse().unwrap()),
        ..Limits::default()
    };
    let group = Group::create(&root, "x101", &limits).unwrap();
    let mut spinner = Waiting::new("while :; do :; done");
    group.attach_all(spinner.pid()).unwrap();
    spinner.release();
    assert!(eventually(Duration::from_secs(20), || {
        group.usage().unwrap().throttled.unwrap() > 0
    }));
    // Lifted, it is stopped no more: what is counted now stays.
    let _ = group.set(&Limits::default(), &limits).unwrap();
    let throttled = group.usage().unwrap().throttled;
    let spent = group.usage().unwrap().cpu_micros.unwrap();
    assert!(eventually(Duration::from_secs(20), || {
        group.usage().unwrap().cpu_micros.unwrap() > spent + 50_000
    }));
    assert_eq!(group.usage().unwrap().throttled, throttled);
    group.kill().unwrap();
    group.wait_empty(soon()).unwrap();
    group.remove().unwrap();
}

fn a_process_stays_on_its_processors(world: &World) {
    let root = root(world);
    let allowed = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        line.trim().to_owned()
    };
    let limits = Limits {
        cpuset: Some("0".parse().unwrap()),
        ..Limits::default()
    };
    let group = Group::create(&root, "x101", &limits).unwrap();
    let mut child = Waiting::new("exit 0");
    let all = allowed(child.pid());
    group.attach_all(child.pid()).unwrap();
    assert_eq!(allowed(child.pid()), "0");
    let _ = group.set(&Limits::default(), &limits).unwrap();
    assert_eq!(allowed(child.pid()), all);
    assert_eq!(group.read_limits().unwrap(), Limits::default());
    assert_eq!(child.finish(), 0);
    group.wait_empty(soon()).unwrap();
    group.remove().unwrap();
}

fn several() -> Limits {
    Limits {
        cpus: Some("1.5".parse().unwrap()),
        cpu_weight: Some(50),
        cpuset: Some("0".parse().unwrap()),
        pids: Some(100),
        ..memory(64)
    }
}

fn what_is_set_is_read_back_and_drift_is_seen(world: &World) {
    let root = root(world);
    let mut limits = several();
    let group = Group::create(&root, "x101", &limits).unwrap();
    assert_eq!(group.read_limits().unwrap(), limits);
    assert_eq!(group.drift(&limits).unwrap(), [""; 0]);
    // What the kernel rounds, or has as everyone's, is no drift.
    limits.memory = Some(Bytes(64 * MIB + 7));
    assert_eq!(group.drift(&limits).unwrap(), [""; 0]);
    limits.pids = None;
    limits.cpu_weight = Some(100);
    assert_eq!(group.drift(&limits).unwrap(), ["cpu_weight", "pids"]);
    group.remove().unwrap();

    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    limits = Limits {
        cpu_weight: Some(100),
        io_weight: Some(100),
        ..Limits::default()
    };
    assert_eq!(group.drift(&limits).unwrap(), [""; 0]);
    // All processors are what everyone has, too.
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    limits.cpuset = Some(online.trim().parse().unwrap());
    assert_eq!(group.drift(&limits).unwrap(), [""; 0]);
    assert_eq!(group.drift(&several()).unwrap().len(), if several().swap.is_some() { 6 } else { 5 });
    group.remove().unwrap();
}

fn limits_are_raised_lowered_and_lifted_while_it_runs(world: &World) {
    let root = root(world);
    let low = several();
    let high = Limits {
        cpus: Some("2".parse().unwrap()),
        cpu_weight: Some(500),
        cpuset: None,
        pids: Some(200),
        ..memory(256)
    };
    let group = Group::create(&root, "x101", &low).unwrap();
    let mut child = Waiting::new("exit 0");
    group.attach_all(child.pid()).unwrap();
    let none = Limits::default();
    for (from, to) in [(&low, &high), (&high, &low), (&low, &none), (&none, &high), (&high, &none)] {
        let change = group.set(to, from).unwrap();
        assert!(!change.uncounted);
        assert_eq!(group.read_limits().unwrap(), *to);
        assert!(!group.is_frozen().unwrap());
    }
    assert_eq!(child.finish(), 0);
    group.wait_empty(soon()).unwrap();
    group.remove().unwrap();
}

fn a_group_without_limits_gets_them_while_it_runs(world: &World) {
    let root = root(world);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    let mut child = Waiting::new("i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; wait");
    group.attach_all(child.pid()).unwrap();
    child.release();
    assert!(eventually(Duration::from_secs(10), || group.pids().unwrap().len() == 21));
    let before = directories(world, "x101").len();
    let limits = Limits {
        pids: Some(25),
        ..several()
    };
    let change = group.set(&limits, &Limits::default()).unwrap();
    assert_eq!(group.read_limits().unwrap(), limits);
    assert!(!group.is_frozen().unwrap());
    let usage = group.usage().unwrap();
    assert_eq!((usage.processes, usage.tasks), (21, Some(21)));
    // On v1, memory that was there before counts only where the kernel moves charges.
    if directories(world, "x101").len() == before {
        assert!(!change.uncounted);
    }
    let pids = group.pids().unwrap();
    for directory in directories(world, "x101") {
        let inside = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        assert_eq!(inside.lines().count(), pids.len(), "{}", directory.display());
    }
    group.kill().unwrap();
    group.wait_empty(soon()).unwrap();
    group.remove().unwrap();
    assert!(directories(world, "x101").is_empty());
}

/// A process with 48 MiB of its own, which it has when its file is there.
fn eater(world: &World) -> Waiting {
    let ready = world.dir.join("ready");
    // The shell's variable is anonymous memory that nothing can take back without swap.
    Waiting::new(&format!(
        "x=$(head -c {} /dev/zero | tr '\\0' x); : > {}; sleep 1000; echo $x",
        48 * MIB,
        ready.display()
    ))
}

fn memory_in_use_is_not_taken_by_killing(world: &World) {
    let root = root(world);
    let start = Limits {
        pids: Some(50),
        ..memory(512)
    };
    if start.swap.is_none() && fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1 {
        return;
    }
    let group = Group::create(&root, "x101", &start).unwrap();
    let mut child = eater(world);
    group.attach_all(child.pid()).unwrap();
    child.release();
    assert!(eventually(Duration::from_secs(30), || world.dir.join("ready").exists()));
    let lower = Limits {
        pids: Some(40),
        cpu_weight: Some(50),
        ..memory(16)
    };
    let err = group.set(&lower, &start).unwrap_err();
    assert_eq!(err.kind(), Kind::Busy, "{err}");
    assert!(err.hint().is_some());
    // Everything of the change was taken back, and everyone lives and runs.
    assert_eq!(group.read_limits().unwrap(), start);
    assert!(!group.is_frozen().unwrap());
    assert_eq!(group.usage().unwrap().oom_kills, Some(0));
    assert!(group.pids().unwrap().contains(&child.pid()));
    group.kill().unwrap();
    group.wait_empty(soon()).unwrap();
    group.remove().unwrap();
}

fn page_cache_makes_room_for_a_lower_limit(world: &World) {
    let root = root(world);
    let start = memory(512);
    let group = Group::create(&root, "x101", &start).unwrap();
    let file = world.dir.join("cached");
    let mut child = Waiting::new(&format!(
        "dd if=/dev/zero of={} bs=1M count=64 conv=fsync; exit 0",
        file.display()
    ));
    group.attach_all(child.pid()).unwrap();
    assert_eq!(child.finish(), 0);
    group.wait_empty(soon()).unwrap();
    assert!(group.usage().unwrap().memory.unwrap().0 > 32 * MIB);
    let _ = group.set(&memory(16), &start).unwrap();
    assert!(group.usage().unwrap().memory.unwrap().0 <= 16 * MIB);
    group.remove().unwrap();
}

/// The disk of this machine, as a recipe names it.
fn disk() -> String {
    let mut names: Vec<_> = fs::read_dir("/sys/block")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("vd") || name.starts_with("sd") || name.starts_with("nvme"))
        .collect();
    names.sort();
    format!("/dev/{}", names.first().expect("a disk"))
}

fn bound(max: IoMax) -> Limits {
    Limits {
        io: [(disk(), max)].into(),
        ..Limits::default()
    }
}

fn a_disk_is_bounded(world: &World) {
    // Each layout has what it can do; a kernel without either is none that hostel runs on.
    if hierarchies().iter().any(|h| h.is_v2 && h.has("io")) {
        bounded_on_v2(world);
    } else {
        bounded_on_v1(world);
    }
}

fn bounded_on_v2(world: &World) {
    let root = root(world);
    let limits = bound(IoMax {
        read: Some(mib(10)),
        write: Some(mib(5)),
        read_iops: Some(100),
        write_iops: None,
    });
    let group = Group::create(&root, "x101", &limits).unwrap();
    assert_eq!(group.read_limits().unwrap(), limits);
    assert_eq!(group.drift(&limits).unwrap(), [""; 0]);
    let _ = group.set(&Limits::default(), &limits).unwrap();
    assert_eq!(group.read_limits().unwrap(), Limits::default());
    group.remove().unwrap();
}

fn bounded_on_v1(world: &World) {
    let root = root(world);
    let err = Group::create(&root, "x101", &bound(IoMax { write: Some(mib(5)), ..IoMax::default() })).unwrap_err();
    assert_eq!(err.kind(), Kind::Unsupported);
    assert!(err.to_string().contains("`io`: buffered writes"), "{err}");
    let limits = bound(IoMax {
        read: Some(mib(10)),
        read_iops: Some(100),
        ..IoMax::default()
    });
    let group = Group::create(&root, "x101", &limits).unwrap();
    assert_eq!(group.read_limits().unwrap(), limits);
    assert_eq!(group.drift(&limits).unwrap(), [""; 0]);
    let _ = group.set(&Limits::default(), &limits).unwrap();
    assert_eq!(group.read_limits().unwrap(), Limits::default());
    group.remove().unwrap();
}
