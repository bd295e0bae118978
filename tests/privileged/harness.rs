//! The suite tests itself: a world is private, deadlines hold, a leak is seen.

use std::fs;
use std::time::Duration;

use crate::support::{Before, World, eventually, hierarchies, tests, tool};

tests! {
    [Root] => a_world_has_namespaces_of_its_own,
    [Root] => a_command_is_exact,
    [Root] => output_held_open_by_another_process_is_a_failure,
    [Root] => a_deadline_kills_the_command,
    [Root, Cgroup2] => every_kind_of_leak_is_seen,
    [Root, Cgroup2] => the_binary_under_test_runs,
    [Root, Filesystem("btrfs")] => a_volume_is_unmounted_when_dropped,
}

fn a_world_has_namespaces_of_its_own(world: &World) {
    for namespace in ["mnt", "net"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of("self"), of(&nix::unistd::getppid().to_string()), "{namespace}");
    }
    assert!(world.dir.is_dir());
    let devices = fs::read_to_string("/proc/net/dev").unwrap();
    let devices: Vec<&str> = devices.lines().skip(2).filter_map(|line| line.split(':').next()).collect();
    assert!(devices.iter().any(|name| name.trim() == "lo"), "{devices:?}");
    for hierarchy in hierarchies().iter().filter(|h| h.is_v2 || h.has("pids")) {
        let runner = hierarchy.mount.join(format!("{}-runner/cgroup.procs", world.cgroup));
        let own = std::process::id().to_string();
        assert!(fs::read_to_string(runner).unwrap().lines().any(|pid| pid == own));
    }
}

fn a_command_is_exact(_: &World) {
    tool("sh", ["-c", "cat; echo err >&2; exit 3"]).stdin("in").run().code(3).stdout("in").stderr("err\n");
    tool("sh", ["-c", "kill -TERM $$"]).run().code(128 + 15);
    let mut running = tool("sh", ["-c", "echo ready; exec sleep 60"]).spawn();
    assert_eq!(running.wait_stdout("ready"), "ready\n");
    let pid = running.pid();
    drop(running);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

fn output_held_open_by_another_process_is_a_failure(_: &World) {
    let outcome = std::panic::catch_unwind(|| tool("sh", ["-c", "sleep 60 & echo $!"]).run());
    let message = outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("left its output open in another process"), "{message}");
    let pid: i32 = message.lines().find_map(|line| line.parse().ok()).unwrap();
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

fn a_deadline_kills_the_command(_: &World) {
    let outcome = std::panic::catch_unwind(|| tool("sh", ["-c", "sleep 60"]).deadline(1).run());
    let message = outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("passed its deadline"), "{message}");
    let children = || fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    assert!(eventually(Duration::from_secs(2), || children().is_empty()));
}

fn the_binary_under_test_runs(world: &World) {
    world.hostel(["--version"]).run().code(0);
}

fn a_volume_is_unmounted_when_dropped(world: &World) {
    let volume = world.volume("btrfs", 128);
    fs::write(volume.at.join("file"), "x").unwrap();
    assert!(fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - btrfs "));
}

fn every_kind_of_leak_is_seen(world: &World) {
    let before = Before::look();
    assert_eq!(before.leaks(world), Vec::<String>::new());

    let mount = hierarchies().into_iter().find(|h| h.is_v2).unwrap().mount;
    let guest = mount.join(&world.cgroup).join("x9");
    fs::create_dir_all(&guest).unwrap();
    let sleeper = tool("sleep", ["60"]).spawn();
    fs::write(guest.join("cgroup.procs"), sleeper.pid().to_string()).unwrap();
    let forgotten = tool("sleep", ["61"]).spawn();
    let target = world.dir.join("target");
    fs::create_dir_all(&target).unwrap();
    tool("mount", ["-t", "tmpfs", "none", target.to_str().unwrap()]).ok();
    let address = format!("{}/8", world.address(1));
    tool("ip", ["addr", "add", &address, "dev", "lo"]).ok();
    world.file("root/tmp/half-made", "");
    let lock = fs::File::create(world.file("root/lock/web", "")).unwrap();
    let lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap();

    let leaks = before.leaks(world).join("\n");
    for expected in [
        &format!("process {} (sleep 60) in", sleeper.pid()),
        &format!("process {} (sleep 61)", forgotten.pid()),
        &format!("cgroup {}", guest.display()),
        &format!("mount {} tmpfs", target.display()),
        &world.address(1).to_string(),
        "tmp/half-made",
        "held lock web",
    ] {
        assert!(leaks.contains(expected), "{expected:?} is not in\n{leaks}");
    }

    drop((sleeper, forgotten, lock));
    nix::mount::umount(&target).unwrap();
    tool("ip", ["addr", "del", &address, "dev", "lo"]).ok();
    fs::remove_file(world.root.join("tmp/half-made")).unwrap();
    assert!(eventually(Duration::from_secs(2), || fs::remove_dir(&guest).is_ok()));
}
