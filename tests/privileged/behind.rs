//! Defences that have another behind them, each seen by itself: without it nothing would get out, and it would not be missed.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::{fs, io};

use crate::life::{destroy, pid_of, running};
use crate::support::{World, binary, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => every_hidden_directory_that_the_host_has_is_covered,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_is_the_root_of_its_cgroups,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => what_hostel_keeps_is_roots_alone,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("script")] => the_callers_terminal_is_not_inside,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_number_that_is_no_id_of_a_guest_is_not_looked_up,
    [Root, Cgroup2, Busybox, Tool("python3")] => names_that_lead_out_of_an_archive_are_refused_by_name,
}

fn every_hidden_directory_that_the_host_has_is_covered(world: &World) {
    running(world, "web", 0, "");
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", pid_of(world, "web"))).unwrap();
    let is_mount = |path: &str| mounts.lines().any(|line| line.split(' ').nth(4) == Some(path));
    let hidden = ["acpi", "asound", "scsi"].map(|name| format!("/proc/{name}"));
    let there: Vec<&String> = hidden.iter().filter(|path| fs::metadata(path).is_ok()).collect();
    assert!(!there.is_empty(), "a kernel without any of {hidden:?}");
    for path in there {
        assert!(is_mount(path), "{path} is bare:\n{mounts}");
    }
    destroy(world, "web");
}

fn a_guest_is_the_root_of_its_cgroups(world: &World) {
    running(world, "web", 0, "");
    world.hostel(["exec", "web", "--", "grep", "^0:", "/proc/self/cgroup"]).ok().stdout("0::/\n");
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/cgroup")).unwrap();
    assert_ne!(namespace(&pid_of(world, "web").to_string()), namespace("self"));
    destroy(world, "web");
}

fn what_hostel_keeps_is_roots_alone(world: &World) {
    running(world, "web", 0, "");
    let mut seen = 0;
    for entry in fs::read_dir(&world.root).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            seen += 1;
            assert_eq!((meta.permissions().mode() & 0o7777, meta.uid()), (0o700, 0), "{}", entry.path().display());
        }
    }
    assert!(seen >= 4, "{seen}");
    destroy(world, "web");
}

fn the_callers_terminal_is_not_inside(world: &World) {
    running(world, "web", 0, "");
    // The file system that a stream is on, and its number there: the host's, then what a command has.
    let line = |streams: &str, fd: u32| {
        let look = format!("stat -L -c '%d %t:%T' /proc/self/fd/{fd} >&3");
        let inside = format!("{} exec web -- sh -c \"$LOOK\"", binary().display());
        format!("exec 3>/seen; {look}; LOOK=\"exec 3>/seen; {look}\"; {inside} {streams}; true")
    };
    for (streams, fd) in [("", 0), ("| cat", 0), ("</dev/null", 1), ("</dev/null", 2), ("</dev/null >/dev/null", 2)] {
        let here = world.dir.join("seen");
        let line = line(streams, fd).replacen("/seen", here.to_str().unwrap(), 1);
        world.within(tool("script", ["-qec", &line, "/dev/null"])).ok();
        let there = world.hostel(["exec", "web", "--", "cat", "/seen"]).ok().stdout;
        let here = fs::read_to_string(here).unwrap();
        let device = |seen: &str| seen.split(' ').next().unwrap().to_owned();
        assert!(!there.is_empty() && !here.is_empty());
        assert_ne!(device(&here), device(&there), "`{streams}`: {fd} is the caller's terminal");
    }
    destroy(world, "web");
}

fn a_number_that_is_no_id_of_a_guest_is_not_looked_up(world: &World) {
    running(world, "web", 0, "");
    for user in ["65536", "4294967296", "0:65536"] {
        let number = user.trim_start_matches("0:");
        world
            .hostel(["exec", "--user", user, "web", "--", "true"])
            .run()
            .code(125)
            .stderr_has(&format!("`{number}` is not an id of a guest"));
    }
    destroy(world, "web");
}

/// The file system below would refuse them too: they are not left to it.
fn names_that_lead_out_of_an_archive_are_refused_by_name(world: &World) {
    let script = "import tarfile, io, sys\n\
        with tarfile.open(sys.argv[1], 'w') as tar:\n    \
            info = tarfile.TarInfo(sys.argv[2]); info.size = 1; tar.addfile(info, io.BytesIO(b'x'))\n";
    for (name, why) in [("a/../../b", "has `..` in it"), ("../b", "has `..` in it"), ("/b", "is an absolute name")] {
        let archive = world.dir.join("odd.tar");
        tool("python3", ["-c", script, archive.to_str().unwrap(), name]).ok();
        let text = format!("guest \"web\" {{ image = \"tar:{}\", xid = {} }}\n", archive.display(), world.xid(0));
        let recipe = world.file("web.lua", &text);
        let told = format!("`{name}` in `{}` {why}", archive.display());
        world.hostel(["build", recipe.to_str().unwrap()]).run().code(1).stdout("").stderr_has(&told);
    }
    let is_gone = |path: &str| fs::symlink_metadata(world.dir.join(path)).is_err_and(|err| err.kind() == io::ErrorKind::NotFound);
    assert!(is_gone("b") && is_gone("../b"));
}
