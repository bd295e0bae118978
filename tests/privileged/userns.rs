//! `userns = false`: the guest's root is the host's root, and what a user namespace would hold is held otherwise.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::debian_services::debian;
use crate::life::{destroy, recipe, running};
use crate::support::{World, binary as world_binary, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => its_root_is_the_hosts_with_fewer_capabilities,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => calls_that_would_be_the_hosts_are_refused,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => no_program_of_hostels_can_be_overwritten,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => what_executes_a_program_of_its_own_is_not_the_hosts,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => settings_of_the_kernel_cannot_be_written,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => signals_reach_its_own_processes_alone,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => devices_are_out_of_reach,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => an_own_init_writes_no_cgroup_but_its_own,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("nsenter")] => the_device_filter_alone_keeps_devices_closed,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("iptables")] => a_file_that_sets_the_hosts_firewall_keeps_it_off_the_hosts_stack,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => what_would_be_the_hosts_is_refused_by_name,
}

/// With its files where a test can look at them and put some.
const SHARED: &str = "userns = false, storage = \"dir\",";

fn sh(world: &World, script: &str) -> String {
    world.hostel(["exec", "web", "--", "sh", "-c", script]).ok().stdout
}

fn its_root_is_the_hosts_with_fewer_capabilities(world: &World) {
    running(world, "web", 0, SHARED);
    assert_eq!(sh(world, "cat /proc/self/uid_map | tr -s ' '"), " 0 0 4294967295\n");
    let status = sh(world, "grep -E '^(Groups|CapInh|CapPrm|CapBnd|CapAmb|Seccomp):' /proc/self/status");
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, sys_chroot, audit_write, setfcap.
    let caps = "00000000a00405fb";
    let expected = format!(
        "Groups:\t \nCapInh:\t0000000000000000\nCapPrm:\t{caps}\nCapBnd:\t{caps}\nCapAmb:\t0000000000000000\nSeccomp:\t2\n"
    );
    assert_eq!(status, expected);
    // As process 1 has them.
    let first = sh(world, "grep -E '^(Groups|CapInh|CapPrm|CapBnd|CapAmb|Seccomp):' /proc/1/status");
    assert_eq!(first, expected);
    // Its files have the ids that they have on the host, and what it makes is root's.
    sh(world, "touch /mine && chown 7:8 /mine");
    let meta = fs::metadata(world.root.join("guests/web/rootfs/mine")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (7, 8));
    world.hostel(["audit", "web"]).run().code(1).stdout_has("loosened   no user namespace: its root is the host's");
    destroy(world, "web");
}

/// Calls by number on x86-64 and aarch64.
const CALLS: &str = r#"
use Errno; use POSIX ();
my $arm = (POSIX::uname())[4] eq "aarch64";
sub call { my ($name, $x86, $arm_number, @args) = @_; $! = 0;
  my $done = syscall($arm ? $arm_number : $x86, @args);
  print "$name ", ($done >= 0 ? "ALLOWED" : $!{EPERM} ? "EPERM" : $!{ENOSYS} ? "ENOSYS" : $!{ENOTTY} ? "ENOTTY" : 0 + $!), "\n" }
