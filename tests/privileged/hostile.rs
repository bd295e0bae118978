//! A guest whose root is set against the host's commands: what it does to its own files and processes while they look, come in
//! and clear up.

use std::time::Duration;

use crate::life::{bring_attacker, destroy, pid_of, running};
use crate::support::{World, eventually, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("perl")] => leases_on_its_files_keep_nobody_waiting,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => odd_files_in_place_of_its_users_keep_nobody_waiting,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => one_that_reboots_all_the_time_is_joined_as_it_is_confined,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("strace")] => a_number_that_became_the_hosts_is_not_joined,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => its_crashes_are_its_own,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Vm] => its_crashes_run_no_program_of_the_hosts,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => as_many_cgroups_as_it_can_make_go_with_it,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => keys_of_who_starts_it_are_not_its_own,
}

/// `F_SETLEASE` and `F_SETDELEG` of `fcntl(2)`, each with `F_WRLCK`, on a file of the guest's root that it may write.
fn leases_on_its_files_keep_nobody_waiting(world: &World) {
    running(world, "web", 0, "");
    bring_attacker(world, "web");
    let (openat, fcntl) = (nix::libc::SYS_openat, nix::libc::SYS_fcntl);
    let file = "/etc/group".bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let script = format!("{openat} -100 x{file} 2 0\n{fcntl} r0 1024 1\n{fcntl} r0 1040 1\n{fcntl} r0 1 0\n");
    let said = world.hostel(["exec", "web", "--", "/attack"]).stdin(script).ok().stdout;
    let said: Vec<i64> = said.lines().filter_map(|line| line.strip_prefix("= ")?.parse().ok()).collect();
    let refused = -i64::from(nix::libc::EINVAL);
    assert!(said[0] >= 0, "{said:?}");
    assert_eq!(said[1..3], [refused, refused]);
    // `F_GETFD`: the call itself is there.
    assert!(said[3] >= 0, "{said:?}");
    // Where nothing is in its way it is a lease.
    let path = world.file("leased", "x");
    let take = "open(my $f, '+<', $ARGV[0]) or die; print fcntl($f, 1024, 1) ? 'leased' : $!";
    tool("perl", ["-e".as_ref(), take.as_ref(), path.as_os_str()]).ok().stdout("leased");
    destroy(world, "web");
}

fn odd_files_in_place_of_its_users_keep_nobody_waiting(world: &World) {
    running(world, "web", 0, "");
    let sh = |script: &str| world.hostel(["exec", "web", "--", "sh", "-c", script]).run();
    for odd in [
        "mkfifo /etc/passwd /etc/group",
        "ln -s /dev/pts/ptmx /etc/passwd",
        "ln -s /dev/zero /etc/passwd; ln -s /dev/tty /etc/group",
        "ln -s /proc/1/root/etc/passwd /etc/passwd; ln -s group /etc/group",
        "mkdir /etc/passwd /etc/group",
        "dd if=/dev/zero of=/etc/passwd bs=1M count=16 2>/dev/null",
    ] {
        sh(&format!("rm -rf /etc/passwd /etc/group; {odd}")).code(0);
        // A number needs no file, and a name that is nowhere has no user.
        world.hostel(["exec", "web", "--", "grep", "Uid", "/proc/self/status"]).deadline(10).ok().stdout("Uid:\t0\t0\t0\t0\n");
        world.hostel(["exec", "--user", "33", "web", "--", "grep", "Uid", "/proc/self/status"]).deadline(10).ok().stdout("Uid:\t33\t33\t33\t33\n");
        world.hostel(["exec", "--user", "www-data", "web", "--", "true"]).deadline(10).run().code(125).stderr_has("www-data");
    }
    destroy(world, "web");
}

