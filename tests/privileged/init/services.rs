//! hostel's init as the guest's own.

use std::fs;
use std::os::unix::fs::symlink;

use hostel::guest::{Restart, Span};
use hostel::life::init_status::{End, ServiceState};

use super::guest::{Guest, Plan, files, script};
use crate::support::{World, tests};

tests! {
    [Root, Busybox] => services_start_in_order_as_their_users,
    [Root, Busybox] => a_service_in_a_user_namespace_has_its_user,
    [Root, Busybox] => what_fails_is_started_again_later_and_later,
    [Root, Busybox] => what_cannot_be_executed_says_why_in_its_log,
    [Root, Busybox] => unknown_users_never_become_root,
    [Root, Busybox] => logs_rotate,
    [Root, Busybox] => a_hostile_log_directory_harms_nobody,
    [Root, Busybox] => links_of_procfs_lead_no_log_elsewhere,
    [Root, Busybox] => orphans_are_reaped,
    [Root, Busybox] => every_stop_signal_stops_in_reverse_order,
    [Root, Busybox] => what_ignores_the_stop_is_killed,
    [Root, Busybox] => every_reboot_signal_starts_everything_anew,
    [Root, Busybox] => other_signals_change_nothing,
    [Root, Busybox] => a_guest_without_services_stays_and_is_small,
    [Root, Busybox] => a_guest_with_many_services_is_small,
    [Root, Busybox] => the_program_cannot_be_changed_from_inside,
    [Root, Busybox] => a_broken_configuration_is_refused,
}

/// SIGRTMIN of the C libraries.
const RTMIN: i32 = 34;

fn services_start_in_order_as_their_users(world: &World) {
    check_order_and_users(world, false);
}

fn a_service_in_a_user_namespace_has_its_user(world: &World) {
    check_order_and_users(world, true);
}

fn check_order_and_users(world: &World, has_user_namespace: bool) {
    let mut web = script(
        "id; pwd; echo \"$GREETING $HOME $USER $OWN\"; echo to-stderr >&2; \
         echo again > /dev/stdout; ls /proc/self/fd | wc -l; exec sleep 1000",
    );
    web.user = Some("www".to_owned());
    web.dir = Some("/srv".to_owned());
    web.after = vec!["zdb".to_owned()];
    web.env.insert("OWN".to_owned(), "own".to_owned());
    fs::create_dir_all(world.dir.join("guest")).unwrap();
    let root = files(world);
    symlink("/proc/self/fd/1", root.join("stdout")).unwrap();
    web.exec[2] = web.exec[2].replace("/dev/stdout", "/stdout");
    let mut zdb = script("id -u; exec sleep 1000");
    zdb.user = Some("7:www".to_owned());
    let plan = Plan {
        has_user_namespace,
        ..Plan::services(&[("web", web), ("zdb", zdb)])
    };
    let guest = Guest::start(root, &plan);

    let log = guest.wait_log("web.log", "again\n4\n");
    assert_eq!(
        log,
        "uid=33(www) gid=34(www) groups=4(adm)\n/srv\nhello guest /srv www own\nto-stderr\nagain\n4\n"
    );
    assert_eq!(guest.wait_log("zdb.log", "\n"), "7\n");
    let log = guest.log("init.log");
    assert!(
        log.find("started zdb").unwrap() < log.find("started web").unwrap(),
        "{log}"
    );
    guest.wait(
        || {
            guest
                .status()
                .iter()
                .all(|service| service.state == ServiceState::Running)
        },
        "status",
    );
    let status = guest.status();
    let names: Vec<&str> = status.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["zdb", "web"]);
    assert!(
        status
            .iter()
            .all(|s| s.pid > Some(1) && s.restarts == 0 && s.last.is_none()),
        "{status:?}"
    );
}

fn what_fails_is_started_again_later_and_later(world: &World) {
    let mut fails = script("exit 3");
    fails.restart = Restart::OnFailure;
    let mut always = script("kill -KILL $$");
    always.restart = Restart::Always;
    let mut good = script("exit 0");
    good.restart = Restart::OnFailure;
    let plan = Plan::services(&[
        ("fails", fails),
        ("always", always),
        ("good", good),
        ("once", script("exit 1")),
    ]);
    let guest = Guest::start(files(world), &plan);
    let log = guest.wait_log("init.log", "fails ended: exit 3, again in 800 ms");
    for delay in [100, 200, 400] {
        assert!(
            log.contains(&format!("fails ended: exit 3, again in {delay} ms")),
            "{log}"
        );
    }
    guest.wait_log("init.log", "always ended: signal 9, again in 400 ms");
    let status = guest.status();
    for (name, state, end) in [
        ("good", ServiceState::Ended, End::Exit(0)),
        ("once", ServiceState::Failed, End::Exit(1)),
    ] {
        let service = status.iter().find(|service| service.name == name).unwrap();
        assert_eq!(
            (service.state, service.pid, service.last),
            (state, None, Some(end))
        );
    }
}

