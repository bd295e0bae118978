//! The known ways out of a guest (docs/security.md), each as `hostel selftest` tries it; and what takes longer or more
//! than a user's host should be given.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::life::{destroy, running};
use crate::support::{Output, World, eventually, hierarchies, tests, tool};

/// A test for each row, and the others.
macro_rules! rows {
    ($($number:literal $function:ident),* ; $($rest:tt)*) => {
        $(fn $function(world: &World) {
            row(world, $number);
        })*
        tests! {
            $([Root, Cgroup2, Bpf, Verb("selftest"), Busybox] within 150 => $function,)*
            $($rest)*
        }
    };
}

rows! {
    1 row_01_host_binary, 2 row_02_leaked_descriptors, 3 row_03_mask_source, 4 row_04_console, 5 row_05_procfs,
    6 row_06_masks, 7 row_07_resolved_twice, 8 row_08_mount_target, 9 row_09_mkdir_race, 10 row_10_dev,
    11 row_11_archives, 12 row_12_text, 13 row_13_tiocsti, 14 row_14_capabilities, 15 row_15_uids, 16 row_16_joiner,
    17 row_17_handles, 18 row_18_devices, 19 row_19_helpers, 20 row_20_release_agent, 21 row_21_abstract_sockets,
    22 row_22_surface, 23 row_23_setuid, 24 row_24_cgroup, 25 row_25_ranges, 26 row_26_spoofing, 27 row_27_chroot,
    28 row_28_signals, 30 row_30_tools;
    [Root, Cgroup2, Bpf, Verb("selftest"), Busybox] within 150 => row_29_exhaustion,
    [Root, Cgroup2, Bpf, Verb("selftest"), Busybox] within 300 => two_hundred_starts_against_a_swapper,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("strace")] within 180 => a_mask_that_fails_is_fatal,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("strace")] => a_joiner_held_before_exec_shows_nothing,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("strace")] => a_joiner_is_undumpable_whatever_the_host_says,
    [Root, Cgroup2, Bpf, Verb("selftest"), Busybox] within 240 => whoever_is_killed_leaves_nothing,
    [Root, Cgroup2, Bpf, Verb("selftest"), Busybox] => when_both_are_killed_gc_takes_it_away,
    [Root, Cgroup2, Bpf, Verb("selftest"), Busybox] => a_users_guests_go_on_beside_it,
}

/// Tries rows in this world; nothing of it may stay.
fn selftest(world: &World, args: &[&str]) -> Output {
    let out = world.hostel(["selftest"].iter().chain(args)).deadline(280).run();
    assert_eq!(left(world), Vec::<String>::new(), "{out}");
    out
}

/// What a self-test has left.
fn left(world: &World) -> Vec<String> {
    let mut found = vec![];
    if world.root.join("selftest").exists() {
        found.push("its directory".to_owned());
    }
    for hierarchy in hierarchies() {
        let entries = fs::read_dir(&hierarchy.mount).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        found.extend(names.filter(|name| name.starts_with(&format!("{}-selftest", world.cgroup))));
    }
    found
}

fn row(world: &World, number: u8) {
    let out = selftest(world, &["--row", &number.to_string()]).code(0);
    let is_closed = out.stdout.starts_with(&format!("{number:>2}  ")) && out.stdout.contains(": ok: ");
    assert!(is_closed && out.stdout.lines().count() == 1, "{out}");
    let is_about_files = [3, 4, 5, 6, 7, 8, 9, 10, 18, 23, 27, 30].contains(&number);
    assert_eq!(out.stdout.contains("; on layers too"), is_about_files, "{out}");
}

/// On this host all of it can be taken.
fn row_29_exhaustion(world: &World) {
    let out = selftest(world, &["--row", "29"]).code(0);
    out.stdout_has(": ok: ").stdout_has("also when it has taken all inotify instances, message queues, pending signals");
}

fn two_hundred_starts_against_a_swapper(world: &World) {
    let out = selftest(world, &["--row", "7", "--starts", "200"]).code(0);
    // Some must have succeeded, or nothing was raced for.
    assert!(out.stdout.contains(": ok: ") && !out.stdout.contains(" 0 of 200"), "{out}");
}

/// Each mount of a start fails in turn: the start fails, and no guest runs.
fn a_mask_that_fails_is_fatal(world: &World) {
    // All mounts of a tree are made by one process, whose calls the tracer counts.
    running(world, "web", 0, "storage = \"dir\",");
    world.hostel(["stop", "--kill", "web"]).ok();
    let binary = crate::support::binary();
    let log = world.dir.join("log");
    let start = |inject: &str| {
        let argv = ["-f", "-qq", "-o", log.to_str().unwrap(), "-e", "trace=move_mount", "-e", inject];
        let argv = argv.iter().map(std::ffi::OsStr::new);
        let argv = argv.chain([binary.as_os_str(), "start".as_ref(), "web".as_ref()]);
        world.within(tool("strace", argv))
    };
    // One that succeeds tells how many there are; the tracer ends with the guest.
    let whole = start("inject=move_mount:error=ENOSPC:when=1000").silent().spawn();
    let runs = || world.hostel(["ls", "--quiet", "--running"]).ok().stdout == "web\n";
    assert!(eventually(Duration::from_secs(20), runs), "no start");
    world.hostel(["stop", "--kill", "web"]).ok();
    whole.wait().code(0);
    let count = fs::read_to_string(&log).unwrap().lines().filter(|line| line.contains("move_mount(")).count();
    assert!(count > 20, "only {count} mounts");
    for number in 1..=count {
        let out = start(&format!("inject=move_mount:error=ENOSPC:when={number}")).run();
        out.code(1).stdout("").stderr_has("ENOSPC");
        world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
    }
    destroy(world, "web");
}