call("open_by_handle_at", 304, 265, 3, "x" x 64, 0);
call("kexec_load", 246, 104, 0, 0, 0, 0);
call("kexec_file_load", 320, 294, 0, 0, 0, 0, 0);
call("ptrace", 101, 117, 16, 1, 0, 0);
call("process_vm_readv", 310, 270, 1, 0, 0, 0, 0, 0);
call("mount", 165, 40, "none", "/mnt", "tmpfs", 0, 0);
call("mount cgroup", 165, 40, "none", "/mnt", "cgroup", 0, "memory");
call("fsopen", 430, 430, "cgroup", 0);
call("open_tree", 428, 428, -100, "/", 1);
call("move_mount", 429, 429, -100, "/", -100, "/mnt", 0);
call("setns", 308, 268, 0, 0);
call("unshare", 272, 97, 0x10000000);
call("clone", 56, 220, 0x10000011, 0, 0, 0, 0);
call("clone3", 435, 435, pack("Q8", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64);
call("add_key", 248, 217, "user", "k", "v", 1, -1);
call("keyctl", 250, 219, 0, -3, 0, 0, 0);
call("request_key", 249, 218, "user", "k", "", -1);
call("init_module", 175, 105, "x" x 64, 64, "");
call("bpf", 321, 280, 0, 0, 0);
call("syslog", 103, 116, 3, "x" x 64, 64);
call("clock_settime", 227, 112, 0, pack("qq", 1000000000, 0));
call("swapon", 167, 224, "/etc/hostname", 0);
call("acct", 163, 89, "/etc/hostname");
call("file_setattr", 469, 469, -100, "/tmp", "x" x 64, 24, 0);
open(my $file, "<", "/etc/hostname");
call("FSSETXATTR", 16, 29, fileno($file), 0x401c5820, "x" x 28);
"#;

fn calls_that_would_be_the_hosts_are_refused(world: &World) {
    let recipe = debian(world, "web", SHARED);
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
    let told = world.hostel(["exec", "web", "--", "perl", "-"]).stdin(CALLS).ok().stdout;
    let may_lack = ["clone3", "init_module", "kexec_load", "kexec_file_load", "file_setattr"];
    let is_refused = |line: &str| {
        let (name, answer) = line.rsplit_once(' ').unwrap();
        // The file system under it has the request: it is the filter that says it has not.
        let refused = if name == "FSSETXATTR" { "ENOTTY" } else { "EPERM" };
        answer == refused || (answer == "ENOSYS" && may_lack.contains(&name))
    };
    let wrong: Vec<&str> = told.lines().filter(|line| !is_refused(line)).collect();
    assert!(wrong.is_empty(), "{told}");
    assert_eq!(told.lines().count(), 25, "{told}");
    assert!(told.contains("clone3 ENOSYS\n"), "{told}");
    // Programs with threads work all the same.
    let threads = "seq 400000 | sort -n --parallel=4 | tail -1";
    world.hostel(["exec", "web", "--", "sh", "-c", threads]).ok().stdout("400000\n");
    destroy(world, "web");
}

fn hash(path: &Path) -> Vec<u8> {
    Sha256::digest(fs::read(path).unwrap()).to_vec()
}

fn no_program_of_hostels_can_be_overwritten(world: &World) {
    // A copy, so that a test that fails hurts nobody.
    let binary = world.dir.join("hostel");
    fs::copy(world_binary(), &binary).unwrap();
    let before = hash(&binary);
    let overwrite = "while :; do for p in /proc/[0-9]*; do n=${p#/proc/}; case $n in $$) ;; *) (printf x >/proc/$n/exe) 2>/dev/null && echo \
        $n >>/written; esac; done; : >/tried; done";
    running(world, "web", 0, &format!("userns = false,\n services = {{ over = {{ exec = {{ \"sh\", \"-c\", {overwrite:?} }} }} }},"));
    sh(world, "until [ -e /tried ]; do sleep 0.05; done");
    for _ in 0..20 {
        world.within(tool(&binary, ["exec", "web", "--", "true"])).ok();
    }
    // Process 1 is a sealed file in memory, and says so.
    let refused = world.hostel(["exec", "web", "--", "sh", "-c", "printf x >/proc/1/exe"]).run();
    assert_ne!(refused.status, 0, "{refused}");
    assert_eq!(hash(&binary), before);
    // Its own busybox, which other processes run, cannot be written while they do.
    assert_eq!(sh(world, "cat /written 2>/dev/null; true"), "");
    destroy(world, "web");
}

/// A script whose interpreter is whatever executes it (CVE-2019-5736): were that hostel's program, its file could be opened
/// while it runs and be written when it has ended. 126 is what the handover says to that, and nothing else does.
fn what_executes_a_program_of_its_own_is_not_the_hosts(world: &World) {
    running(world, "web", 0, SHARED);
    sh(world, "printf '#!/proc/self/exe --version\n' >/self; printf '#!/proc/self/exe\n' >/bare; chmod 755 /self /bare");
    for script in ["/self", "/bare"] {
        world.hostel(["exec", "web", "--", script]).run().code(126).stdout("").stderr("");
    }
    // The same by a login shell.
    sh(world, "sed -i 's,^\\(root:.*:\\)[^:]*$,\\1/self,' /etc/passwd");
    world.hostel(["enter", "web"]).stdin("").run().code(126).stdout("").stderr("");
    destroy(world, "web");
}

fn settings_of_the_kernel_cannot_be_written(world: &World) {
    for init in ["", "init = \"/sbin/init\","] {
        settings_cannot_be_written(world, &format!("{SHARED} {init}"));
    }
}

fn settings_cannot_be_written(world: &World, more: &str) {
    running(world, "web", 0, more);
    let paths = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/swappiness",
        "/proc/sysrq-trigger",
        "/proc/mtrr",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/ksm/run",
    ];
    for path in paths.iter().filter(|path| Path::new(path).exists()) {
        let before = fs::read(path).ok();
        // What is there is written again, so that nothing changes should it work.
        let script = format!("v=$(cat {path} 2>/dev/null); printf '%s' \"$v\" >{path}");
        let out = world.hostel(["exec", "web", "--", "sh", "-c", &script]).run();
        // Under an own init what is hidden is `/dev/null`, which takes what is written.
        assert!(out.status != 0 || *path == "/proc/mtrr", "{path}: {out}");
        assert_eq!(fs::read(path).ok(), before, "{path}");
    }
    // What root alone reads of the kernel is empty or not to be read.
    for name in ["kcore", "kallsyms", "slabinfo", "kpageflags", "kpagecount", "vmallocinfo", "pagetypeinfo", "timer_list", "kmsg"] {
        let out = world.hostel(["exec", "web", "--", "sh", "-c", &format!("head -c 64 /proc/{name} 2>/dev/null; true")]).ok();
        out.stdout("");
    }
    destroy(world, "web");
}

