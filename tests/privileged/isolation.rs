//! What the root of a guest cannot do, to its host and to the guest beside it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::debian_services::{build, debian};
use crate::life::{destroy, running};
use crate::support::{Need, World, eventually, tests};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => what_only_the_host_may_is_refused,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => killing_every_process_hurts_nobody_else,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => guests_see_only_their_own,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian, Mirror, HostNetwork] within 420 => apt_installs_in_a_running_guest,
}

/// System calls by number (x86-64 and aarch64) and what each must say; perl is in every Debian.
const REFUSED: &str = r#"
use Errno; use Socket; use POSIX ();
my $arm = (POSIX::uname())[4] eq "aarch64";
my %n = $arm
  ? (init_module => 105, finit_module => 273, clock_settime => 112, settimeofday => 170, adjtimex => 171, mount => 40,
     reboot => 142, swapon => 224, kexec_load => 104, acct => 89, open_by_handle_at => 265, syslog => 116, ptrace => 117,
     unshare => 97, setns => 268, keyctl => 219, add_key => 217, request_key => 218, bpf => 280, perf_event_open => 241,
     userfaultfd => 282, process_vm_readv => 270)
  : (init_module => 175, finit_module => 313, clock_settime => 227, settimeofday => 164, adjtimex => 159, mount => 165,
     reboot => 169, swapon => 167, kexec_load => 246, acct => 163, open_by_handle_at => 304, syslog => 103, ptrace => 101,
     unshare => 272, setns => 308, keyctl => 250, add_key => 248, request_key => 249, bpf => 321, perf_event_open => 298,
     userfaultfd => 323, process_vm_readv => 310);
$n{io_uring_setup} = 425; $n{pidfd_getfd} = 438; $n{fsopen} = 430;
sub told { my ($what, $ok) = @_; my $e = 0 + $!; print "$what ", ($ok ? "ALLOWED" : $e == 1 ? "EPERM" : $!{ENOSYS} ? "ENOSYS" : "errno $e"), "\n" }
sub call { my ($name, @args) = @_; $! = 0; told($name, syscall($n{$name}, @args) >= 0) }
my $time = pack("qq", 1000000000, 0);
call("init_module", "x" x 64, 64, "");
call("finit_module", 0, "", 0);
call("clock_settime", 0, $time);
call("settimeofday", $time, 0);
call("mount", "/dev/vda", "/mnt", "ext4", 0, 0);
call("mount", "none", "/mnt", "tmpfs", 0, 0);
call("swapon", "/etc/hostname", 0);
call("kexec_load", 0, 0, 0, 0);
call("acct", "/etc/hostname");
call("syslog", 3, "x" x 64, 64);
call("open_by_handle_at", 0, "x" x 64, 0);
call("unshare", 0x10000000);
call("unshare", 0x00020000);
call("setns", 0, 0);
call("ptrace", 0, 0, 0, 0);
call("process_vm_readv", 1, 0, 0, 0, 0, 0);
call("keyctl", 0, 0, 0, 0, 0);
call("add_key", "user", "k", "v", 1, -1);
call("request_key", "user", "k", "", -1);
call("bpf", 0, 0, 0);
call("perf_event_open", "x" x 128, 0, -1, -1, 0);
call("userfaultfd", 0);
call("io_uring_setup", 4, "x" x 120);
call("pidfd_getfd", 0, 0, 0);
call("fsopen", "tmpfs", 0);
told("raw", socket(my $r, PF_INET, SOCK_RAW, 1));
told("raw6", socket(my $s, PF_INET6, SOCK_RAW, 58));
told("packet", socket(my $p, 17, SOCK_RAW, 0));
told("packet-dgram", socket(my $d, 17, SOCK_DGRAM, 0));
"#;

