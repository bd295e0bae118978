//! Control groups on this machine's kernel, whichever layout it has: membership, freezing, killing, removal.

use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hostel::error::Kind;
use hostel::guest::{HostPid, Limits};
use hostel::sys::cgroup::{Group, Host, Root};
use hostel::sys::proc;

use crate::support::{World, eventually, hierarchies, tests};
use crate::waiting::Waiting;

tests! {
    [Root, Cgroup2] => a_group_is_born_used_and_gone,
    [Root, Cgroup2] => the_id_is_the_kernels,
    [Root, Cgroup2] => two_hundred_processes_stand_still_run_and_die,
    [Root, Cgroup2] => a_signal_reaches_each_process_and_no_other,
    [Root, Cgroup2] => a_group_below_a_group_dies_with_it,
    [Root, Cgroup2] => what_a_crash_left_is_replaced,
    [Root, Cgroup2] => a_group_in_use_is_neither_replaced_nor_removed,
    [Root, Cgroup2] => the_root_stays_while_groups_are_in_it,
    [Root, Cgroup2] => a_wait_that_ends_names_who_is_left,
    [Root, Cgroup2, Controller("pids")] => without_limits_no_v1_hierarchy_is_touched,
    [Root, Cgroup2] => what_fails_half_way_leaves_nothing,
    [Root, Cgroup2] => names_cannot_leave_hostels_cgroup,
}

pub(crate) fn root(world: &World) -> Root {
    Root::ensure(&Host::detect().unwrap(), &world.cgroup).unwrap()
}

pub(crate) fn soon() -> Instant {
    // Generous, as the machine may be an emulated one.
    Instant::now() + Duration::from_secs(30)
}

/// Every directory of `name` in hostel's cgroup of this world.
pub(crate) fn directories(world: &World, name: &str) -> Vec<std::path::PathBuf> {
    hierarchies()
        .iter()
        .map(|hierarchy| hierarchy.mount.join(&world.cgroup).join(name))
        .filter(|path| path.exists())
        .collect()
}

fn a_group_is_born_used_and_gone(world: &World) {
    let root = root(world);
    assert_eq!(root.level(), 1);
    assert!(Group::open(&root, "x101").unwrap().is_none());
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    assert!(!group.is_populated().unwrap());
    assert_eq!(group.pids().unwrap(), []);
    assert_eq!(root.groups().unwrap(), ["x101"]);

    let mut child = Waiting::new("exit 3");
    group.attach_all(child.pid()).unwrap();
    assert_eq!(group.pids().unwrap(), [child.pid()]);
    assert!(group.is_populated().unwrap());
    let usage = group.usage().unwrap();
    assert_eq!(usage.processes, 1);
    assert!(usage.cpu_micros.is_some());
    assert_eq!(child.finish(), 3);
    group.wait_empty(soon()).unwrap();

    let again = Group::open(&root, "x101").unwrap().unwrap();
    assert_eq!(again.id().unwrap(), group.id().unwrap());
    again.remove().unwrap();
    assert!(Group::open(&root, "x101").unwrap().is_none());
    group.remove().unwrap();
    root.remove().unwrap();
    assert!(directories(world, "").is_empty());
}

fn the_id_is_the_kernels(world: &World) {
    use std::os::unix::fs::MetadataExt as _;
    let root = root(world);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    // On 64-bit kernels the inode number is the whole id.
    let inode = fs::File::from(group.fd().try_clone_to_owned().unwrap()).metadata().unwrap().ino();
    assert_eq!(group.id().unwrap(), inode);
    group.remove().unwrap();
}

fn two_hundred_processes_stand_still_run_and_die(world: &World) {
    let root = root(world);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    let mut child = Waiting::new("i=0; while [ $i -lt 199 ]; do sleep 1000 & i=$((i+1)); done; wait");
    group.attach_all(child.pid()).unwrap();
    child.release();
    assert!(eventually(Duration::from_secs(20), || group.pids().unwrap().len() == 200));

    group.freeze(soon()).unwrap();
    assert!(group.is_frozen().unwrap());
    // Once more changes nothing.
    group.freeze(soon()).unwrap();
    group.thaw(soon()).unwrap();
    assert!(!group.is_frozen().unwrap());

    // The frozen die too.
    group.freeze(soon()).unwrap();
    let pids = group.pids().unwrap();
    group.kill().unwrap();
    group.wait_empty(soon()).unwrap();
    assert_eq!(child.finish(), 128 + 9);
    for pid in pids {
        assert!(eventually(Duration::from_secs(10), || {
            proc::stat(pid).unwrap().is_none_or(|stat| stat.state == 'Z')
        }));
    }
    group.remove().unwrap();
}

fn a_signal_reaches_each_process_and_no_other(world: &World) {
    let root = root(world);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    let mut bystander = Waiting::new("exit 0");
    let mut inside: Vec<_> = (0..3).map(|_| Waiting::new("exit 0")).collect();
    for child in &inside {
        group.attach_all(child.pid()).unwrap();
    }
    let glance = group.glance().unwrap();
    assert_eq!(glance.pids.len(), 3);
    assert!(!glance.is_frozen);
    assert_eq!(group.signal(nix::sys::signal::Signal::SIGTERM).unwrap(), 3);
    group.wait_empty(soon()).unwrap();
    for child in &mut inside {
        assert_eq!(child.end(), 128 + 15);
    }
    assert_eq!(bystander.finish(), 0);
    assert_eq!(group.signal(nix::sys::signal::Signal::SIGTERM).unwrap(), 0);
    group.remove().unwrap();
}