fn what_cannot_be_executed_says_why_in_its_log(world: &World) {
    let program = |name: &str| {
        let mut service = script("");
        service.exec = vec![name.to_owned()];
        service
    };
    let mut nowhere = script("");
    nowhere.dir = Some("/nowhere".to_owned());
    let services = [
        ("missing", program("nope")),
        ("path", program("/etc/passwd")),
        ("nowhere", nowhere),
        ("ok", program("true")),
    ];
    let guest = Guest::start(files(world), &Plan::services(&services));
    assert_eq!(
        guest.wait_log("missing.log", "\n"),
        "hostel: execute `nope`: ENOENT\n"
    );
    assert_eq!(
        guest.wait_log("path.log", "\n"),
        "hostel: execute `/etc/passwd`: EACCES\n"
    );
    assert_eq!(
        guest.wait_log("nowhere.log", "\n"),
        "hostel: enter `/nowhere`: ENOENT\n"
    );
    guest.wait_log("init.log", "missing ended: exit 127");
    guest.wait_log("init.log", "path ended: exit 126");
    guest.wait_log("init.log", "nowhere ended: exit 126");
    // Without `/` it was found in PATH.
    guest.wait_log("init.log", "ok ended: exit 0");
}

fn unknown_users_never_become_root(world: &World) {
    for (at, user) in [
        "nobody-there",
        "4294967295",
        "4294967296",
        "99",
        "www:nogroup",
        ":0",
        "www:",
        "-1",
    ]
    .iter()
    .enumerate()
    {
        let dir = world.dir.join(at.to_string());
        let mut service = script("id");
        service.user = Some((*user).to_owned());
        let root = files(world);
        fs::rename(&root, &dir).unwrap();
        let guest = Guest::start(dir, &Plan::services(&[("s", service)]));
        guest.wait_log("init.log", "s ended: exit 126");
        let log = guest.wait_log("s.log", "\n");
        assert!(log.starts_with("hostel: no such "), "{user}: {log}");
    }
}

fn logs_rotate(world: &World) {
    let text = "yes 0123456789012345678901234567890123456789 | head -c 6000000; echo end; exec sleep 1000";
    let guest = Guest::start(files(world), &Plan::services(&[("chatty", script(text))]));
    guest.wait_log("chatty.log", "end\n");
    let size =
        |name: &str| fs::metadata(guest.root.join("var/log/hostel").join(name)).map_or(0, |meta| meta.len());
    for name in ["chatty.log", "chatty.log.1", "chatty.log.2", "chatty.log.3"] {
        assert!((1..=1 << 20).contains(&size(name)), "{name}: {}", size(name));
    }
    assert_eq!(size("chatty.log.4"), 0);
    // Nothing was lost in between: each file goes on where the older one ends.
    let all: String = [".log.3", ".log.2", ".log.1", ".log"]
        .iter()
        .map(|end| guest.log(&format!("chatty{end}")))
        .collect();
    let whole = all.find('\n').unwrap() + 1;
    let lines = all[whole..].lines();
    let wrong = lines
        .filter(|line| line.len() != 40 && *line != "end")
        .collect::<Vec<_>>();
    assert!(wrong.len() <= 1, "{wrong:?}");
}

