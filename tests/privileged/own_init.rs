//! Guests with an init of their own: it boots, reboots, halts and stops as on a machine of its own.

use std::time::Duration;

use crate::life::{destroy, root_of, running};
use crate::support::{World, eventually, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => busybox_init_boots_reboots_and_stops,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => busybox_init_halts_and_powers_off,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => an_own_init_that_cannot_start_fails_the_start,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("strace")] => a_slow_start_of_an_own_init_is_waited_for,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => an_own_init_has_its_cgroup_and_nothing_above,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => an_own_init_has_the_capabilities_of_its_guest,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => an_own_init_cannot_write_what_is_read_only,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => an_own_init_that_handed_controllers_down_reboots,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, V2("memory"), V2("pids")] => an_own_init_limits_its_services_below_its_own_limits,
}

/// With its files where a test can look at them when it is down, too.
const BUSYBOX: &str = r#"storage = "dir", init = "/sbin/init", files = { ["/etc/inittab"] =
  "::sysinit:/bin/sh -c 'echo booted >> /boots'\n::respawn:/bin/sleep 1000\n::shutdown:/bin/sh -c 'echo down >> /boots'\n" },"#;

/// The lines that the init of the guest has written at its start and its end, when there are `count` of them.
fn boots(world: &World, count: usize) -> String {
    let path = world.root.join("guests/web/rootfs/boots");
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    assert!(eventually(Duration::from_secs(10), || text().lines().count() >= count), "{}", text());
    text()
}

/// An order to an init, which may end the command that gave it before it has ended itself.
pub(crate) fn order(world: &World, name: &str, argv: &[&str]) {
    let code = world.hostel(["exec", name, "--"].iter().chain(argv)).run().status;
    assert!([0, 128 + 9, 128 + 15].contains(&code), "{argv:?}: {code}");
}

fn ends(world: &World) {
    let is_stopped = || world.hostel(["ls", "--quiet", "--running"]).ok().stdout.is_empty();
    assert!(eventually(Duration::from_secs(10), is_stopped));
}

fn busybox_init_boots_reboots_and_stops(world: &World) {
    running(world, "web", 0, BUSYBOX);
    assert_eq!(boots(world, 1), "booted\n");
    let processes = world.hostel(["exec", "web", "--", "ps", "-o", "pid,args"]).ok().stdout;
    assert!(processes.contains("\n    1 init"), "{processes}");

    let pid = || {
        let status = world.hostel(["status", "--json", "web"]).ok().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["pid"].as_i64()
    };
    let before = pid();
    order(world, "web", &["reboot"]);
    assert_eq!(boots(world, 3), "booted\ndown\nbooted\n");
    assert!(eventually(Duration::from_secs(5), || pid().is_some_and(|now| Some(now) != before)));

    world.hostel(["stop", "web"]).ok().stdout_has("stopped web");
    assert_eq!(boots(world, 4), "booted\ndown\nbooted\ndown\n");
    let log = world.hostel(["logs", "web", "init"]).ok().stdout;
    let events: Vec<_> = log.lines().filter_map(|line| line.split_once(' ')).map(|(_, what)| what).collect();
    let started = "started /sbin/init";
    assert_eq!(events, [started, "guest reboots", started, "guest halts"]);
    world.hostel(["logs", "web", "nginx"]).run().code(1).stderr_has("`nginx`");
    destroy(world, "web");
}

/// As systemd does: its processes in cgroups below, the controllers handed down. It must not keep the next from being born.
fn an_own_init_that_handed_controllers_down_reboots(world: &World) {
    // Whatever controllers there are: all on a host of cgroup v2, none beside cgroup v1, where the cgroups alone must be gone.
    let boot = r#"storage = "dir", init = "/sbin/init", files = {
        ["/etc/inittab"] = "::sysinit:/bin/sh /etc/boot\n::respawn:/bin/sleep 1000\n",
        ["/etc/boot"] = "set -e; cd /sys/fs/cgroup; mkdir init.scope a a/b a/b/c\n\
            for pid in $(cat cgroup.procs); do echo $pid > init.scope/cgroup.procs || [ ! -e /proc/$pid ]; done\n\
            for name in $(cat cgroup.controllers); do echo +$name > cgroup.subtree_control; echo +$name > a/cgroup.subtree_control; done\n\
            cmp cgroup.controllers cgroup.subtree_control; echo booted >> /boots\n" },"#;
    running(world, "web", 0, boot);
    for count in 1..4 {
        assert_eq!(boots(world, count), "booted\n".repeat(count));
        if count < 3 {
            order(world, "web", &["reboot", "-f"]);
        }
    }
    world.hostel(["stop", "web"]).ok();
    destroy(world, "web");
}

