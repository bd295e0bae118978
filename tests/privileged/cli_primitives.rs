//! `hostel context`, `bind`, `chroot`, `caps` and `limit`, alone and stacked.

use crate::support::{Output, World, binary, tests, tool};

tests! {
    [Root, Cgroup2] => exit_codes_are_those_of_the_command,
    [Root, Cgroup2] => a_context_is_all_that_was_asked_for,
    [Root, Cgroup2, Busybox] => every_set_of_namespaces_runs_or_says_what_it_lacks,
    [Root, Cgroup2] => capabilities_are_gone_for_good,
    [Root, Cgroup2] => a_limit_holds,
    [Root, Cgroup2] => a_new_root_cannot_be_left,
    [Root, Cgroup2] => primitives_stack,
    [Root, Cgroup2] => a_timeout_ends_the_command,
    [Root, Cgroup2, Bpf, Busybox] => in_any_order_every_confinement_holds,
    [Root, Cgroup2, Tool("script")] => a_command_cannot_type_into_the_callers_terminal,
    [Root, Cgroup2, Tool("script")] => a_terminal_of_its_own_has_the_callers_size_and_exit_code,
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

fn every_set_of_namespaces_runs_or_says_what_it_lacks(world: &World) {
    let root = world.dir.join("root");
    for dir in ["bin", "proc", "sys", "dev"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let root = root.to_str().unwrap();
    let all = ["pid", "ipc", "uts", "mount", "net", "cgroup", "user"];
    for set in 1..1_u32 << all.len() {
        let chosen: Vec<&str> = (0..all.len()).filter(|i| set >> i & 1 == 1).map(|i| all[i]).collect();
        let lacks_processes = chosen.contains(&"user") && !chosen.contains(&"pid");
        let chosen = chosen.join(",");
        println!("{chosen}");
        world.hostel(["context", "--isolate", &chosen, "--", "/bin/busybox", "true"]).ok();
        let argv = ["context", "--isolate", &chosen, "--chroot", root, "--", "/bin/busybox", "test", "-d", "/dev/pts"];
        if lacks_processes {
            world.hostel(argv).run().code(125).stderr_has("a root with ids of its own needs a pid namespace");
        } else {
            world.hostel(argv).ok();
        }
    }
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

/// Four of them, chained in each of the 24 orders. The one with a new root comes last of those that need hostel, which
/// is not in there: after it the command itself stands.
fn in_any_order_every_confinement_holds(world: &World) {
    let hostel = binary();
    let hostel = hostel.to_str().unwrap();
    let address = world.address(1).to_string();
    let links: [&[&str]; 4] = [
        &["bind", &address],
        &["limit", "nofile=77"],
        &["caps", "--only", "net_bind_service,sys_admin,setpcap,dac_override,net_admin,bpf,sys_chroot"],
        &["context", "--hostname", "chained"],
    ];
    // An address of the host that is not theirs.
    tool("ip", ["address", "add", "192.0.2.7/32", "dev", "lo"]).ok();
    let look = "import os, resource, socket\n\
        try: socket.socket().bind(('192.0.2.7', 0)); print('bound')\n\
        except OSError as error: print(error.strerror)\n\
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.uname().nodename)\n\
        print([line.split()[1] for line in open('/proc/self/status') if line.startswith('CapBnd')][0])\n";
    tool("python3", ["-c", look]).ok().stdout_has("bound\n");
    let bits = [10, 21, 8, 1, 12, 39, 18].iter().fold(0_u64, |all, bit| all | 1 << bit);
    let expected = format!("Cannot assign requested address\n77 chained\n{bits:016x}\n");
    for order in orders(4) {
        let mut words: Vec<&str> = vec![];
        for (at, link) in order.iter().enumerate() {
            words.extend((at > 0).then_some(hostel));
            words.extend(links[*link]);
            words.push("--");
        }
        words.extend(["python3", "-c", look]);
        println!("{order:?}");
        world.hostel(words).ok().stdout(&expected).stderr("");
    }
    // A new root is the innermost.
    let root = world.dir.join("tree");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let root = root.to_str().unwrap();
    let line = "/bin/busybox hostname; ulimit -n; /bin/busybox ls /etc/passwd 2>/dev/null || echo gone";
    let mut words = vec!["bind", &address, "--", hostel, "context", "--hostname", "chained", "--", hostel];
    words.extend(["limit", "nofile=77", "--", hostel, "chroot", root, "--", "/bin/busybox", "sh", "-c", line]);
    world.hostel(words).ok().stdout("chained\n77\ngone\n").stderr("");
    tool("ip", ["address", "del", "192.0.2.7/32", "dev", "lo"]).ok();
}

/// Every order of 0 to `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let with = |shorter: Vec<usize>| {
        (0..count).map(move |at| {
            let mut order = shorter.clone();
            order.insert(at, count - 1);
            order
        })
    };
    orders(count - 1).into_iter().flat_map(with).collect()
}

/// Runs a line of shell on a terminal. `; true` keeps the shell, whose terminal it is, from becoming its command.
fn on_a_terminal(world: &World, line: &str) -> Output {
    let line = format!("{line}; code=$?; true; exit $code");
    world.within(tool("script", ["-qec", &line, "/dev/null"])).stdin("").run()
}

fn a_command_cannot_type_into_the_callers_terminal(world: &World) {
    let hostel = binary();
    let hostel = hostel.display();
    let look = "python3 -c \"import os; print('tty', os.ttyname(1), os.stat('/dev/tty').st_rdev != 0); os.open('/dev/tty', 0)\"";
    let outer = on_a_terminal(world, look);
    let name = |out: &Output| {
        let line = out.stdout.lines().find_map(|line| line.find("tty ").map(|at| line[at..].trim().to_owned()));
        line.unwrap_or_else(|| panic!("no terminal: {out}"))
    };
    assert_eq!(outer.status, 0, "{outer}");
    for how in [
        "context --",
        "caps --drop net_raw --",
        "caps --only none --",
        "limit nofile=99 --",
        "context --isolate pid,uts --",
        "context --xid 1 --",
    ] {
        let both = on_a_terminal(world, &format!("{look}; {hostel} {how} {look}"));
        assert_eq!(both.status, 0, "{how}: {both}");
        let names: Vec<&str> = both.stdout.lines().filter_map(|line| line.find("tty ").map(|at| line[at..].trim())).collect();
        assert_eq!(names.len(), 2, "{how}: {both}");
        assert_ne!(names[0], names[1], "{how}: {both}");
    }
    // The inner of two has the terminal of the outer one, which is nobody else's.
    let chained = on_a_terminal(world, &format!("{hostel} caps --drop net_raw -- {hostel} limit nofile=99 -- {look}"));
    assert_eq!(chained.status, 0, "{chained}");
    assert!(!name(&chained).is_empty());
    // Without a terminal there is none to be had by `/dev/tty` either.
    let none = "sh -c '[ ! -t 0 ] && [ ! -t 1 ] && ! (: </dev/tty) && echo none'";
    for how in ["context -T --", "caps -T --drop net_raw --"] {
        let out = on_a_terminal(world, &format!("{hostel} {how} {none} 2>/dev/null"));
        assert!(out.stdout.contains("none"), "{how}: {out}");
    }
    // What is piped passes through as it is.
    let piped = on_a_terminal(world, &format!("echo through | {hostel} limit nofile=99 -- cat | tr a-z A-Z"));
    assert!(piped.stdout.contains("THROUGH"), "{piped}");
}

fn a_terminal_of_its_own_has_the_callers_size_and_exit_code(world: &World) {
    let hostel = binary();
    let hostel = hostel.display();
    let line = format!("stty rows 17 cols 71; {hostel} context --isolate pid -- sh -c 'stty size; exit 9'");
    let out = on_a_terminal(world, &line);
    assert!(out.stdout.contains("17 71"), "{out}");
    assert_eq!(out.status, 9, "{out}");
}