fn a_hostile_log_directory_harms_nobody(world: &World) {
    let root = files(world);
    let logs = root.join("var/log/hostel");
    fs::create_dir_all(&logs).unwrap();
    let outside = world.file("outside", "untouched");
    symlink(&outside, logs.join("link.log")).unwrap();
    symlink("/etc/passwd", logs.join("inside.log")).unwrap();
    nix::unistd::mkfifo(&logs.join("fifo.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(logs.join("dir.log")).unwrap();
    let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap();
    // More than a pipe holds, so that one that is not drained would block.
    let text = "head -c 300000 /dev/zero; echo done > /tmp/$NAME";
    let services = ["link", "inside", "fifo", "dir"].map(|name| {
        let mut service = script(text);
        service.env.insert("NAME".to_owned(), name.to_owned());
        (name, service)
    });
    let guest = Guest::start(root, &Plan::services(&services));
    for name in ["link", "inside", "fifo", "dir"] {
        guest.wait(|| guest.root.join("tmp").join(name).exists(), name);
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(guest.root.join("etc/passwd")).unwrap(), passwd);
}

fn links_of_procfs_lead_no_log_elsewhere(world: &World) {
    // A plain link is the guest's own business; one through /proc/1 would be resolved by the keeper as its own.
    for (name, link, is_followed) in [("plain", "/srv", true), ("magic", "/proc/1/root/srv", false)] {
        let root = world.dir.join(name);
        fs::rename(files(world), &root).unwrap();
        fs::create_dir_all(root.join("srv/hostel")).unwrap();
        symlink(link, root.join("var/log")).unwrap();
        let guest = Guest::start(
            root,
            &Plan::services(&[("s", script("echo up; echo up > /tmp/up; sleep 1000"))]),
        );
        guest.wait(|| guest.root.join("tmp/up").exists(), "service");
        guest.signal(12);
        let root = guest.root.clone();
        guest.end().code(0);
        assert_eq!(root.join("srv/hostel/s.log").exists(), is_followed, "{name}");
    }
}

fn orphans_are_reaped(world: &World) {
    let text =
        "for n in 1 2 3 4 5 6 7 8; do (setsid sh -c 'usleep 100000; exit 7' &) ; done; exec sleep 1000";
    let guest = Guest::start(files(world), &Plan::services(&[("parent", script(text))]));
    // The service, its 8 orphans, then only the service: none stays as a zombie.
    guest.wait(|| Guest::children(guest.pid).len() > 1, "orphan");
    guest.wait(|| Guest::children(guest.pid).len() == 1, "end of the orphans");
}

/// A service that says when it was asked to end.
fn polite(name: &str, after: &[&str]) -> hostel::guest::Service {
    let text = format!(
        "trap 'echo {name} >> /tmp/order; exit 0' TERM QUIT; echo {name} up; while :; do usleep 20000; done"
    );
    let mut service = script(&text);
    service.after = after.iter().map(|name| (*name).to_owned()).collect();
    service.restart = Restart::Always;
    service
}

fn every_stop_signal_stops_in_reverse_order(world: &World) {
    // SIGPWR, SIGUSR1, SIGUSR2, halt and poweroff.
    for signal in [30, 10, 12, RTMIN + 3, RTMIN + 4] {
        let root = files(world);
        let own = world.dir.join(signal.to_string());
        fs::rename(root, &own).unwrap();
        let mut quits = polite("b", &["a"]);
        quits.stop_signal = Some("SIGQUIT".to_owned());
        let services = [("a", polite("a", &[])), ("b", quits), ("c", polite("c", &["b"]))];
        let guest = Guest::start(own.clone(), &Plan::services(&services));
        for name in ["a", "b", "c"] {
            guest.wait_log(&format!("{name}.log"), "up");
        }
        guest.signal(signal);
        guest.end().code(0);
        assert_eq!(
            fs::read_to_string(own.join("tmp/order")).unwrap(),
            "c\nb\na\n",
            "signal {signal}"
        );
        let log = fs::read_to_string(own.join("var/log/hostel/init.log")).unwrap();
        assert!(log.ends_with("guest ends\n") && !log.contains("killing"), "{log}");
    }
}

fn what_ignores_the_stop_is_killed(world: &World) {
    let text = "trap '' TERM HUP QUIT; echo up; (while :; do sleep 1; done) & while :; do sleep 1; done";
    let plan = Plan {
        stop: Span::from_millis(400),
        ..Plan::services(&[("stubborn", script(text))])
    };
    let guest = Guest::start(files(world), &plan);
    guest.wait_log("stubborn.log", "up");
    guest.signal(RTMIN + 4);
    let root = guest.root.clone();
    guest.end().code(0);
    let log = fs::read_to_string(root.join("var/log/hostel/init.log")).unwrap();
    assert!(log.contains("killing what did not end"), "{log}");
}

fn every_reboot_signal_starts_everything_anew(world: &World) {
    let text = "echo started; exec sleep 1000";
    let guest = Guest::start(
        files(world),
        &Plan::services(&[("s", script(text)), ("once", script("echo once"))]),
    );
    let count = |name: &str, what: &str| guest.log(name).matches(what).count();
    guest.wait(
        || count("s.log", "started") == 1 && count("once.log", "once") == 1,
        "start",
    );
    // SIGTERM of busybox, SIGINT of ctrl-alt-del, systemd's own.
    for (at, signal) in [15, 2, RTMIN + 5].into_iter().enumerate() {
        guest.signal(signal);
        let expected = at + 2;
        guest.wait(
            || count("s.log", "started") == expected && count("once.log", "once") == expected,
            "start",
        );
    }
    assert_eq!(count("init.log", "guest starts again"), 3);
    guest.signal(RTMIN + 4);
    guest.end().code(0);
}

fn other_signals_change_nothing(world: &World) {
    let guest = Guest::start(
        files(world),
        &Plan::services(&[("s", script("echo up; exec sleep 1000"))]),
    );
    guest.wait_log("s.log", "up");
    // SIGHUP, SIGQUIT, SIGPIPE, SIGALRM, SIGTSTP, SIGWINCH, a real-time one.
    for signal in [1, 3, 13, 14, 20, 28, RTMIN + 9] {
        guest.signal(signal);
    }
    guest.wait(
        || guest.status().iter().any(|s| s.state == ServiceState::Running),
        "status",
    );
    guest.signal(12);
    let root = guest.root.clone();
    guest.end().code(0);
    let log = fs::read_to_string(root.join("var/log/hostel/init.log")).unwrap();
    assert_eq!(log.matches("started s").count(), 1, "{log}");
}

fn a_guest_without_services_stays_and_is_small(world: &World) {
    let guest = Guest::start(files(world), &Plan::services(&[]));
    guest.wait_log("init.log", "guest starts, services: 0");
    check_resident(&guest);
    guest.signal(RTMIN + 4);
    guest.end().code(0);
}

fn a_guest_with_many_services_is_small(world: &World) {
    let names: Vec<String> = (0..64).map(|n| format!("s{n}")).collect();
    let service = script("echo up; exec sleep 1000");
    let services: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), service.clone()))
        .collect();
    let guest = Guest::start(files(world), &Plan::services(&services));
    guest.wait(
        || {
            names
                .iter()
                .all(|name| guest.log(&format!("{name}.log")) == "up\n")
        },
        "service",
    );
    check_resident(&guest);
}