fn busybox_init_halts_and_powers_off(world: &World) {
    running(world, "web", 0, BUSYBOX);
    boots(world, 1);
    order(world, "web", &["poweroff"]);
    ends(world);
    world.hostel(["start", "web"]).ok();
    boots(world, 3);
    order(world, "web", &["halt"]);
    ends(world);
    assert_eq!(boots(world, 4), "booted\ndown\nbooted\ndown\n");
    destroy(world, "web");
}

fn an_own_init_that_cannot_start_fails_the_start(world: &World) {
    let apply = |init: &str| {
        let file = crate::life::recipe(world, "web", 0, &format!("init = \"{init}\","));
        let out = world.hostel(["apply".as_ref(), file.as_os_str()]).run().code(1);
        world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
        out
    };
    apply("/sbin/no-such-init").stderr_has("its own init `/sbin/no-such-init`: execute: ").stderr_has("ENOENT");
    apply("/etc").stderr_has("its own init `/etc`: execute: ").stderr_has("EACCES");
    apply("/bin/false").stderr_has("its own init ended at once: /bin/false ended: exit 1");
    destroy(world, "web");
}

/// On a slow host an init that was executed is there for a while before it ends, or before it can be executed at all.
fn a_slow_start_of_an_own_init_is_waited_for(world: &World) {
    let start = |inject: &str| {
        let hostel = [crate::support::binary().into_os_string(), "start".into(), "web".into()];
        let strace = ["-f", "-qq", "-o", "/dev/null", "-e", inject].map(std::ffi::OsString::from);
        world.within(tool("strace", strace.into_iter().chain(hostel))).deadline(60).run()
    };
    let build = |more: &str| {
        let file = crate::life::recipe(world, "web", 0, more);
        world.hostel(["build".as_ref(), file.as_os_str()]).ok();
    };
    build("init = \"/bin/false\",");
    start("inject=exit_group:delay_enter=700ms").code(1).stderr_has("ended at once");
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
    destroy(world, "web");
    build("init = \"/sbin/no-such-init\",");
    start("inject=execve:delay_enter=700ms").code(1).stderr_has("ENOENT");
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
    destroy(world, "web");
}

fn an_own_init_has_its_cgroup_and_nothing_above(world: &World) {
    running(world, "web", 0, BUSYBOX);
    let sh = |script: &str| world.hostel(["exec", "web", "--", "sh", "-c", script]).run();
    sh("grep ^0: /proc/1/cgroup").code(0).stdout("0::/\n");
    // It may divide its own cgroup, and move its processes there.
    sh("mkdir /sys/fs/cgroup/part && echo 1 > /sys/fs/cgroup/part/cgroup.procs && grep ^0: /proc/1/cgroup")
        .code(0)
        .stdout("0::/part\n");
    // Its own limits, and what is above, it cannot reach.
    sh("ls -d /sys/fs/cgroup/keeper /sys/fs/cgroup/*/keeper").code(1).stdout("");
    for knob in ["cgroup.max.depth", "cgroup.freeze", "cgroup.kill", "cgroup.max.descendants"] {
        sh(&format!("echo 1 > /sys/fs/cgroup/{knob}")).code(1);
    }
    world.hostel(["stop", "web"]).ok().stdout_has("stopped web");
    destroy(world, "web");
}

/// Of the init and of what it starts: the default set and the guest's own end, in every set but those that would hand on more;
/// and a filter of system calls.
fn an_own_init_has_the_capabilities_of_its_guest(world: &World) {
    let boot = r#"storage = "dir", init = "/sbin/init", files = { ["/etc/inittab"] =
        "::sysinit:/bin/sh -c 'grep -E ^Cap\\|^Seccomp: /proc/1/status /proc/self/status > /caps; echo booted >> /boots'\n::respawn:/bin/sleep 1000\n" },"#;
    running(world, "web", 0, boot);
    boots(world, 1);
    let (none, own) = ("0000000000000000", "00000000a04405fb");
    let sets = [("CapInh", none), ("CapPrm", own), ("CapEff", own), ("CapBnd", own), ("CapAmb", none), ("Seccomp", "2")];
    let of = |who: &str| sets.map(|(set, bits)| format!("/proc/{who}/status:{set}:\t{bits}\n")).concat();
    let told = std::fs::read_to_string(world.root.join("guests/web/rootfs/caps")).unwrap();
    assert_eq!(told, of("1") + &of("self"));
    destroy(world, "web");
}