/// What looks at a process from inside, and says what it saw.
const LOOK: &str = "for p in /proc/[0-9]*; do read -r name <$p/comm; case $name in hostel*) \
    for what in exe root cwd fd/0; do [ -e $p/$what ] && echo seen $what; done; \
    for what in mem maps environ auxv syscall stack; do \
      dd if=$p/$what of=/dev/null bs=1 count=1 2>/dev/null && echo read $what; done; echo met;; esac; done; true";

fn a_joiner_held_before_exec_shows_nothing(world: &World) {
    // On a stack of its own: no Landlock domain, which would hide the one from the other by itself.
    let text = format!(
        "guest \"web\" {{ image = \"busybox\", xid = {}, allow = {{ \"ptrace\" }} }}\n",
        world.xid(0)
    );
    let file = world.file("web.lua", &text);
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    let binary = crate::support::binary();
    // In the guest in every respect, and held for ten seconds before it gives up its capabilities.
    let inject = "inject=capset:delay_enter=10000000:when=1";
    let argv = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=capset", "-e", inject];
    let exec = ["exec", "web", "--", "true"].map(std::ffi::OsStr::new);
    let argv = argv.iter().map(std::ffi::OsStr::new).chain([binary.as_os_str()]).chain(exec);
    let held = world.within(tool("strace", argv)).deadline(60).spawn();
    let mut said = String::new();
    let met = eventually(Duration::from_secs(9), || {
        said = world.hostel(["exec", "web", "--", "sh", "-c", LOOK]).ok().stdout;
        said.contains("met")
    });
    assert!(met, "nobody was met");
    // The looking shell was sent in too, and one process is met for sure: the one that is held.
    let seen: Vec<&str> = said.lines().filter(|line| *line != "met").collect();
    assert!(seen.is_empty(), "{said}");
    drop(held);
    destroy(world, "web");
}

/// With `fs.suid_dumpable` at 1 a process whose ids change is dumpable: one that comes in must not be.
fn a_joiner_is_undumpable_whatever_the_host_says(world: &World) {
    struct Setting(String);
    impl Drop for Setting {
        fn drop(&mut self) {
            fs::write(SUID_DUMPABLE, &self.0).unwrap();
        }
    }
    const SUID_DUMPABLE: &str = "/proc/sys/fs/suid_dumpable";
    let _setting = Setting(fs::read_to_string(SUID_DUMPABLE).unwrap());
    fs::write(SUID_DUMPABLE, "1").unwrap();
    a_joiner_held_before_exec_shows_nothing(world);
}

/// A self-test whose guests run, and its two processes.
fn begun(world: &World) -> (crate::support::Running, Pid) {
    let test = world.hostel(["selftest", "--row", "7", "--starts", "100000"]).deadline(60).spawn();
    let guests = world.root.join("selftest/0/state/guests/c/spec.json");
    assert!(eventually(Duration::from_secs(20), || guests.exists()), "no guest");
    let children = format!("/proc/{0}/task/{0}/children", test.pid());
    let worker = fs::read_to_string(children).unwrap();
    let worker = worker.split_whitespace().next().unwrap().parse().unwrap();
    (test, Pid::from_raw(worker))
}

fn whoever_is_killed_leaves_nothing(world: &World) {
    let gone = |what: &str| {
        let is_gone = eventually(Duration::from_secs(20), || left(world).is_empty());
        assert!(is_gone, "{what}: {:?}", left(world));
    };
    let (test, _) = begun(world);
    test.signal(Signal::SIGINT);
    test.wait().code(130).stderr_has("interrupted by SIGINT");
    gone("SIGINT");
    let (test, _) = begun(world);
    test.signal(Signal::SIGTERM);
    test.wait().code(143);
    gone("SIGTERM");
    // The one that works: the one that waits tells of it.
    let (test, worker) = begun(world);
    kill(worker, Signal::SIGKILL).unwrap();
    test.wait().code(2).stderr_has("ended by signal 9");
    gone("the worker's SIGKILL");
    // The one that waits: the one that works tidies up. Its output is open as long as it does.
    let (test, _) = begun(world);
    test.signal(Signal::SIGKILL);
    gone("the caller's SIGKILL");
    drop(test);
}

fn when_both_are_killed_gc_takes_it_away(world: &World) {
    let (test, worker) = begun(world);
    kill(Pid::from_raw(test.pid()), Signal::SIGSTOP).unwrap();
    kill(worker, Signal::SIGKILL).unwrap();
    test.signal(Signal::SIGKILL);
    drop(test);
    assert!(world.root.join("selftest/0").exists());
    let dir = world.root.join("selftest/0");
    world.hostel(["gc"]).ok().stdout(&format!("removed self-test `{}`\n", dir.display()));
    assert_eq!(left(world), Vec::<String>::new());
}

fn a_users_guests_go_on_beside_it(world: &World) {
    running(world, "web", 0, "services = { nap = { exec = { \"sleep\", \"1000\" } } },");
    let pid = || world.hostel(["exec", "web", "--", "pidof", "sleep"]).ok().stdout;
    let before = pid();
    selftest(world, &["--row", "22", "28"]).code(0);
    assert_eq!(pid(), before);
    destroy(world, "web");
}
