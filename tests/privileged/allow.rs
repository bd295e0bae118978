//! What a recipe loosens of a guest's confinement, and what it takes besides.

use std::path::PathBuf;

use crate::debian_services::build;
use crate::life::{bring_attacker, destroy, root_of, running};
use crate::support::{Need, World, tests};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_makes_no_user_namespace_unless_nested,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_word_brings_its_capability_and_no_other,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => ping_traceroute_and_tcpdump_open_their_own_sockets,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => a_guest_on_the_hosts_stack_pings_from_its_own_address_alone,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => a_guest_serves_file_systems_of_its_own,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => fuse_opens_its_device_and_new_mounts_alone,
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

/// Which sockets can be made, by what only the words of `allow` open.
const SOCKETS: &str = r#"
use Errno; use Socket;
sub told { my ($what, $ok) = @_; print "$what ", ($ok ? "ok" : $!{EPERM} ? "EPERM" : 0 + $!), "\n" }
told("tcp", socket(my $t, PF_INET, SOCK_STREAM, 0));
told("udp", socket(my $u, PF_INET6, SOCK_DGRAM, 17));
told("echo", socket(my $e, PF_INET, SOCK_DGRAM, 1));
told("echo6", socket(my $f, PF_INET6, SOCK_DGRAM | 02000000, 58));
told("raw", socket(my $r, PF_INET, SOCK_RAW, 1));
told("raw6", socket(my $s, PF_INET6, SOCK_RAW, 58));
told("packet", socket(my $p, 17, SOCK_RAW, 0));
told("old", socket(my $o, PF_INET, 10, 0x0300));
"#;

/// A guest with Debian's own `ping`, which has a file capability.
fn pinger(world: &World, net: &str, allow: &str) -> PathBuf {
    let text = format!(
        "guest \"web\" {{ image = \"debian:bookworm\", packages = {{ \"iputils-ping\" }}, xid = {}, net = {net}, allow = {{ {allow} }} }}\n",
        world.xid(0)
    );
    world.file("web.lua", &text)
}

fn sockets(world: &World) -> String {
    let told = world.hostel(["exec", "web", "--", "perl", "-"]).stdin(SOCKETS).ok().stdout;
    let open = told.lines().filter_map(|line| line.strip_suffix(" ok"));
    let open: Vec<&str> = open.collect();
    assert_eq!(told.lines().count(), 8, "{told}");
    assert_eq!(told.matches("EPERM").count() + open.len(), 8, "{told}");
    open.join(" ")
}

fn ping_traceroute_and_tcpdump_open_their_own_sockets(world: &World) {
    let net = "{ mode = \"private\", address = \"10.199.7.2/24\" }";
    build(world, &pinger(world, net, ""));
    for (allow, open) in [
        ("", "tcp udp"),
        ("\"ping\"", "tcp udp echo echo6"),
        ("\"traceroute\"", "tcp udp echo echo6 raw raw6"),
        ("\"tcpdump\"", "tcp udp packet old"),
        ("\"ping\", \"tcpdump\"", "tcp udp echo echo6 packet old"),
    ] {
        let recipe = pinger(world, net, allow);
        world.hostel(["apply".as_ref(), recipe.as_os_str()]).deadline(60).ok();
        assert_eq!(sockets(world), open, "{allow}");
        let pings = world.hostel(["exec", "web", "--", "ping", "-c", "1", "-n", "10.199.7.2"]).run();
        assert_eq!(pings.status == 0, open.contains("echo"), "{allow}: {pings}");
    }
    destroy(world, "web");
}