/// What is answered otherwise: families of sockets, a call that hides its arguments, one that is not there.
const UNKNOWN: &str = r#"
use Errno; use Socket;
sub told { my ($what, $ok) = @_; print "$what ", ($ok ? "ok" : (grep { $!{$_} } qw(EPERM ENOSYS ENOSPC))[0] // 0 + $!), "\n" }
told("alg", socket(my $a, 38, SOCK_SEQPACKET, 0));
told("vsock", socket(my $v, 40, SOCK_STREAM, 0));
told("sock_diag", socket(my $d, 16, SOCK_RAW, 4));
told("route", socket(my $r, 16, SOCK_RAW, 0));
my $args = pack("Q8", 0x10000000, 0, 0, 0, 17, 0, 0, 0);
my $pid = syscall(435, $args, 64);
exit 0 if $pid == 0;
told("clone3", $pid > 0);
told("none", syscall(1000) >= 0);
open(my $status, "<", "/proc/self/status");
print map { /^Seccomp:\s+(\d)/ ? "filtered $1\n" : () } <$status>;
"#;

fn what_only_the_host_may_is_refused(world: &World) {
    let recipe = debian(world, "web", "services = { nap = { exec = { \"sleep\", \"1000\" } } },");
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
    let before = host_facts();
    let clock = Instant::now();
    let wall = std::time::SystemTime::now();

    let told = world.hostel(["exec", "web", "--", "perl", "-"]).stdin(REFUSED).ok().stdout;
    // A kernel without modules or kexec has not even the call.
    let is_refused = |line: &str| {
        let may_lack = line.contains("_module ") || line.starts_with("kexec_load ");
        line.ends_with(" EPERM") || (may_lack && line.ends_with(" ENOSYS"))
    };
    let wrong: Vec<&str> = told.lines().filter(|line| !is_refused(line)).collect();
    assert!(wrong.is_empty() && told.lines().count() == 29, "{told}");

    let told = world.hostel(["exec", "web", "--", "perl", "-"]).stdin(UNKNOWN).ok().stdout;
    let expected = "alg EPERM\nvsock EPERM\nsock_diag EPERM\nroute ok\nclone3 ENOSPC\nnone ENOSYS\nfiltered 2\n";
    assert_eq!(told, expected);

    let denied = |argv: &[&str]| {
        let out = world.hostel(["exec", "web", "--"].iter().chain(argv)).run();
        assert_ne!(out.status, 0, "{out}");
        let says = ["not permitted", "ermission denied", "must be "];
        assert!(says.iter().any(|text| out.stderr.contains(text)), "{out}");
    };
    denied(&["mknod", "/root/disk", "b", "8", "0"]);
    denied(&["mknod", "/root/null", "c", "1", "3"]);
    denied(&["date", "-s", "2001-01-01"]);
    denied(&["ip", "addr", "add", "127.99.99.99/32", "dev", "lo"]);
    denied(&["ip", "link", "set", "lo", "down"]);
    denied(&["ip", "route", "add", "blackhole", "198.51.100.0/24"]);
    denied(&["hostname", "other"]);
    denied(&["mount", "-t", "proc", "proc", "/mnt"]);
    denied(&["mount", "--bind", "/etc", "/mnt"]);
    denied(&["umount", "/proc"]);
    denied(&["sysctl", "-w", "kernel.panic=1"]);
    denied(&["chroot", "--userspec=0", "/", "ip", "addr", "add", "127.99.99.98/32", "dev", "lo"]);
    for path in ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/sys/kernel/mm/ksm/run"] {
        let out = world.hostel(["exec", "web", "--", "sh", "-c", &format!("echo 0 > {path}")]).run();
        assert_ne!(out.status, 0, "{out}");
    }
    assert_eq!(host_facts(), before);
    // The clock went on as clocks do.
    let drift = wall.elapsed().unwrap().abs_diff(clock.elapsed());
    assert!(drift < Duration::from_secs(5), "{drift:?}");
    world.hostel(["destroy", "--force", "web"]).deadline(120).ok();
}

/// What a guest that got out would have changed.
fn host_facts() -> BTreeMap<String, String> {
    let files = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/panic", "/proc/sys/kernel/hostname", "/proc/modules"];
    let mut facts: BTreeMap<String, String> = files
        .into_iter()
        .map(|path| (path.to_owned(), fs::read_to_string(path).unwrap_or_default()))
        .collect();
    // The second column of /proc/modules and on are counters that others move.
    if let Some(modules) = facts.get_mut("/proc/modules") {
        *modules = modules.lines().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>().join(" ");
    }
    let out = crate::support::tool("ip", ["-o", "address"]).ok().stdout;
    facts.insert("addresses".to_owned(), out);
    facts.insert("routes".to_owned(), crate::support::tool("ip", ["route"]).ok().stdout);
    facts
}

const NAP: &str = "services = { nap = { exec = { \"sleep\", \"1000\" }, restart = \"never\" } },";

fn killing_every_process_hurts_nobody_else(world: &World) {
    running(world, "web", 0, NAP);
    running(world, "other", 1, NAP);
    let host = crate::support::tool("sleep", ["1000"]).deadline(60).spawn();
    let alive = |name: &str| world.hostel(["exec", name, "--", "pidof", "sleep"]).run().status == 0;
    assert!(eventually(Duration::from_secs(5), || alive("web") && alive("other")));
    // Every number that there can be, as root, by shell built-ins alone: it kills itself last.
    let script = "n=65535; while [ $n -ge 2 ]; do [ $n = $$ ] || kill -9 $n 2>/dev/null; n=$((n-1)); done; \
                  kill -9 -1; echo end";
    world.hostel(["exec", "web", "--", "sh", "-c", script]).run();
    // Dead at once, but seen by its number until its init has waited for it.
    assert!(eventually(Duration::from_secs(5), || !alive("web")));
    assert!(alive("other"));
    host.signal(nix::sys::signal::Signal::SIGTERM);
    // Had it been killed already, it would not be the 15 that ended it.
    host.wait().code(128 + 15);
    // Process 1 is not killed from inside: the guest goes on.
    world.hostel(["exec", "web", "--", "true"]).ok();
    destroy(world, "web");
    destroy(world, "other");
}

fn guests_see_only_their_own(world: &World) {
    running(world, "web", 0, NAP);
    running(world, "other", 1, NAP);
    let sh = |name: &str, script: &str| world.hostel(["exec", name, "--", "sh", "-c", script]).run();
    // init, sleep, the shell and what it runs.
    let count = sh("web", "ls -d /proc/[0-9]* | wc -l").stdout;
    assert!(count.trim().parse::<u32>().unwrap() <= 6, "{count}");

    // POSIX queues and shared memory are files of file systems of its own.
    sh("web", "touch /dev/mqueue/q /dev/shm/s").code(0);
    sh("other", "ls /dev/mqueue /dev/shm").code(0).stdout("/dev/mqueue:\n\n/dev/shm:\n");
    assert!(!std::path::Path::new("/dev/mqueue/q").exists() && !std::path::Path::new("/dev/shm/s").exists());

    // System V IPC: namespaces differ from each other's and from the host's.
    let of = |name: &str, what: &str| sh(name, &format!("readlink /proc/self/ns/{what}")).code(0).stdout;
    for what in ["ipc", "uts", "pid", "mnt", "user", "cgroup"] {
        let host = fs::read_link(format!("/proc/self/ns/{what}")).unwrap();
        let [web, other] = ["web", "other"].map(|name| of(name, what));
        assert!(web != other && web.trim() != host.to_str().unwrap() && other.trim() != host.to_str().unwrap(), "{what}");
    }
    assert_eq!(sh("web", "hostname").stdout, "web\n");
    assert_eq!(sh("other", "hostname").stdout, "other\n");
    destroy(world, "web");
    destroy(world, "other");
}

fn apt_installs_in_a_running_guest(world: &World) {
    // On the host's own network, for the mirrors; the rest of it is as every guest.
    let shared = Need::LandlockScopes.probe().is_err();
    let text = format!(
        "guest \"web\" {{ image = \"debian:bookworm\", packages = {{ {} }}, xid = {}, net = {{ mode = \"host\", \
         shared_abstract_sockets = {shared} }} }}\n",
        crate::debian_services::PACKAGES,
        world.xid(0)
    );
    let recipe = world.file("web.lua", &text);
    build(world, &recipe);
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).ok();
    let script = "export DEBIAN_FRONTEND=noninteractive; apt-get update -q && \
                  apt-get install -qy --no-install-recommends sudo iputils-ping libcap2-bin";
    // As the host reaches its mirrors.
    let proxies = ["http_proxy", "https_proxy", "no_proxy"].map(|name| ["--env", name]);
    let proxies = proxies.into_iter().filter(|[_, name]| std::env::var_os(name).is_some());
    let argv = [&["exec"], proxies.collect::<Vec<_>>().as_flattened(), &["web", "--", "sh", "-c", script]].concat();
    world.hostel(argv).deadline(240).ok();
    let sh = |script: &str| world.hostel(["exec", "web", "--", "sh", "-c", script]).ok().stdout;
    assert_eq!(sh("stat -c '%A %U %G' /usr/bin/sudo"), "-rwsr-xr-x root root\n");
    assert!(sh("dpkg -V sudo iputils-ping").is_empty());
    // Capabilities of files, as packages set them: they hold in this user namespace only.
    assert_eq!(sh("setcap cap_net_raw+ep /usr/bin/ping && getcap /usr/bin/ping"), "/usr/bin/ping cap_net_raw=ep\n");
    // A set-user-id program works: an ordinary user becomes the guest's root by it.
    let sudo = "useradd -m ann; echo 'ann ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ann; su ann -c 'sudo -n id -u'";
    assert_eq!(sh(sudo), "0\n");
    world.hostel(["destroy", "--force", "web"]).deadline(120).ok();
}
