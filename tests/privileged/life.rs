//! The life of a guest: apply, start, stop, exec, enter, ls, status, destroy.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Need, World, eventually, hierarchies, remove_cgroup, tests, tool};

tests! {
    [Root, Cgroup2, Busybox] => nothing_is_mounted_on_a_host_that_shares_its_mounts,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_lives_and_goes,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => exit_codes_pass_through,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_has_its_own_names_and_processes,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_second_start_is_refused_and_a_second_stop_is_not,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_whose_processes_were_killed_starts_again,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => guests_come_back_when_the_host_was_off,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => two_commands_at_once_take_turns,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_caller_gives_nothing_but_its_streams,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => pause_and_resume,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => kill_sends_a_signal,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("script")] => enter_has_a_terminal,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_second_apply_does_nothing,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_without_a_network_has_its_loopback,
}

/// A busybox guest of the given name, with `more` in its recipe.
pub(crate) fn recipe(world: &World, name: &str, number: u32, more: &str) -> PathBuf {
    let xid = world.xid(number);
    let address = world.address(u8::try_from(number).unwrap() + 1);
    // The kernels that cannot scope abstract sockets are told that this is accepted.
    let shared = Need::LandlockScopes.probe().is_err();
    let net = format!("{{ mode = \"bind\", address = {{ \"{address}/8\" }}, shared_abstract_sockets = {shared} }}");
    let text = format!("guest \"{name}\" {{\n  image = \"busybox\",\n  xid = {xid},\n  net = {net},\n  {more}\n}}\n");
    world.file(&format!("{name}.lua"), &text)
}

/// Applied, so that it runs.
pub(crate) fn running(world: &World, name: &str, number: u32, more: &str) {
    let recipe = recipe(world, name, number, more);
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
}

/// The root of a guest that runs, as it sees it: to read, for the host's root owns nothing there.
pub(crate) fn root_of(world: &World, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root", pid_of(world, name)))
}

/// Process 1 of a guest that runs, by the host's number.
pub(crate) fn pid_of(world: &World, name: &str) -> i64 {
    let status = world.hostel(["status", name, "--json"]).ok().stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["pid"].as_i64().unwrap()
}

/// The attacker, as a program of a guest that runs: `/attack`.
pub(crate) fn bring_attacker(world: &World, name: &str) {
    let argv = ["exec", name, "--", "sh", "-c", "cat >/attack && chmod 755 /attack"];
    world.hostel(argv).stdin(hostel::selftest::ATTACKER).ok();
}

/// A recipe of the guest `web` without services, whose files are kept as `storage`.
pub(crate) fn plain(world: &World, storage: &str) -> PathBuf {
    let text = format!("guest \"web\" {{ image = \"busybox\", xid = {}, storage = \"{storage}\" }}\n", world.xid(0));
    world.file("web.lua", &text)
}

/// That a guest runs and does what it is told.
pub(crate) fn works(world: &World, name: &str) {
    world.hostel(["exec", name, "-T", "--", "busybox", "true"]).ok();
}

pub(crate) fn destroy(world: &World, name: &str) {
    world.hostel(["destroy", "--force", name]).ok();
}

fn a_guest_lives_and_goes(world: &World) {
    running(world, "web", 0, "");
    world.hostel(["ls", "--quiet"]).ok().stdout("web\n").stderr("");
    world.hostel(["ls"]).ok().stdout_has("running");
    world.hostel(["exec", "web", "--", "true"]).ok().stdout("").stderr("");

    world.hostel(["stop", "web"]).ok();
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("").stderr("");
    world.hostel(["ls"]).ok().stdout_has("stopped");
    world.hostel(["exec", "web", "--", "true"]).run().code(125).stdout("").stderr_has("web");

    world.hostel(["start", "web"]).ok();
    world.hostel(["exec", "web", "--", "true"]).ok();
    destroy(world, "web");
    world.hostel(["ls", "--quiet"]).ok().stdout("").stderr("");
    assert!(!world.root.join("guests/web").exists());
}