/// On a network stack of its own the guest's root owns the settings of that: nothing but the mount is in the way.
fn an_own_init_cannot_write_what_is_read_only(world: &World) {
    let text = format!(
        "guest \"web\" {{ image = \"busybox\", xid = {}, net = {{ mode = \"none\" }}, {BUSYBOX} }}\n",
        world.xid(0)
    );
    let file = world.file("web.lua", &text);
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    boots(world, 1);
    // To open is enough: nothing is written, should it work.
    for path in ["sys/net/ipv4/ping_group_range", "sys/net/ipv4/ip_forward", "sys/kernel/hostname"] {
        let open = format!(": > /proc/{path}");
        world.hostel(["exec", "web", "--", "sh", "-c", &open]).run().code(1).stderr_has("Read-only file system");
    }
    // The others have nothing that their ids could write: that they are mounts of their own is all there is to see.
    let parts = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
    let there = parts.iter().filter(|name| std::path::Path::new("/proc").join(name).exists());
    let expected: Vec<String> = there.map(|name| format!(" /proc/{name} proc ro,nosuid,nodev,noexec\n")).collect();
    let mounts = "grep -o ' /proc/[a-z-]* proc ro,nosuid,nodev,noexec' /proc/self/mounts";
    world.hostel(["exec", "web", "--", "sh", "-c", mounts]).ok().stdout(&expected.concat());
    destroy(world, "web");
}

/// What an init does that keeps services apart: everything into a cgroup of its own, controllers handed down, limits.
const DIVIDES: &str = r#"cd /sys/fs/cgroup; mkdir rest part
for pid in $(cat cgroup.procs); do echo $pid > rest/cgroup.procs; done
echo '+memory +pids' > cgroup.subtree_control
echo 16M > part/memory.max; echo 0 > part/memory.swap.max
sh -c 'echo $$ > part/cgroup.procs; exec dd if=/dev/zero of=/dev/null bs=40M count=1'; echo "limited $?" >> /told
sh -c 'exec dd if=/dev/zero of=/dev/null bs=40M count=1'; echo "free $?" >> /told
sh -c 'exec dd if=/dev/zero of=/dev/null bs=200M count=1'; echo "over the guest's own $?" >> /told
for knob in memory.max memory.swap.max memory.high memory.min pids.max cpu.max cpu.weight cgroup.type cgroup.freeze; do
  echo max > $knob 2> /dev/null && echo "raised $knob" >> /told; done
for above in .. ../.. ../keeper ../entered; do
  (echo 1 > $above/cgroup.procs) 2> /dev/null && echo "moved to $above" >> /told; done
mkdir -p /mnt; mount -t cgroup2 none /mnt 2> /dev/null && echo mounted >> /told
echo end >> /told"#;

fn an_own_init_limits_its_services_below_its_own_limits(world: &World) {
    let more = format!(
        "init = \"/sbin/init\", limits = {{ memory = \"96M\", swap = 0, pids = 64 }}, files = {{ [\"/divides\"] = [==[{DIVIDES}]==],
         [\"/etc/inittab\"] = \"::sysinit:/bin/sh /divides\\n::respawn:/bin/sleep 1000\\n\" }},"
    );
    running(world, "web", 0, &more);
    let root = root_of(world, "web");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    assert!(eventually(Duration::from_secs(20), || read("told").ends_with("end\n")), "{}", read("told"));
    assert_eq!(read("told"), "limited 137\nfree 0\nover the guest's own 137\nend\n");

    let host = crate::support::hierarchies().into_iter().find(|h| h.is_v2).unwrap().mount;
    let own = host.join(&world.cgroup).join(format!("x{}", world.xid(0)));
    let knob = |name: &str| std::fs::read_to_string(own.join(name)).unwrap();
    assert_eq!((knob("memory.max"), knob("pids.max")), (format!("{}\n", 96 << 20), "64\n".to_owned()));
    // Every process is still below it, and limits change while the guest has its own.
    assert_eq!(knob("cgroup.procs"), "");
    world.hostel(["set", "web", "memory=80M"]).ok();
    assert_eq!(knob("memory.max"), format!("{}\n", 80 << 20));
    world.hostel(["exec", "web", "--", "true"]).ok();
    destroy(world, "web");
}