/// Whoever comes in is confined, or does not come in.
fn one_that_reboots_all_the_time_is_joined_as_it_is_confined(world: &World) {
    let boot = r#"init = "/sbin/init", files = { ["/etc/inittab"] = "::sysinit:/bin/sh -c '(sleep 0.2; reboot -f) &'\n::respawn:/bin/sleep 1000\n" },"#;
    running(world, "web", 0, boot);
    let look = "tr -s ' ' </proc/self/uid_map; grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|Seccomp):' /proc/self/status; \
        cat /proc/1/comm; hostname; busybox ls /";
    let first = world.xid(0) << 16;
    let confined = format!(
        " 0 {first} 65536\nCapInh:\t0000000000000000\nCapPrm:\t00000000a04405fb\nCapEff:\t00000000a04405fb\nCapBnd:\t00000000a04405fb\n\
         CapAmb:\t0000000000000000\nSeccomp:\t2\ninit\nweb\n"
    );
    let (mut joined, mut refused) = (0, 0);
    // Until it was met and missed often enough; most of the time it boots.
    let often = || {
        let out = world.hostel(["exec", "web", "--", "sh", "-c", look]).run();
        if out.stdout.is_empty() {
            refused += 1;
            assert_ne!(out.status, 0, "{out}");
        } else {
            joined += 1;
            // It may be ended in the midst of it: what it has told is a beginning of that.
            let told = &out.stdout[..out.stdout.len().min(confined.len())];
            assert!(confined.starts_with(told), "{out}");
        }
        joined >= 10 && refused >= 10
    };
    assert!(eventually(Duration::from_secs(25), often));
    world.hostel(["stop", "web"]).ok();
    destroy(world, "web");
}

/// Process 1 ends after its number was read and before there is a descriptor of it, and a process of the host has the number.
fn a_number_that_became_the_hosts_is_not_joined(world: &World) {
    // With the host's ids: another user namespace could not be joined from where it is, whoever it is.
    running(world, "web", 0, "userns = false,");
    let number = pid_of(world, "web");
    let log = world.dir.join("log");
    let delay = "inject=pidfd_open:delay_enter=10000000:when=1";
    let argv = ["-f", "-qq", "-o", log.to_str().unwrap(), "-e", "trace=pidfd_open", "-e", delay];
    let binary = crate::support::binary();
    let exec = ["exec", "web", "--", "sh", "-c", "echo joined; readlink /proc/self/ns/mnt"];
    let argv = argv.into_iter().map(std::ffi::OsStr::new).chain([binary.as_os_str()]).chain(exec.map(std::ffi::OsStr::new));
    let held = world.within(tool("strace", argv)).deadline(60).spawn();
    let is_held = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains(&format!("pidfd_open({number}")));
    assert!(eventually(Duration::from_secs(9), is_held), "{:?}", std::fs::read_to_string(&log));
    world.hostel(["kill", "web"]).ok();
    let path = format!("/proc/{number}");
    assert!(eventually(Duration::from_secs(5), || !std::path::Path::new(&path).exists()));
    // Others make processes at the same time: until it is ours.
    let mut theirs = None;
    let takes = || {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).unwrap();
        let sleep = tool("sleep", ["1000"]).spawn();
        if i64::from(sleep.pid()) == number {
            theirs = Some(sleep);
        } else {
            sleep.signal(nix::sys::signal::Signal::SIGKILL);
            sleep.wait();
        }
        theirs.is_some()
    };
    assert!(eventually(Duration::from_secs(5), takes), "the number {number} is not to be had");
    let out = held.wait().code(125).stdout("");
    out.stderr_has("guest `web` has no process 1");
    let theirs = theirs.unwrap();
    theirs.signal(nix::sys::signal::Signal::SIGKILL);
    theirs.wait();
    destroy(world, "web");
}

/// No core dump: of services, of what is sent in, and of what an own init begins.
fn its_crashes_are_its_own(world: &World) {
    let limit = |name: &str| world.hostel(["exec", name, "--", "grep", "core", "/proc/self/limits", "/proc/1/limits"]).ok().stdout;
    let of = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().skip(4).take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    for init in ["", "init = \"/sbin/init\","] {
        running(world, "web", 0, init);
        assert_eq!(of(&limit("web")), ["1 1", "1 1"], "{init}");
        destroy(world, "web");
    }
    running(world, "web", 0, "limits = { core = \"0\" },");
    assert_eq!(of(&limit("web")), ["0 0", "0 0"]);
    world.hostel(["audit", "web"]).run().code(1).stdout_has("crashes are handed to the host's `kernel.core_pattern`");
    destroy(world, "web");
}

/// The setting, until it is dropped.
struct Pattern(String);

const PATTERN: &str = "/proc/sys/kernel/core_pattern";

impl Pattern {
    fn set(program: &std::path::Path) -> Self {
        let before = std::fs::read_to_string(PATTERN).unwrap();
        std::fs::write(PATTERN, format!("|{} %P", program.display())).unwrap();
        Self(before)
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        let _ = std::fs::write(PATTERN, &self.0);
    }
}

