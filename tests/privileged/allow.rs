//! What a recipe loosens of a guest's confinement, and what it takes besides.

use crate::life::{destroy, running};
use crate::support::{World, tests};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_makes_no_user_namespace_unless_nested,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_word_brings_its_capability_and_no_other,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => no_new_privs_holds_for_commands,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => services_are_confined_as_commands_are,
}

fn a_guest_makes_no_user_namespace_unless_nested(world: &World) {
    running(world, "plain", 0, "");
    running(world, "nested", 1, "allow = { \"nested\" },");
    let unshare = ["--", "busybox", "unshare", "--user", "--map-root-user", "busybox", "id", "-u"];
    let made = |name: &str| world.hostel(["exec", name].iter().chain(&unshare)).run();
    let refused = made("plain");
    assert_ne!(refused.status, 0, "{refused}");
    refused.stderr_has("Operation not permitted");
    made("nested").code(0).stdout("0\n");
    let limit = |name: &str| world.hostel(["exec", name, "--", "cat", "/proc/sys/user/max_user_namespaces"]).ok().stdout;
    assert_eq!(limit("plain"), "0\n");
    assert_ne!(limit("nested"), "0\n");
    destroy(world, "plain");
    destroy(world, "nested");
}

/// A line of `/proc/self/status` of a command in the guest.
fn status(world: &World, name: &str, field: &str) -> String {
    let out = world.hostel(["exec", name, "--", "grep", &format!("^{field}:"), "/proc/self/status"]).ok();
    out.stdout.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

fn a_word_brings_its_capability_and_no_other(world: &World) {
    running(world, "plain", 0, "");
    running(world, "traced", 1, "allow = { \"ptrace\" },");
    let bits = |name: &str| u64::from_str_radix(&status(world, name, "CapBnd"), 16).unwrap();
    let sys_ptrace = 1 << 19;
    assert_eq!(bits("plain") & sys_ptrace, 0);
    assert_eq!(bits("traced"), bits("plain") | sys_ptrace);
    for name in ["plain", "traced"] {
        assert_eq!(status(world, name, "Seccomp"), "2");
        destroy(world, name);
    }
}

fn no_new_privs_holds_for_commands(world: &World) {
    running(world, "plain", 0, "");
    running(world, "bare", 1, "no_new_privs = true,");
    assert_eq!(status(world, "plain", "NoNewPrivs"), "0");
    assert_eq!(status(world, "bare", "NoNewPrivs"), "1");
    destroy(world, "plain");
    destroy(world, "bare");
}

fn services_are_confined_as_commands_are(world: &World) {
    let services = "no_new_privs = true,\n  services = { look = { exec = { \"sh\", \"-c\", \
        \"grep -E '^(Seccomp|NoNewPrivs|CapBnd):' /proc/self/status >/tmp/seen; sleep 1000\" } } },";
    running(world, "web", 0, services);
    let wait = "until [ -s /tmp/seen ]; do sleep 0.05; done; cat /tmp/seen";
    let seen = world.hostel(["exec", "web", "--", "sh", "-c", wait]).ok().stdout;
    let own = ["exec", "web", "--", "grep", "-E", "^(Seccomp|NoNewPrivs|CapBnd):", "/proc/self/status"];
    world.hostel(own).ok().stdout(&seen);
    assert!(seen.contains("Seccomp:\t2\n") && seen.contains("NoNewPrivs:\t1\n"), "{seen}");
    destroy(world, "web");
}