fn a_group_below_a_group_dies_with_it(world: &World) {
    let root = root(world);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    let inner = group.child("init").unwrap();
    let path = format!("/proc/self/fd/{}/cgroup.procs", std::os::fd::AsRawFd::as_raw_fd(&inner.as_fd()));
    let mut child = Waiting::new("sleep 1000 & wait");
    fs::write(path, child.pid().to_string()).unwrap();
    child.release();
    assert!(eventually(Duration::from_secs(10), || group.pids().unwrap().len() == 2));
    assert_eq!(group.usage().unwrap().processes, 2);
    assert_eq!(group.remove().unwrap_err().kind(), Kind::Busy);
    group.kill().unwrap();
    group.wait_empty(soon()).unwrap();
    assert_eq!(child.finish(), 128 + 9);
    group.remove().unwrap();
    assert!(directories(world, "x101").is_empty());
}

fn what_a_crash_left_is_replaced(world: &World) {
    let root = root(world);
    let limits = Limits {
        pids: Some(10),
        ..Limits::default()
    };
    let group = Group::create(&root, "x101", &limits).unwrap();
    group.child("left").unwrap();
    let old = group.id().unwrap();
    drop(group);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    assert_ne!(group.id().unwrap(), old);
    assert_eq!(group.read_limits().unwrap(), Limits::default());
    assert_eq!(directories(world, "x101/left").len(), 0);
    // A v1 directory without its cgroup2 one is found, too.
    let left: Vec<_> = hierarchies().iter().filter(|h| !h.is_v2 && h.has("pids")).map(|h| h.mount.clone()).collect();
    group.remove().unwrap();
    for mount in &left {
        fs::create_dir_all(mount.join(&world.cgroup).join("x102")).unwrap();
    }
    assert_eq!(root.groups().unwrap().len(), left.len());
    assert_eq!(root.discard("x102").unwrap(), !left.is_empty());
    assert!(!root.discard("x102").unwrap());
    assert_eq!(root.groups().unwrap().len(), 0);
}

fn a_group_in_use_is_neither_replaced_nor_removed(world: &World) {
    let root = root(world);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    let mut child = Waiting::new("exit 0");
    group.attach_all(child.pid()).unwrap();
    let id = group.id().unwrap();
    let err = Group::create(&root, "x101", &Limits::default()).unwrap_err();
    assert_eq!(err.kind(), Kind::Busy, "{err}");
    assert_eq!(root.discard("x101").unwrap_err().kind(), Kind::Busy);
    assert_eq!(Group::open(&root, "x101").unwrap().unwrap().id().unwrap(), id);
    assert_eq!(group.pids().unwrap(), [child.pid()]);
    assert_eq!(child.finish(), 0);
    group.remove().unwrap();
}

fn the_root_stays_while_groups_are_in_it(world: &World) {
    let root = root(world);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    let err = root.clone().remove().unwrap_err();
    assert_eq!(err.kind(), Kind::Busy, "{err}");
    group.remove().unwrap();
    root.remove().unwrap();
}

fn a_wait_that_ends_names_who_is_left(world: &World) {
    let root = root(world);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    let mut child = Waiting::new("exit 0");
    group.attach_all(child.pid()).unwrap();
    let err = group.wait_empty(Instant::now()).unwrap_err();
    assert_eq!(err.kind(), Kind::Timeout);
    assert!(err.to_string().ends_with(&format!("still has processes: {}", child.pid())), "{err}");
    assert_eq!(child.finish(), 0);
    group.remove().unwrap();
}

fn without_limits_no_v1_hierarchy_is_touched(world: &World) {
    let root = root(world);
    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    assert_eq!(directories(world, "x101").len(), 1);
    let limits = Limits {
        pids: Some(10),
        ..Limits::default()
    };
    let other = Group::create(&root, "x102", &limits).unwrap();
    let is_v1 = hierarchies().iter().any(|h| !h.is_v2 && h.has("pids"));
    assert_eq!(directories(world, "x102").len(), if is_v1 { 2 } else { 1 });
    for group in [group, other] {
        group.remove().unwrap();
    }
}

fn what_fails_half_way_leaves_nothing(world: &World) {
    let root = root(world);
    // The first is written before the second fails: no kernel takes bounds for a device that is none.
    let limits = Limits {
        pids: Some(10),
        io: [(
            "4095:1".to_owned(),
            hostel::guest::limits::IoMax {
                read_iops: Some(10),
                ..Default::default()
            },
        )]
        .into(),
        ..Limits::default()
    };
    let err = Group::create(&root, "x101", &limits).unwrap_err();
    assert!(err.to_string().contains("4095:1"), "{err}");
    assert!(directories(world, "x101").is_empty());

    let group = Group::create(&root, "x101", &Limits::default()).unwrap();
    let mut child = Waiting::new("exit 0");
    group.attach_all(child.pid()).unwrap();
    group.set(&limits, &Limits::default()).unwrap_err();
    assert_eq!(group.read_limits().unwrap(), Limits::default());
    assert!(!group.is_frozen().unwrap());
    assert_eq!(child.finish(), 0);
    group.wait_empty(soon()).unwrap();
    group.remove().unwrap();
}

fn names_cannot_leave_hostels_cgroup(world: &World) {
    let root = root(world);
    for bad in ["..", "", ".", "/x", "a/b", "../x", "a\nb", "cgroup procs"] {
        for err in [
            Group::create(&root, bad, &Limits::default()).unwrap_err(),
            Group::open(&root, bad).unwrap_err(),
            root.discard(bad).unwrap_err(),
        ] {
            assert_eq!(err.kind(), Kind::Invalid, "{bad:?}");
        }
    }
    assert!(proc::stat(HostPid(1)).unwrap().is_some());
}
