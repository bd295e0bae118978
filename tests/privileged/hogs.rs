//! Guests that take all they can get: held to their limits, which change while they run, and the guest beside
//! them goes on.

use std::time::{Duration, Instant};

use crate::life::{bring_attacker, destroy, running};
use crate::support::{Output, Place, World, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Controller("memory")] => a_memory_hog_is_held,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Controller("pids")] => a_fork_bomb_is_held,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Controller("cpu")] => a_spinner_is_held,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Filesystem("ext4")] => a_reader_of_the_disk_is_held,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => keys_are_made_by_nobody_or_counted_for_each_guest,
}

fn sh(world: &World, name: &str, script: &str) -> Output {
    world.hostel(["exec", name, "--", "sh", "-c", script]).run()
}

/// Two guests, the first with this limit.
fn guests(world: &World, limit: &str) {
    running(world, "hog", 0, &format!("limits = {{ {limit} }},"));
    running(world, "other", 1, "");
}

fn goes_on(world: &World) {
    sh(world, "other", "echo $((6 * 7))").code(0).stdout("42\n");
    sh(world, "hog", "true").code(0);
}

fn a_memory_hog_is_held(world: &World) {
    guests(world, "memory = \"32M\", swap = \"0\"");
    // Reads a line that never ends, into memory.
    sh(world, "hog", "tail /dev/zero").code(128 + 9);
    goes_on(world);
    let fill = "dd if=/dev/zero of=/dev/shm/fill bs=1M count=48 2>/dev/null";
    sh(world, "hog", &format!("{fill}; rm /dev/shm/fill; exit $?"));
    assert_ne!(sh(world, "hog", fill).status, 0);
    sh(world, "hog", "rm -f /dev/shm/fill");

    world.hostel(["set", "hog", "memory=128M"]).ok();
    sh(world, "hog", fill).code(0);
    // What is in use is not taken away.
    world.hostel(["set", "hog", "memory=32M"]).run().code(1).stderr_has("stop something in");
    sh(world, "hog", "stat -c %s /dev/shm/fill").code(0).stdout("50331648\n");
    sh(world, "hog", "rm /dev/shm/fill").code(0);
    world.hostel(["set", "hog", "memory=32M"]).ok();
    assert_ne!(sh(world, "hog", fill).status, 0);
    goes_on(world);
    destroy(world, "hog");
    destroy(world, "other");
}

fn a_fork_bomb_is_held(world: &World) {
    guests(world, "pids = 32");
    let count = |world: &World| -> u32 {
        let status = world.hostel(["status", "--json", "hog"]).ok().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        u32::try_from(status["processes"].as_u64().unwrap()).unwrap()
    };
    // As many as there can be, and the shell ends with the first that there cannot.
    let bomb = "for n in $(seq 500); do sleep 60 & done";
    world.hostel(["exec", "hog", "--", "sh", "-c", bomb]).silent().run();
    let full = || count(world) >= 29;
    assert!(crate::support::eventually(Duration::from_secs(10), full), "{}", count(world));
    assert!(count(world) <= 32);
    sh(world, "other", "echo $((6 * 7))").code(0).stdout("42\n");

    // Raised while it is full, there is room for the administrator.
    world.hostel(["set", "hog", "pids=40"]).ok();
    sh(world, "hog", "true").code(0);
    assert!(count(world) <= 40);
    world.hostel(["stop", "--kill", "hog"]).ok();
    world.hostel(["start", "hog"]).ok();
    goes_on(world);
    let many = "for n in $(seq 60); do sleep 60 & done";
    world.hostel(["set", "hog", "pids=100"]).ok();
    world.hostel(["exec", "hog", "--", "sh", "-c", many]).silent().run();
    assert!(count(world) >= 60, "{}", count(world));
    destroy(world, "hog");
    destroy(world, "other");
}

fn a_spinner_is_held(world: &World) {
    guests(world, "cpus = 0.2");
    let spin = "(while :; do :; done) & (while :; do :; done) & exit 0";
    world.hostel(["exec", "hog", "--", "sh", "-c", &format!("({spin}) >/dev/null 2>&1")]).ok();
    // An upper bound, which holds however busy the host is: half as much again for periods cut off at both ends.
    let spends_at_most = |share: f64| {
        let used = || {
            let status = world.hostel(["status", "--json", "hog"]).ok().stdout;
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            Duration::from_micros(status["cpu_us"].as_u64().unwrap())
        };
        let (before, began) = (used(), Instant::now());
        let enough = || began.elapsed() > Duration::from_secs(1);
        assert!(crate::support::eventually(Duration::from_secs(10), enough));
        let spent = used().saturating_sub(before);
        assert!(spent.as_secs_f64() <= began.elapsed().as_secs_f64() * share * 1.5, "{spent:?}");
    };
    spends_at_most(0.2);
    goes_on(world);
    world.hostel(["set", "hog", "cpus=0.5"]).ok();
    spends_at_most(0.5);
    world.hostel(["set", "hog", "cpus=0.1"]).ok();
    spends_at_most(0.1);
    destroy(world, "hog");
    destroy(world, "other");
}