fn its_crashes_run_no_program_of_the_hosts(world: &World) {
    let told = world.dir.join("crashes");
    let handler = world.file("handler", &format!("#!/bin/sh\necho crash >>{}\n", told.display()));
    std::fs::set_permissions(&handler, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let _pattern = Pattern::set(&handler);
    running(world, "plain", 0, "");
    running(world, "asks", 1, "limits = { core = \"unlimited\" },");
    let crash = ["sh", "-c", "kill -SEGV $$"];
    let count = || std::fs::read_to_string(&told).unwrap_or_default().lines().count();
    for _ in 0..3 {
        world.hostel(["exec", "plain", "--"].iter().chain(&crash)).run().code(128 + 11);
    }
    // That of the other guest comes after those, were there any.
    world.hostel(["exec", "asks", "--"].iter().chain(&crash)).run().code(128 + 11);
    assert!(eventually(Duration::from_secs(10), || count() > 0), "nothing crashes here");
    assert_eq!(count(), 1);
    destroy(world, "plain");
    destroy(world, "asks");
}

/// Wide and deep, frozen and threaded, with processes in them.
fn as_many_cgroups_as_it_can_make_go_with_it(world: &World) {
    running(world, "web", 0, "init = \"/sbin/init\",");
    let fill = "cd /sys/fs/cgroup; mkdir deep; cd deep; while mkdir d 2>/dev/null && cd d; do n=$((n+1)); done; echo $n; \
        cd /sys/fs/cgroup; mkdir hog; n=0; while [ $n -lt 300 ] && mkdir hog/c$n; do n=$((n+1)); done; echo $n; \
        mkdir -p thread/a && echo threaded >thread/a/cgroup.type; sleep 1000 >/dev/null 2>&1 & echo $! >hog/c2/cgroup.procs; echo 1 >hog/c2/cgroup.freeze; \
        mkdir hog/c3/more; echo 1 >hog/cgroup.max.descendants; cat hog/c2/cgroup.freeze";
    let told = world.hostel(["exec", "web", "--", "sh", "-c", fill]).run().code(0).stdout;
    let told: Vec<u32> = told.lines().map(|line| line.parse().unwrap()).collect();
    assert!(told.len() == 3 && told[0] > 5 && told[0] < 32 && told[1] == 300 && told[2] == 1, "{told:?}");
    // Frozen is not out of reach.
    world.hostel(["restart", "web"]).ok();
    world.hostel(["exec", "web", "--", "sh", "-c", "ls -d /sys/fs/cgroup/hog /sys/fs/cgroup/deep /sys/fs/cgroup/thread"]).run().code(1).stdout("");
    world.hostel(["stop", "web"]).ok();
    destroy(world, "web");
}

/// Whoever has a keyring may use its keys, as whatever user: neither a service nor what `exec` runs has the caller's.
fn keys_of_who_starts_it_are_not_its_own(world: &World) {
    use nix::libc::{ENOKEY, KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_SEARCH, SYS_add_key, SYS_keyctl, syscall};
    // Every test has a process of its own, whose keyring the commands that it runs inherit.
    // SAFETY: both read their arguments, which are whole, and keep none.
    let id = unsafe {
        assert!(syscall(SYS_keyctl, i64::from(KEYCTL_JOIN_SESSION_KEYRING), 0_i64) > 0);
        syscall(SYS_add_key, c"user".as_ptr(), c"canary".as_ptr(), c"secret".as_ptr(), 6_i64, -3_i64)
    };
    assert!(id > 0, "{}", std::io::Error::last_os_error());
    let search = format!("{SYS_keyctl} {KEYCTL_SEARCH} -3 x75736572 x63616e617279 0\n");
    let service = format!(
        "allow = {{ \"keyring\" }}, files = {{ [\"/search\"] = \"{}\" }}, services = {{ look = {{ exec = {{ \"sh\", \"-c\", \
         \"until [ -x /attack ]; do sleep 0.1; done; /attack </search >/said; sleep 1000\" }} }} }},",
        search.replace('\n', "\\n")
    );
    running(world, "web", 0, &service);
    bring_attacker(world, "web");
    let sought = |said: &str| said.lines().find_map(|line| line.strip_prefix("= ")?.parse::<i64>().ok());
    let said = world.hostel(["exec", "web", "--", "/attack"]).stdin(search).ok().stdout;
    assert_eq!(sought(&said), Some(-i64::from(ENOKEY)), "{said}");
    let read = || world.hostel(["exec", "web", "--", "cat", "/said"]).run().stdout;
    assert!(eventually(std::time::Duration::from_secs(10), || sought(&read()).is_some()));
    assert_eq!(sought(&read()), Some(-i64::from(ENOKEY)), "{}", read());
    destroy(world, "web");
}