fn signals_reach_its_own_processes_alone(world: &World) {
    running(world, "web", 0, SHARED);
    let witness = tool("sleep", ["1000"]).spawn();
    let number = witness.pid();
    let out = world.hostel(["exec", "web", "--", "sh", "-c", &format!("kill -9 {number}")]).run();
    assert_ne!(out.status, 0, "{out}");
    // All of the host's root, as far as it can see.
    world.hostel(["exec", "web", "--", "sh", "-c", "kill -9 -1; renice 19 -u 0 >/dev/null; true"]).run();
    assert!(Path::new(&format!("/proc/{number}")).exists());
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
    let nice = stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().to_owned();
    assert_eq!(nice, "0", "{stat}");
    witness.signal(nix::sys::signal::Signal::SIGKILL);
    witness.wait();
    destroy(world, "web");
}

fn devices_are_out_of_reach(world: &World) {
    running(world, "web", 0, SHARED);
    for node in ["mknod /disk b 7 0", "mknod /mem c 1 1", "mknod /dev/mem c 1 1"] {
        let out = world.hostel(["exec", "web", "--", "sh", "-c", node]).run();
        assert_ne!(out.status, 0, "{node}: {out}");
    }
    // One that somebody else has put there does not open.
    let planted = world.root.join("guests/web/rootfs/planted");
    tool("mknod", [planted.as_os_str(), "c".as_ref(), "1".as_ref(), "5".as_ref()]).ok();
    let out = world.hostel(["exec", "web", "--", "head", "-c", "1", "/planted"]).run();
    assert_ne!(out.status, 0, "{out}");
    sh(world, "head -c 1 /dev/zero >/dev/null && : >/dev/null");
    fs::remove_file(planted).unwrap();
    destroy(world, "web");
}