fn a_reader_of_the_disk_is_held(world: &World) {
    let volume = world.volume("ext4", 64);
    let at = volume.at.to_str().unwrap();
    let device = tool("findmnt", ["-no", "SOURCE", at]).ok().stdout;
    let place = Place::at(world, volume);
    let bound = |rate: &str| {
        let limits = format!("storage = \"dir\", limits = {{ io = {{ [\"{}\"] = {{ read = \"{rate}\" }} }} }}", device.trim());
        place.apply("hog", 0, &limits);
    };
    bound("1G");
    place.apply("other", 1, "storage = \"dir\"");
    place.sh("hog", "dd if=/dev/zero of=/fill bs=1M count=8 conv=fsync 2>/dev/null");
    place.sh("other", "dd if=/dev/zero of=/fill bs=1M count=8 conv=fsync 2>/dev/null");
    let read = |guest: &str| -> Duration {
        let began = Instant::now();
        place.sh(guest, "dd if=/fill of=/dev/null bs=1M iflag=direct 2>/dev/null");
        began.elapsed()
    };
    // Bounds that hold however slow the disk is: eight seconds' worth at the least, less what may come at once.
    bound("1M");
    assert!(read("hog") > Duration::from_secs(6), "a reader went by its limit");
    bound("4M");
    assert!(read("hog") > Duration::from_secs(1), "a reader went by its raised limit");
    read("other");
    place.destroy(&["hog", "other"]);
    place.is_empty();
}

/// Keys of the users of a context, by the host's own count of them.
fn keys(world: &World, number: u32) -> Vec<String> {
    let first = world.xid(number) << 16;
    let all = std::fs::read_to_string("/proc/key-users").unwrap();
    let user = |line: &&str| line.split(':').next().unwrap().trim().parse::<u32>().unwrap();
    let own = all.lines().filter(|line| (first..=first + 0xffff).contains(&user(line)));
    own.map(str::to_owned).collect()
}

fn keys_are_made_by_nobody_or_counted_for_each_guest(world: &World) {
    use nix::libc::{EDQUOT, EPERM, SYS_add_key, SYS_keyctl, SYS_request_key};
    let calls = |name: &str, script: String| -> Vec<i64> {
        bring_attacker(world, name);
        let said = world.hostel(["exec", name, "--", "/attack"]).stdin(script).ok().stdout;
        said.lines().filter_map(|line| line.strip_prefix("= ")?.parse().ok()).collect()
    };
    // `user`, a description in the attacker's memory, a payload of one byte, the session's keyring.
    let add = format!("{SYS_add_key} x75736572 m0 x78 1 -3\n");
    let many: String = (0..250).map(|n| format!("! 0 {:04x}00\n{add}", n + 0x6161)).collect::<Vec<_>>().concat();

    running(world, "plain", 0, "");
    let others = format!("{SYS_keyctl} 0 -3 1\n{SYS_request_key} x75736572 x78 0 -3\n");
    assert_eq!(calls("plain", format!("! 0 6100\n{add}{others}")), [-i64::from(EPERM); 3]);
    assert_eq!(keys(world, 0), Vec::<String>::new());
    destroy(world, "plain");

    for (number, name) in [(0, "hog"), (1, "other")] {
        running(world, name, number, "allow = { \"keyring\" },");
    }
    let said = calls("hog", many);
    let refused = said.iter().filter(|said| **said == -i64::from(EDQUOT)).count();
    let made = said.iter().filter(|said| **said > 0).count();
    assert!(refused > 0 && made > 0 && made + refused == 250, "{said:?}");
    assert_eq!(keys(world, 0).len(), 1, "{:?}", keys(world, 0));
    // What one has used up is its own: another has as many.
    let other = calls("other", format!("! 0 6100\n{add}"));
    assert!(other[0] > 0, "{other:?}");
    for name in ["hog", "other"] {
        destroy(world, name);
    }
    // They go with the guest; the kernel takes them away when it has time.
    let gone = || keys(world, 0).is_empty() && keys(world, 1).is_empty();
    assert!(crate::support::eventually(Duration::from_secs(20), gone), "{:?} {:?}", keys(world, 0), keys(world, 1));
}