fn exit_codes_pass_through(world: &World) {
    running(world, "web", 0, "");
    let sh = |script: &str| world.hostel(["exec", "web", "--", "sh", "-c", script]).run();
    sh("exit 7").code(7).stdout("").stderr("");
    sh("echo out; echo err >&2").code(0).stdout("out\n").stderr("err\n");
    sh("kill -TERM $$").code(128 + 15);
    world.hostel(["exec", "web", "--", "no-such-program"]).run().code(127).stdout("");
    world.hostel(["exec", "web", "--", "/etc"]).run().code(126).stdout("");
    world.hostel(["exec", "web", "--", "sh", "-c", "printf '\\0\\0' >/tmp/odd; chmod +x /tmp/odd"]).ok();
    world.hostel(["exec", "web", "--", "/tmp/odd"]).run().code(126).stderr_has("ENOEXEC").stderr_has("another processor needs `arch`");
    world.hostel(["exec", "nobody", "--", "true"]).run().code(125).stdout("");
    world.hostel(["exec", "web"]).run().code(125).stdout("");
    destroy(world, "web");
}

fn a_guest_has_its_own_names_and_processes(world: &World) {
    running(world, "web", 0, "storage = \"dir\", hostname = \"web.example.net\",");
    let run = |argv: &[&str]| world.hostel(["exec", "web", "--"].iter().chain(argv)).ok();
    run(&["hostname"]).stdout("web.example.net\n");
    run(&["id", "-u"]).stdout("0\n");
    let processes = run(&["ps", "-o", "pid,args"]).stdout;
    assert!(processes.lines().count() < 8, "{processes}");
    assert!(!processes.contains("cargo"), "{processes}");
    let base = u64::from(world.xid(0)) << 16;
    let map = run(&["cat", "/proc/self/uid_map"]).stdout;
    let map: Vec<u64> = map.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!(map, [0, base, 65536]);
    // Files keep plain ids on disk.
    run(&["touch", "/root/mine"]);
    assert_eq!(fs::metadata(world.root.join("guests/web/rootfs/root/mine")).unwrap().uid(), 0);
    destroy(world, "web");
}

fn a_second_start_is_refused_and_a_second_stop_is_not(world: &World) {
    running(world, "web", 0, "");
    world.hostel(["start", "web"]).run().code(1).stdout("").stderr_has("runs already");
    world.hostel(["stop", "web"]).ok();
    world.hostel(["stop", "web"]).ok();
    world.hostel(["destroy", "web"]).ok();
}

fn a_guest_whose_processes_were_killed_starts_again(world: &World) {
    running(world, "web", 0, "");
    let mount = hierarchies().into_iter().find(|h| h.is_v2).unwrap().mount;
    let group = mount.join(&world.cgroup).join(format!("x{}", world.xid(0)));
    fs::write(group.join("cgroup.kill"), "1").unwrap();
    let is_stopped = || world.hostel(["ls", "--quiet", "--running"]).ok().stdout.is_empty();
    assert!(eventually(Duration::from_secs(5), is_stopped));
    world.hostel(["start", "web"]).ok();
    world.hostel(["exec", "web", "--", "true"]).ok();
    destroy(world, "web");
}

fn guests_come_back_when_the_host_was_off(world: &World) {
    running(world, "web", 0, "autostart = true,");
    running(world, "other", 1, "");
    world.hostel(["exec", "web", "--", "sh", "-c", "echo kept >/srv/file"]).ok();
    // All that the kernel has of hostel goes, as with the power, and nothing tells hostel.
    remove_cgroup(&world.cgroup).unwrap();
    world.hostel(["host", "clear"]).ok();

    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("").stderr("");
    world.hostel(["status", "web"]).ok().stdout_has("stopped").stderr("");
    world.hostel(["start", "--all"]).ok();
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("web\n").stderr("");
    world.hostel(["exec", "web", "--", "cat", "/srv/file"]).ok().stdout("kept\n").stderr("");
    let recipe = world.dir.join("other.lua");
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok().stdout_has("> start other");
    destroy(world, "web");
    destroy(world, "other");
}

fn two_commands_at_once_take_turns(world: &World) {
    running(world, "web", 0, "");
    world.hostel(["stop", "web"]).ok();
    let starts: Vec<_> = (0..4).map(|_| world.hostel(["start", "web"]).spawn()).collect();
    let codes: Vec<i32> = starts.into_iter().map(|start| start.wait().status).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    world.hostel(["exec", "web", "--", "true"]).ok();
    destroy(world, "web");
}