/// The figure that hostel promises for all that it has in a guest.
fn check_resident(guest: &Guest) {
    let resident = Guest::resident(guest.pid);
    println!("resident: {resident} kB");
    assert!(resident <= 300, "{resident} kB");
}

fn the_program_cannot_be_changed_from_inside(world: &World) {
    let text = "(echo evil > /proc/1/exe) 2>&1 | grep -o 'Operation not permitted\\|busy'; \
        cat /proc/1/environ | wc -c; ls -l /proc/1/fd | grep -c memfd; echo end";
    let guest = Guest::start(files(world), &Plan::services(&[("evil", script(text))]));
    let log = guest.wait_log("evil.log", "end");
    // No write, no environment, neither the program nor the configuration open.
    assert!(
        ["Operation not permitted\n0\n0\nend\n", "busy\n0\n0\nend\n"].contains(&log.as_str()),
        "{log}"
    );
}

fn a_broken_configuration_is_refused(world: &World) {
    let plan = Plan::services(&[("s", script("echo up"))]);
    let good = plan.config();
    let mut huge = good.clone();
    // The length of the hostname.
    huge[36..40].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut version = good.clone();
    version[8] = 99;
    let broken: [(&[u8], &str); 6] = [
        (b"", "not a configuration of hostel's init"),
        (&good[..good.len() - 1], "its length is wrong"),
        (&good[..20], "its length is wrong"),
        (&huge, "a text or list is too long"),
        (&version, "made by another version of hostel"),
        (&vec![0; 300 << 10], "not a configuration of hostel's init"),
    ];
    for (at, (config, why)) in broken.into_iter().enumerate() {
        let root = files(world);
        let own = world.dir.join(at.to_string());
        fs::rename(root, &own).unwrap();
        let output = Guest::start_with(own, &plan, config).end().code(2);
        output.stderr_has(&format!("configuration refused: {why}\n"));
    }
}