fn a_guest_on_the_hosts_stack_pings_from_its_own_address_alone(world: &World) {
    let shared = Need::LandlockScopes.probe().is_err();
    let (own, other) = (world.address(1).to_string(), world.address(2).to_string());
    let net = format!("{{ mode = \"bind\", address = \"{own}\", shared_abstract_sockets = {shared} }}");
    let recipe = pinger(world, &net, "\"ping\"");
    build(world, &recipe);
    let setting = "/proc/sys/net/ipv4/ping_group_range";
    std::fs::write(setting, "1 0").unwrap();
    let refused = world.hostel(["apply".as_ref(), recipe.as_os_str()]).run().code(1);
    refused.stderr_has("in `net.ipv4.ping_group_range`, which is `1 0`").stderr_has("ping_group_range = 0 2147483647");
    std::fs::write(setting, "0 2147483647").unwrap();
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).deadline(60).ok();
    assert_eq!(sockets(world), "tcp udp echo echo6");
    let ping = |from: &str| world.hostel(["exec", "web", "--", "ping", "-c", "1", "-W", "2", "-n", "-I", from, &own]).run();
    ping(&own).code(0).stdout_has("1 received");
    // An address of the host's, and one that nobody has: nothing leaves.
    for from in [&other, "127.0.0.9"] {
        let spoofed = ping(from);
        assert_ne!(spoofed.status, 0, "{spoofed}");
        assert!(!spoofed.stdout.contains("1 received"), "{spoofed}");
    }
    // Without the word there are no echoes, whatever the host's setting is.
    let plain = pinger(world, &net, "");
    world.hostel(["apply".as_ref(), plain.as_os_str()]).deadline(60).ok();
    assert_eq!(sockets(world), "tcp udp");
    destroy(world, "web");
}

/// What the guest that serves file systems has.
pub(crate) fn packages() -> Vec<String> {
    vec!["bindfs".to_owned()]
}

fn a_guest_serves_file_systems_of_its_own(world: &World) {
    let recipe = |allow: &str| {
        let text = format!(
            "guest \"web\" {{ image = \"debian:bookworm\", packages = {{ \"bindfs\" }}, xid = {}, allow = {{ {allow} }} }}\n",
            world.xid(0)
        );
        world.file("web.lua", &text)
    };
    let apply = |allow: &str| world.hostel(["apply".as_ref(), recipe(allow).as_os_str()]).deadline(60).ok();
    let sh = |user: &str, script: &str| world.hostel(["exec", "--user", user, "web", "--", "sh", "-ec", script]).run();
    let serve = |options: &str| {
        format!(
            "mkdir -p a b; echo one >a/file; bindfs {options} a b; cat b/file; echo two >b/new; cat a/new; \
             grep -c \" $PWD/b fuse\" /proc/self/mounts; fusermount -u b; ls b"
        )
    };
    build(world, &recipe("\"fuse\""));
    apply("\"fuse\"");
    sh("0", &format!("mkdir /srv/root && cd /srv/root; {}", serve(""))).code(0).stdout("one\ntwo\n1\n");
    // Any user, by the set-user-ID program of the package, which looks there for whose mount it is.
    sh("0", "ln -s /proc/self/mounts /etc/mtab && mkdir /srv/user && chown www-data /srv/user").code(0);
    sh("www-data", &format!("cd /srv/user; {}", serve("--no-allow-other"))).code(0).stdout("one\ntwo\n1\n");
    // What is served is not the host's to wait for: nobody outside of its user namespace is let in.
    sh("0", "mkdir -p /srv/a /srv/b; bindfs -o allow_other /srv/a /srv/b").code(0);
    let pid: String = world.hostel(["exec", "web", "--", "pidof", "bindfs"]).ok().stdout;
    assert!(!pid.trim().is_empty());
    let seen = std::fs::read_dir(root_of(world, "web").join("srv/b")).map(drop).unwrap_err();
    assert_eq!(seen.kind(), std::io::ErrorKind::PermissionDenied, "{seen}");
    // A server that answers nothing keeps neither a stop nor the removal waiting.
    sh("0", "kill -STOP $(pidof bindfs); (ls /srv/b &) >/dev/null 2>&1 </dev/null").code(0);
    world.hostel(["stop", "--timeout", "2s", "web"]).deadline(20).ok();
    // Without the word there is neither the device nor the call, nor the capability.
    apply("");
    let refused = sh("0", &format!("mkdir /srv/plain && cd /srv/plain; {}", serve("")));
    assert_ne!(refused.status, 0, "{refused}");
    sh("0", "test ! -e /dev/fuse").code(0);
    destroy(world, "web");
}