fn a_caller_gives_nothing_but_its_streams(world: &World) {
    running(world, "web", 0, "");
    // Ten descriptors that the caller leaked, and a working directory reached through one of them.
    let script = "exec 3</etc 4</etc 5</etc 6</etc 7</etc 8</etc 9</etc; cd /proc/self/fd/3; \
                  exec \"$0\" exec web -- sh -c 'pwd; ls /proc/self/fd | sort -n | tr \"\\n\" \" \"'";
    let binary = crate::support::binary();
    let out = world.within(tool("sh", ["-c".as_ref(), script.as_ref(), binary.as_os_str()])).ok();
    // `ls` itself has the directory open as 3.
    assert_eq!(out.stdout.split_whitespace().skip(1).collect::<Vec<_>>(), ["0", "1", "2", "3"], "{out}");
    assert!(!out.stdout.contains("etc"), "{out}");
    world
        .hostel(["exec", "web", "--", "env"])
        .env("HOST_SECRET", "x")
        .ok()
        .stdout_has("PATH=")
        .lacks("HOST_SECRET");
    destroy(world, "web");
}

fn pause_and_resume(world: &World) {
    running(world, "web", 0, "");
    world.hostel(["pause", "web"]).ok();
    world.hostel(["ls"]).ok().stdout_has("paused");
    world.hostel(["resume", "web"]).ok();
    world.hostel(["exec", "web", "--", "true"]).ok();
    // A paused guest can be stopped.
    world.hostel(["pause", "web"]).ok();
    world.hostel(["stop", "--kill", "web"]).ok();
    destroy(world, "web");
}

fn kill_sends_a_signal(world: &World) {
    running(world, "web", 0, "services = { nap = { exec = { \"sleep\", \"1000\" }, restart = \"never\" } },");
    let naps = || world.hostel(["exec", "web", "--", "pidof", "sleep"]).run().status == 0;
    assert!(eventually(Duration::from_secs(5), naps));
    destroy(world, "web");
}

fn enter_has_a_terminal(world: &World) {
    running(world, "web", 0, "");
    let hostel = crate::support::binary();
    let command = format!("{} enter web", hostel.display());
    let out = world
        .within(tool("script", ["-qec", &command, "/dev/null"]))
        .stdin("tty; stty size; exit 5\n")
        .run();
    assert!(out.stdout.contains("/dev/pts/") || out.stdout.contains("/dev/console"), "{out}");
    assert_eq!(out.status, 5, "{out}");
    destroy(world, "web");
}

fn a_second_apply_does_nothing(world: &World) {
    let file = recipe(world, "web", 0, "limits = { nofile = 256 },");
    let file = file.as_os_str();
    world.hostel(["plan".as_ref(), file]).run().code(2);
    world.hostel(["apply".as_ref(), file]).ok();
    let pid = |world: &World| world.hostel(["status", "--json", "web"]).ok().stdout;
    let field = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["pid"].clone()
    };
    let before = field(&pid(world));
    world.hostel(["plan".as_ref(), file]).run().code(0);
    world.hostel(["apply".as_ref(), file]).ok();
    assert_eq!(before, field(&pid(world)));
    destroy(world, "web");
}

fn a_guest_without_a_network_has_its_loopback(world: &World) {
    let file = world.file("web.lua", &format!("guest \"web\" {{ image = \"busybox\", xid = {} }}\n", world.xid(0)));
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    world.hostel(["exec", "web", "--", "ip", "address"]).ok().stdout_has("127.0.0.1/8");
    destroy(world, "web");
}

/// systemd makes every mount of the host shared. What a start mounts in the guest's tree must not appear in the
/// host's, where the tree is too.
fn nothing_is_mounted_on_a_host_that_shares_its_mounts(world: &World) {
    tool("mount", ["--make-rshared", "/"]).ok();
    // But for the BPF file system, which hostel mounts for its pins where there is none.
    let mounts = || {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        text.lines().filter(|line| !line.contains(" - bpf ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = mounts();
    // Where there is a user namespace the kernel itself keeps mounts inside from spreading.
    for more in ["", ", userns = false"] {
        let text = format!(r#"guest "shared" {{ image = "busybox", xid = {}{more} }}"#, world.xid(0));
        let recipe = world.file("shared.lua", &text);
        world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
        assert_eq!(mounts(), before, "{more}");
        world.hostel(["exec", "shared", "--", "ls", "/proc/self/fd"]).ok();
        world.hostel(["destroy", "shared", "--force"]).ok();
        assert_eq!(mounts(), before, "{more}");
    }
}
