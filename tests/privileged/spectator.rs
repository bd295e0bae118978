//! The spectator, context 1: sees every process of the host and of every guest, and has power over none.

use crate::support::{World, tests};

tests! {
    [Root, Cgroup2, Bpf, Busybox] => it_sees_a_guests_process_and_every_way_to_touch_it_is_refused,
    [Root, Cgroup2, Bpf] => it_has_no_capability_over_the_host,
    [Root, Cgroup2, Bpf, Busybox] => it_sees_all_guests_without_a_capability_of_its_own,
    [Root, Cgroup2, Bpf] => who_joins_a_spectator_has_none_either,
    [Root, Cgroup2, Bpf] => capabilities_are_refused_to_it,
    [Root, Cgroup2, Bpf] => there_may_be_several_and_they_cannot_touch_each_other,
}

/// Tries every way to signal, trace or change a process, and prints what each gave.
const TRY: &str = r#"
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
target = int(sys.argv[1])
print("seen", os.path.isdir(f"/proc/{target}"), open(f"/proc/{target}/comm").read().strip())
def call(name, number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(number, *args)
    print(name, os.strerror(ctypes.get_errno()) if result == -1 else "DONE")
def attempt(name, what):
    try:
        what()
        print(name, "DONE")
    except OSError as error:
        print(name, os.strerror(error.errno))
call("kill", 62, target, 9)
call("tkill", 200, target, 9)
call("tgkill", 234, target, target, 9)
info = (ctypes.c_int * 32)(9, 0, -1)
call("sigqueue", 129, target, 9, info)
pidfd = libc.syscall(434, target, 0)
call("pidfd_send_signal", 424, pidfd, 9, None, 0)
call("pidfd_getfd", 438, pidfd, 0, 0)
call("ptrace", 101, 16, target, None, None)
call("seize", 101, 0x4206, target, None, None)
word = ctypes.create_string_buffer(8)
class Vec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
local, remote = Vec(ctypes.addressof(word), 8), Vec(0x400000, 8)
call("process_vm_readv", 310, target, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
call("process_vm_writev", 311, target, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
call("setpriority", 141, 0, target, 5)
call("prlimit", 302, target, 7, (ctypes.c_ulong * 2)(1, 1), None)
call("sched_setaffinity", 203, target, 8, ctypes.byref(ctypes.c_ulong(1)))
call("setns", 308, pidfd, 0x00020000)
for file in ["oom_score_adj", "comm", "mem", "clear_refs", "attr/current", "coredump_filter", "timerslack_ns"]:
    attempt("write " + file, lambda: os.close(os.open(f"/proc/{target}/{file}", os.O_WRONLY)))
for file in ["environ", "maps", "fd", "root", "cwd", "exe"]:
    path = f"/proc/{target}/{file}"
    attempt("read " + file, lambda: os.listdir(path) if file in ("fd", "root", "cwd") else os.close(os.open(path, os.O_RDONLY)))
"#;

fn it_sees_a_guests_process_and_every_way_to_touch_it_is_refused(world: &World) {
    let recipe = world.file(
        "seen.lua",
        &format!(
            r#"guest "seen" {{ image = "busybox", xid = {}, services = {{ target = {{ exec = {{ "sleep", "1000" }} }} }} }}"#,
            world.xid(0)
        ),
    );
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
    let status = world.hostel(["status", "seen", "--json"]).ok().stdout;
    let pid = status.split("\"pid\":").nth(1).and_then(|rest| rest.split([',', '}']).next()).unwrap();
    let pid = pid.trim();
    let tried = world.hostel(["context", "--xid", "1", "--", "python3", "-c", TRY, pid]).ok().stdout_has("seen True");
    // Every line but the first is a refusal.
    let done: Vec<&str> = tried.stdout.lines().filter(|line| line.ends_with("DONE")).collect();
    assert_eq!(done, Vec::<&str>::new(), "{}", tried.stdout);
    assert_eq!(tried.stdout.lines().count(), 28, "{}", tried.stdout);
    // It still runs.
    let again = world.hostel(["status", "seen", "--json"]).ok().stdout;
    assert!(again.contains(pid), "{again}");
    world.hostel(["destroy", "seen", "--force"]).ok();
}

fn it_has_no_capability_over_the_host(world: &World) {
    let line = "hostname changed 2>&1; date -s 2001-01-01 2>&1; echo 1 > /proc/sys/kernel/sysrq; echo alive";
    let tried = world.hostel(["context", "--xid", "1", "--", "sh", "-c", line]).run();
    tried.stdout_has("alive");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_ne!(host.trim(), "changed");
}

/// What a root of a user namespace could do with the capabilities in it. Some of these the filter lets pass, so that it is
/// the missing capability that is seen.
const GAIN: &str = r#"
import ctypes, os, re
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*args)
    print(name, *[a for a in args if a], os.strerror(ctypes.get_errno()) if result == -1 else "DONE")
status = open("/proc/self/status").read()
print(*re.findall(r"^(?:Cap...|Seccomp):\s*(\w+)", status, re.M))
call("mount", b"none", b"/mnt", b"tmpfs", 0, None)
call("mount", b"/", b"/mnt", None, 4096, None)
call("mount", b"none", b"/proc", None, 32 | 4096, None)
call("umount2", b"/proc", 2)
call("chroot", b"/mnt")
call("unshare", 0x20000)
call("unshare", 0x10000000)
call("setns", os.open("/proc/self/ns/user", os.O_RDONLY), 0)
call("sethostname", b"changed", 7)
call("ptrace", 16, 1, None, None)
call("kill", 1, 9)
call("setgroups", 1, (ctypes.c_int * 1)(1))
call("prctl", 47, 2, 21, 0, 0)
header, data = (ctypes.c_int * 2)(0x20080522, 0), (ctypes.c_uint * 6)(0xffffffff, 0xffffffff, 0, 0x1ff, 0x1ff, 0)
ctypes.set_errno(0)
print("capset", os.strerror(ctypes.get_errno()) if libc.capset(header, data) else "DONE")
call("setgid", 1)
call("setuid", 1)
"#;

/// No capability in any set, and a filter.
const BARE: &str = "0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000 2\n";

/// What [`GAIN`] has printed: every line but the first is a refusal of the kernel.
fn gained_nothing(printed: &str) {
    let rest = printed.strip_prefix(BARE).unwrap_or_else(|| panic!("{printed}"));
    let refused = |line: &&str| line.ends_with("Operation not permitted");
    let others: Vec<&str> = rest.lines().filter(|line| !refused(line)).collect();
    assert_eq!(others, Vec::<&str>::new(), "{printed}");
    assert_eq!(rest.lines().count(), 16, "{printed}");
}

fn it_sees_all_guests_without_a_capability_of_its_own(world: &World) {
    for (number, name) in ["one", "two"].into_iter().enumerate() {
        let nap = format!("services = {{ nap = {{ exec = {{ \"sleep\", \"100{number}\" }} }} }},");
        crate::life::running(world, name, u32::try_from(number).unwrap(), &nap);
    }
    let seen = world.hostel(["context", "--xid", "1", "--", "ps", "ax", "-o", "args"]).ok().stdout;
    for line in ["sleep 1000", "sleep 1001"] {
        assert!(seen.lines().any(|seen| seen == line), "{seen}");
    }
    gained_nothing(&world.hostel(["context", "--xid", "1", "--", "python3", "-c", GAIN]).ok().stdout);
    // A program of the host's that has capabilities in its file is not executed where none may be had (`capabilities(7)`).
    let program = world.dir.join("look");
    std::fs::copy("/bin/busybox", &program).unwrap();
    let mark = "import os, struct, sys; os.setxattr(sys.argv[1], 'security.capability', struct.pack('<5I', 0x2000001, 0xffffffff, 0, 0x1ff, 0))";
    crate::support::tool("python3", ["-c".as_ref(), mark.as_ref(), program.as_os_str()]).ok();
    world.hostel(["context", "--xid", "1", "--", program.to_str().unwrap(), "true"]).run().code(126).stderr_has("EPERM");
    for name in ["one", "two"] {
        crate::life::destroy(world, name);
    }
}

fn who_joins_a_spectator_has_none_either(world: &World) {
    let spectator = ["context", "--xid", "1", "--", "sh", "-c", "echo ready; grep -o '/x[0-9][0-9]*' /proc/self/cgroup | head -1; exec sleep 1000"];
    let mut spectator = world.hostel(spectator).spawn();
    let told = spectator.wait_stdout("/x");
    let number = told.split("/x").nth(1).unwrap().trim().to_owned();
    gained_nothing(&world.hostel(["context", "--join", &number, "--", "python3", "-c", GAIN]).ok().stdout);
    spectator.signal(nix::sys::signal::Signal::SIGTERM);
    spectator.wait().code(128 + 15);
}

fn capabilities_are_refused_to_it(world: &World) {
    for caps in [["--cap-keep", "sys_admin"], ["--cap-drop", "chown"], ["--cap-only", "kill"]] {
        let argv = [&["context", "--xid", "1"][..], &caps, &["--", "true"]].concat();
        world.hostel(argv).run().code(125).stdout("").stderr(
            "error: a spectator has no capabilities\n\
             hint: it sees every process without; leave the capabilities out, or take another context id\n",
        );
    }
    world.hostel(["context", "--xid", "1", "--cap-only", "none", "--", "true"]).ok();
}

fn there_may_be_several_and_they_cannot_touch_each_other(world: &World) {
    let first = ["context", "--xid", "1", "--", "sh", "-c", "echo ready; exec sleep 1000"];
    let mut first = world.hostel(first).spawn();
    first.wait_stdout("ready");
    // `ps` of the second has the command of the first, and so has a third at the same time.
    let look = || world.hostel(["context", "--xid", "1", "--", "ps", "ax", "-o", "pid,args"]).spawn();
    let (second, third) = (look(), look());
    let second = second.wait().code(0).stderr("");
    third.wait().code(0).stderr("").stdout_has("sleep 1000");
    let line = second.stdout.lines().find(|line| line.ends_with(" sleep 1000")).expect("it sees the first");
    let pid = line.split_whitespace().next().unwrap();
    let tried = world.hostel(["context", "--xid", "1", "--", "python3", "-c", TRY, pid]).ok().stdout_has("seen True");
    let done: Vec<&str> = tried.stdout.lines().filter(|line| line.ends_with("DONE")).collect();
    assert_eq!(done, Vec::<&str>::new(), "{}", tried.stdout);
    assert_eq!(tried.stdout.lines().count(), 28, "{}", tried.stdout);
    first.signal(nix::sys::signal::Signal::SIGTERM);
    first.wait().code(128 + 15);
}