/// What the host's root puts into the guest's mounts, where neither `nodev` nor a missing capability is in the way.
fn the_device_filter_alone_keeps_devices_closed(world: &World) {
    running(world, "web", 0, SHARED);
    let status = world.hostel(["status", "web", "--json"]).ok().stdout;
    let pid = status.split("\"pid\": ").nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap().to_owned();
    let script = "mkdir -p /mnt && mount -t tmpfs none /mnt && mknod -m 666 /mnt/kmsg c 1 11 && mknod -m 666 /mnt/mem c 1 1 && \
        mknod -m 666 /mnt/zero c 1 5 && mknod -m 666 /mnt/loop b 7 0";
    tool("nsenter", ["--target", &pid, "--mount", "busybox", "sh", "-c", script]).ok();
    // There is nothing but the filter in the way: the harmless one opens.
    sh(world, "test \"$(head -c 1 /mnt/zero | wc -c)\" -eq 1");
    for node in ["kmsg", "mem", "loop"] {
        let out = world.hostel(["exec", "web", "--", "dd", &format!("if=/mnt/{node}"), "of=/dev/null", "bs=1", "count=1"]).run();
        out.code(1).stderr_has("Operation not permitted");
    }
    destroy(world, "web");
}

/// `xt_recent` has a file for each of its lists, which root may write.
fn a_file_that_sets_the_hosts_firewall_keeps_it_off_the_hosts_stack(world: &World) {
    tool("iptables", ["-A", "INPUT", "-m", "recent", "--name", "hostel", "--set"]).ok();
    let file = recipe(world, "web", 0, SHARED);
    let refused = world.hostel(["apply".as_ref(), file.as_os_str()]).run().code(1);
    refused.stderr_has("`userns = false` on the host's network: its root could write `").stderr_has("xt_recent/hostel`");
    // With ids of its own it can read the file and not write it, and without the file nothing is in the way.
    running(world, "own", 1, "");
    let out = world.hostel(["exec", "own", "--", "sh", "-c", "echo / >/proc/net/xt_recent/hostel"]).run();
    assert_ne!(out.status, 0, "{out}");
    tool("iptables", ["-F", "INPUT"]).ok();
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    destroy(world, "web");
    destroy(world, "own");
}

fn an_own_init_writes_no_cgroup_but_its_own(world: &World) {
    let recipe = debian(world, "web", "userns = false,\n init = \"/lib/systemd/systemd\", limits = { pids = 300 },");
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).deadline(120).ok();
    // What it sees is its own, and above it there is nothing.
    assert_eq!(sh(world, "cat /proc/1/cgroup | grep ^0::").trim(), "0::/init.scope");
    assert_eq!(sh(world, "ls -d /sys/fs/cgroup/../../../sys/fs/cgroup/hostel* 2>/dev/null; ls -d /sys/fs/cgroup/x* 2>/dev/null; true"), "");
    let limits = world.hostel(["status", "web", "--json"]).ok().stdout;
    sh(world, "for f in pids.max memory.max cpu.max; do echo max >/sys/fs/cgroup/$f; done 2>/dev/null; true");
    let now = world.hostel(["status", "web", "--json"]).ok().stdout;
    let pids = |text: &str| text.lines().find(|line| line.contains("\"pids\"")).map(str::to_owned);
    assert!(pids(&limits).is_some());
    assert_eq!(pids(&now), pids(&limits));
    // No hierarchy of version 1, whose release agent would run on the host.
    assert_eq!(sh(world, "find / -xdev -name release_agent 2>/dev/null; true"), "");
    world.hostel(["stop", "--timeout", "60s", "web"]).deadline(90).ok();
    world.hostel(["destroy", "web"]).deadline(120).ok();
}

fn what_would_be_the_hosts_is_refused_by_name(world: &World) {
    for (more, message) in [
        ("caps = { keep = { \"sys_admin\" } },", "with `userns = false`, `sys_admin` would be the host's"),
        ("allow = { \"nested\" },", "with `userns = false`, `nested` would be the host's"),
        ("allow = { \"ping\" },", "with `userns = false`, `ping` would be the host's"),
    ] {
        let recipe = recipe(world, "web", 0, &format!("userns = false,\n  {more}"));
        world.hostel(["check".as_ref(), recipe.as_os_str()]).run().code(1).stderr_has(message);
    }
}
