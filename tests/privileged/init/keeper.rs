//! hostel's init as the keeper of the guest's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use super::guest::{Guest, Plan, files};
use crate::support::{World, eventually, hierarchies, tests};

tests! {
    [Root, Busybox] => reboot_restarts_and_poweroff_ends,
    [Root, Busybox] => reboot_restarts_and_poweroff_ends_in_a_user_namespace,
    [Root, Busybox] => nothing_inside_reaches_the_keeper,
    [Root, Busybox] => nothing_inside_reaches_the_keeper_in_a_user_namespace,
    [Root, Busybox] => masks_and_capabilities_hold,
    [Root, Busybox] => signals_are_passed_in,
    [Root, Busybox] => an_init_that_ends_or_is_missing_is_told_apart,
    [Root, Busybox] => a_console_that_is_hung_up_comes_back,
    [Root, Busybox, Cgroup2] => the_own_init_is_in_its_cgroup,
    [Root, Busybox] => a_kept_guest_is_small,
}

/// A guest whose `/sbin/init` is this script.
fn with_init(world: &World, script: &str) -> PathBuf {
    let root = files(world);
    let init = root.join("sbin/init");
    fs::write(&init, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    root
}

fn own(has_user_namespace: bool) -> Plan {
    Plan {
        has_user_namespace,
        ..Plan::own("/sbin/init")
    }
}

fn reboot_restarts_and_poweroff_ends(world: &World) {
    check_reboot(world, false);
}

fn reboot_restarts_and_poweroff_ends_in_a_user_namespace(world: &World) {
    check_reboot(world, true);
}

fn check_reboot(world: &World, has_user_namespace: bool) {
    let script = "echo boot $$ $(tty) $container $GREETING; ls /proc/self/fd | wc -l; echo to-console > /dev/console\n\
        ls /run /dev/shm; echo old > /run/old; echo old > /dev/shm/old\n\
        echo x >> /boots; if [ $(wc -l < /boots) -lt 3 ]; then reboot -f; else poweroff -f; fi; sleep 100";
    let root = with_init(world, script);
    let guest = Guest::start(root.clone(), &own(has_user_namespace));
    guest.end().code(0);
    let log = fs::read_to_string(root.join("var/log/hostel/console.log")).unwrap();
    let boot = "boot 1 /dev/pts/0 hostel hello guest\n4\nto-console\n/dev/shm:\n\n/run:\nlock\n";
    assert_eq!(log, boot.repeat(3));
    let log = fs::read_to_string(root.join("var/log/hostel/init.log")).unwrap();
    let events: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let again = ["started /sbin/init", "guest reboots"];
    assert_eq!(
        events,
        [&again[..], &again, &["started /sbin/init", "guest halts"]].concat()
    );
}

fn nothing_inside_reaches_the_keeper(world: &World) {
    check_unreachable(world, false);
}

fn nothing_inside_reaches_the_keeper_in_a_user_namespace(world: &World) {
    check_unreachable(world, true);
}

fn check_unreachable(world: &World, has_user_namespace: bool) {
    // With the right to mount, too: under the new /proc there is none that shows the keeper.
    let script = "kill -9 1; kill -9 -1 2>/dev/null; set -- /proc/[0-9]*; echo $#; readlink /proc/1/exe\n\
        for n in 1 2 3 4 5 6 7 8; do umount -l /proc 2>/dev/null; done; ls /proc | wc -l; echo end; exec sleep 1000";
    let mut plan = own(has_user_namespace);
    plan.caps = plan
        .caps
        .with("sys_admin".parse().unwrap())
        .with("sys_ptrace".parse().unwrap());
    let guest = Guest::start(with_init(world, script), &plan);
    let log = guest.wait_log("console.log", "end");
    // The init alone; then no /proc at all.
    assert_eq!(log, "1\n/bin/busybox\n0\nend\n");
    assert_eq!(Guest::children(guest.pid).len(), 1);
}

fn masks_and_capabilities_hold(world: &World) {
    let script = "grep -E 'Cap(Eff|Bnd|Inh|Amb)' /proc/1/status; cat /proc/cmdline /proc/fs/* 2>/dev/null | wc -c\n\
        (echo x > /proc/sys/kernel/hostname) 2>&1 | grep -o Read-only; umount /proc/cmdline 2>&1 | grep -c permitted\n\
        mount -t tmpfs none /tmp 2>&1 | grep -c denied; cat /proc/sys/kernel/hostname; echo end; exec sleep 1000";
    let plan = own(true);
    let guest = Guest::start(with_init(world, script), &plan);
    let log = guest.wait_log("console.log", "end");
    let caps = format!("{:016x}", plan.caps.bits());
    let none = "0000000000000000";
    assert_eq!(
        log.replace('\t', " "),
        format!(
            "CapInh: {none}\nCapEff: {caps}\nCapBnd: {caps}\nCapAmb: {none}\n0\nRead-only\n1\n1\nguest\nend\n"
        )
    );
}

fn signals_are_passed_in(world: &World) {
    // busybox's init: SIGUSR2 runs its shutdown actions and powers off, SIGTERM reboots.
    let root = files(world);
    symlink("/bin/busybox", root.join("sbin/init")).unwrap();
    let inittab = "::sysinit:/bin/echo booted\n::shutdown:/bin/echo shutting down\n";
    fs::write(root.join("etc/inittab"), inittab).unwrap();
    let guest = Guest::start(root.clone(), &own(true));
    guest.wait_log("console.log", "booted");
    // SIGTERM.
    guest.signal(15);
    guest.wait(
        || guest.log("console.log").matches("booted").count() == 2,
        "reboot",
    );
    guest.signal(12);
    guest.end().code(0);
    let log = fs::read_to_string(root.join("var/log/hostel/console.log")).unwrap();
    assert_eq!(log.matches("shutting down").count(), 2, "{log}");
}

fn an_init_that_ends_or_is_missing_is_told_apart(world: &World) {
    for (at, (script, code, event)) in [
        ("exit 0", 1, "/sbin/init ended: exit 0"),
        ("exit 5", 1, "/sbin/init ended: exit 5"),
        ("exec /nowhere", 1, "/sbin/init ended: exit 127"),
    ]
    .into_iter()
    .enumerate()
    {
        let root = world.dir.join(at.to_string());
        fs::rename(with_init(world, script), &root).unwrap();
        Guest::start(root.clone(), &own(false))
            .end()
            .code(if code == 1 && event.ends_with("127") {
                3
            } else {
                code
            });
        let log = fs::read_to_string(root.join("var/log/hostel/init.log")).unwrap();
        assert!(log.contains(event), "{log}");
    }
    let root = files(world);
    Guest::start(root.clone(), &own(false)).end().code(3);
    let log = fs::read_to_string(root.join("var/log/hostel/init.log")).unwrap();
    assert!(
        log.contains("cannot start /sbin/init: execute: ENOENT\n"),
        "{log}"
    );
}

fn a_console_that_is_hung_up_comes_back(world: &World) {
    // Closed by everyone inside for a while, as sysvinit does, it still takes what is written next.
    let script =
        "echo one; exec >/dev/null 2>&1 </dev/null; usleep 300000; echo two > /dev/console; exec sleep 1000";
    let guest = Guest::start(with_init(world, script), &own(false));
    assert_eq!(guest.wait_log("console.log", "two"), "one\ntwo\n");
}

fn the_own_init_is_in_its_cgroup(world: &World) {
    let mount = hierarchies().into_iter().find(|h| h.is_v2).unwrap().mount;
    let outer = mount.join(&world.cgroup).join("x2");
    let inner = outer.join("init");
    fs::create_dir_all(&inner).unwrap();
    let plan = Plan {
        cgroup: Some(inner.clone()),
        ..own(false)
    };
    let guest = Guest::start(
        with_init(world, "grep '^0:' /proc/1/cgroup; exec sleep 1000"),
        &plan,
    );
    assert_eq!(guest.wait_log("console.log", "\n"), "0::/\n");
    let inside = Guest::children(guest.pid);
    let listed = fs::read_to_string(inner.join("cgroup.procs")).unwrap();
    assert_eq!(listed, format!("{}\n", inside[0]));
    let keeper = guest.pid;
    guest.signal(9);
    guest.end();
    assert!(!std::path::Path::new(&format!("/proc/{keeper}")).exists());
    for cgroup in [inner, outer] {
        assert!(eventually(Duration::from_secs(2), || fs::remove_dir(&cgroup).is_ok()));
    }
}

fn a_kept_guest_is_small(world: &World) {
    let guest = Guest::start(with_init(world, "echo up; exec sleep 1000"), &own(true));
    guest.wait_log("console.log", "up");
    let resident = Guest::resident(guest.pid);
    println!("resident: {resident} kB");
    assert!(resident <= 300, "{resident} kB");
}
