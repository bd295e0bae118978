//! `hostel context`, `bind`, `chroot`, `caps` and `limit`, alone and stacked.

use crate::support::{World, binary, tests};

tests! {
    [Root, Cgroup2] => exit_codes_are_those_of_the_command,
    [Root, Cgroup2] => a_context_is_all_that_was_asked_for,
    [Root, Cgroup2] => capabilities_are_gone_for_good,
    [Root, Cgroup2] => a_limit_holds,
    [Root, Cgroup2] => a_new_root_cannot_be_left,
    [Root, Cgroup2] => primitives_stack,
    [Root, Cgroup2] => a_timeout_ends_the_command,
}

fn exit_codes_are_those_of_the_command(world: &World) {
    let context = |command: &[&str]| world.hostel(["context", "--"].iter().chain(command)).run();
    context(&["sh", "-c", "exit 7"]).code(7).stderr("");
    context(&["sh", "-c", "kill -9 $$"]).code(137).stderr("");
    context(&["nosuch-command"])
        .code(127)
        .stderr("error: context: run nosuch-command: `nosuch-command`: ENOENT (no such file or directory)\n");
    context(&["/etc/passwd"])
        .code(126)
        .stderr("error: context: run /etc/passwd: `/etc/passwd`: EACCES (permission denied)\n");
    world
        .hostel(["context", "--chroot", "/nonexistent", "--", "true"])
        .run()
        .code(125)
        .stderr_has("`/nonexistent`");
}

fn a_context_is_all_that_was_asked_for(world: &World) {
    let line = "hostname; id -u; cat /proc/sys/kernel/pid_max > /dev/null; echo $$";
    world
        .hostel(["context", "--isolate", "all", "--hostname", "bar", "--", "sh", "-c", line])
        .ok()
        .stdout("bar\n0\n1\n");
}

fn capabilities_are_gone_for_good(world: &World) {
    let status = |args: &[&str], set: &str| {
        let all = ["caps"].iter().chain(args).chain(&["--", "grep"]);
        world.hostel(all.chain(&[set, "/proc/self/status"])).ok().stdout
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&["--only", "none"], set), format!("{set}:\t0000000000000000\n"));
    }
    assert_eq!(status(&["--only", "chown,kill"], "CapBnd"), "CapBnd:\t0000000000000021\n");
}

fn a_limit_holds(world: &World) {
    world
        .hostel(["limit", "nofile=99:100", "nice=5", "--", "sh", "-c", "ulimit -Sn; ulimit -Hn; nice"])
        .ok()
        .stdout("99\n100\n5\n");
}

fn a_new_root_cannot_be_left(world: &World) {
    let root = world.dir.join("tree");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let tree = root.to_str().unwrap();
    world
        .hostel(["chroot", tree, "--", "/bin/busybox", "ls", "/../../.."])
        .ok()
        .stdout_has("bin\n");
    let line = "cd /proc/1/root 2>/dev/null; /bin/busybox ls /etc/passwd";
    world.hostel(["chroot", tree, "--", "/bin/busybox", "sh", "-c", line]).run().code(1);
}

fn primitives_stack(world: &World) {
    let hostel = binary();
    let hostel = hostel.to_str().unwrap();
    world
        .hostel(["limit", "nofile=77", "--", hostel, "caps", "--only", "chown", "--", "sh", "-c", "ulimit -n"])
        .ok()
        .stdout("77\n");
}

fn a_timeout_ends_the_command(world: &World) {
    world
        .hostel(["context", "--timeout", "200ms", "--", "sleep", "60"])
        .run()
        .code(124)
        .stderr("");
}