/// The attacker's calls, each with what it must be answered: 0 is done, else the errno.
fn answers(world: &World, name: &str, calls: &[(i64, &str, i32)]) {
    bring_attacker(world, name);
    let lines: Vec<String> = calls.iter().map(|(number, arguments, _)| format!("{number} {arguments}")).collect();
    let script = lines.join("\n") + "\n";
    let said = world.hostel(["exec", name, "--", "/attack"]).stdin(script).ok().stdout;
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), calls.len() + 1, "{said:?}");
    for ((number, arguments, expected), said) in calls.iter().zip(said) {
        let said: i64 = said.trim_start_matches("= ").parse().unwrap();
        let is_so = if *expected == 0 { said >= 0 } else { said == -i64::from(*expected) };
        assert!(is_so, "{name}: {number} {arguments}: {said}");
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold("x".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn fuse_opens_its_device_and_new_mounts_alone(world: &World) {
    use nix::libc::{
        ENOSYS, EPERM, SYS_clone3, SYS_fanotify_init, SYS_fsopen, SYS_mount, SYS_open_tree, SYS_openat, SYS_pivot_root,
        SYS_quotactl, SYS_sethostname, SYS_setns, SYS_umount2, SYS_unshare,
    };
    running(world, "plain", 0, "");
    running(world, "served", 1, "allow = { \"fuse\" },");
    let (mnt, none, tmpfs, root) = (hex("/mnt"), hex("none"), hex("tmpfs"), hex("/"));
    let device = format!("-100 {} 2 0", hex("/dev/fuse"));
    let tmp = format!("{none} {mnt} {tmpfs} 6 0");
    let leave = format!("{mnt} 2");
    // Flags of mount(2) that are about a mount that is there: MS_REMOUNT, MS_BIND, MS_MOVE, MS_UNBINDABLE, MS_PRIVATE,
    // MS_SLAVE, MS_SHARED; each alone, and with one that is none of them.
    let changes: Vec<String> = [0x20, 0x1000, 0x2000, 1 << 17, 1 << 18, 1 << 19, 1 << 20]
        .into_iter()
        .flat_map(|flag: u64| [flag, flag | 2])
        .map(|flags| format!("{root} {mnt} {tmpfs} {flags} 0"))
        .collect();
    let mut calls = vec![(SYS_openat, device.as_str(), 0), (SYS_mount, &tmp, 0), (SYS_umount2, &leave, 0)];
    calls.extend(changes.iter().map(|change| (SYS_mount, change.as_str(), EPERM)));
    let fsopen = format!("{tmpfs} 0");
    let tree = format!("-100 {root} 1");
    let host = format!("{} 1", hex("x"));
    let pivot = format!("{root} {root}");
    calls.extend([
        (SYS_fsopen, fsopen.as_str(), EPERM),
        (SYS_open_tree, &tree, EPERM),
        (SYS_pivot_root, &pivot, EPERM),
        // Each kind of namespace; and clone3, whose flags lie behind a pointer.
        (SYS_unshare, "131072", EPERM),
        (SYS_unshare, "67108864", EPERM),
        (SYS_unshare, "1073741824", EPERM),
        (SYS_unshare, "268435456", EPERM),
        (SYS_clone3, "m0 88", ENOSYS),
        (SYS_setns, "0 0", EPERM),
        (SYS_sethostname, &host, EPERM),
        (SYS_quotactl, "0 0 0 0", EPERM),
        (SYS_fanotify_init, "0 0", EPERM),
    ]);
    answers(world, "served", &calls);
    let refused = |(number, arguments, _): &(i64, _, _)| (*number, *arguments, EPERM);
    let mut plain: Vec<_> = calls[1..3].iter().map(refused).collect();
    plain.push((SYS_openat, device.as_str(), nix::libc::ENOENT));
    answers(world, "plain", &plain);
    // The device is its root's, whatever the host's own says, and no other has come with it.
    let ls = ["exec", "served", "--", "stat", "-c", "%a %u:%g %t:%T", "/dev/fuse"];
    world.hostel(ls).ok().stdout("666 0:0 a:e5\n");
    let devices = |name: &str| world.hostel(["exec", name, "--", "sh", "-c", "ls /dev"]).ok().stdout;
    assert_eq!(devices("served").replace("fuse\n", ""), devices("plain"));
    // Its root, and no more of its capabilities.
    let bits = |name: &str| u64::from_str_radix(&status(world, name, "CapBnd"), 16).unwrap();
    assert_eq!(bits("served"), bits("plain") | 1 << 21);
    world.hostel(["audit", "served"]).run().code(1).stdout_has("allow `fuse`").stdout_has("may take the covers of /proc away");
    destroy(world, "plain");
    destroy(world, "served");
}
