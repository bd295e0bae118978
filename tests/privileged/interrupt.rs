//! Ctrl-C at every step of a command: it has done what it was asked, or it says that it was interrupted, ends with 130
//! and leaves the host as it was.
//!
//! The steps are those at which `crash` kills; here every process of the command gets SIGINT, as from a terminal.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::life::{destroy, pid_of, plain, recipe, running, works};
use crate::support::{Step, Victim, World, chosen, eventually, hierarchies, processes, subtree, tests};

tests! {
    [Root, Cgroup2, Bpf, Busybox] => the_terminal_of_who_started_them_is_not_that_of_guests,
    [Root, Cgroup2, Bpf, Busybox] within 900 => a_build_can_be_interrupted,
    [Root, Cgroup2, Bpf, Busybox] within 900 => a_start_can_be_interrupted,
    [Root, Cgroup2, Bpf, Busybox] within 900 => an_apply_can_be_interrupted,
    [Root, Cgroup2, Bpf, Busybox] within 900 => a_clone_can_be_interrupted,
    [Root, Cgroup2, Bpf, Busybox] within 900 => a_snapshot_and_a_rollback_can_be_interrupted,
    [Root, Cgroup2, Bpf, Busybox] within 900 => a_conversion_can_be_interrupted,
    [Root, Cgroup2, Bpf, Busybox, Tool("gzip")] within 900 => an_export_and_an_import_can_be_interrupted,
    [Root, Cgroup2, Bpf, Busybox] within 900 => a_unification_can_be_interrupted,
    [Root, Cgroup2, Bpf, Busybox] within 900 => the_verbs_of_volumes_can_be_interrupted,
}

/// At how many steps on a machine where each takes seconds.
const SAMPLE: usize = 6;

/// What an interrupted command may leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    /// Nothing: all is as it was.
    Nothing,
    /// What it was done with: whole guests, files that are shared.
    Parts,
}

/// Interrupts the command at every step, or at `most`, with `before` to get there and `after` to show that all is well.
fn everywhere(world: &World, args: &[&str], most: usize, may: May, before: impl Fn(), after: impl Fn()) {
    before();
    world.hostel(args).ok();
    after();
    before();
    let whole = world.hostel(args).traced(None);
    assert_eq!(whole.status, 0, "`hostel {}` when it is traced: {}", args.join(" "), whole.stderr);
    after();
    let (points, _) = chosen(&whole.steps, most, SAMPLE, ("interrupted", "interrupts"));
    let mut interrupted = 0;
    for point in &points {
        println!("{point:?}");
        before();
        interrupted += usize::from(one(world, args, may, point));
        after();
    }
    println!("`hostel {}`: {interrupted} of {} came before it was done", args.join(" "), points.len());
    assert!(interrupted > 0, "each of {} was over before", points.len());
}

/// Interrupts it at one step; whether it ended by that.
fn one(world: &World, args: &[&str], may: May, point: &Step) -> bool {
    let before = seen(world);
    let processes = count(world);
    let traced = world.hostel(args).traced(Some((point, Victim::Interrupted)));
    if traced.status == 0 {
        return false;
    }
    assert_eq!(traced.status, 130, "{point:?}: {}", traced.stderr);
    // Before it has begun to listen for signals it has nothing to say.
    let said = &traced.stderr;
    assert!(said.is_empty() || said.contains("interrupted by SIGINT"), "{point:?}: {said}");
    if may == May::Nothing {
        let mut left = vec![];
        // A process that was killed a moment ago is on its way out, and its cgroup with it.
        eventually(Duration::from_secs(3), || {
            let now = seen(world);
            left = now.difference(&before).map(|new| format!("new: {new}")).collect();
            left.extend(before.difference(&now).map(|gone| format!("gone: {gone}")));
            // Fewer, when one of what came before was still on its way out.
            left.extend((count(world) > processes).then(|| "new: processes".to_owned()));
            left.is_empty()
        });
        assert!(left.is_empty(), "{point:?}: {left:#?}\n{said}");
    }
    assert_eq!(world.hostel(["gc"]).ok().stdout, "", "{point:?}: {said}");
    true
}

/// How many processes are below hostel's cgroup.
fn count(world: &World) -> usize {
    let counts = hierarchies().into_iter().map(|hierarchy| processes(&hierarchy.mount.join(&world.cgroup)).len());
    counts.sum()
}

/// Every file below the state directory, and every cgroup below hostel's.
fn seen(world: &World) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![world.root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            // Written by the guest's own init, which ends wherever it is when its start is undone, and begins by removing it.
            if entry.path().ends_with("run/hostel/.services") {
                continue;
            }
            found.insert(entry.path().display().to_string());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            }
        }
    }
    for hierarchy in hierarchies() {
        let top = hierarchy.mount.join(&world.cgroup);
        found.extend(subtree(&top).iter().map(|cgroup| cgroup.display().to_string()));
    }
    found
}

/// A script has started them, whose Ctrl-C and whose terminal's end reach every process of its group.
fn the_terminal_of_who_started_them_is_not_that_of_guests(world: &World) {
    running(world, "plain", 0, "services = { nap = { exec = { \"sleep\", \"1000\" } } },");
    let boot = "storage = \"dir\", init = \"/sbin/init\", files = { [\"/etc/inittab\"] = \"::respawn:/bin/sleep 1000\\n\" },";
    running(world, "own", 1, boot);
    world.hostel(["stop", "own", "plain"]).ok();
    let script = format!("{0} start plain && {0} start own && echo up; sleep 1000", crate::support::binary().display());
    let mut script = world.within(crate::support::tool("sh", ["-c", &script])).deadline(60).spawn();
    script.wait_stdout("up");
    let logs = || ["plain", "own"].map(|name| world.hostel(["logs", name, "init"]).ok().stdout);
    let before = (["plain", "own"].map(|name| pid_of(world, name)), logs());
    for pid in before.0 {
        let session = nix::unistd::getsid(Some(Pid::from_raw(i32::try_from(pid).unwrap()))).unwrap();
        assert_eq!(i64::from(session.as_raw()), pid, "a session of its own");
    }
    killpg(Pid::from_raw(script.pid()), Signal::SIGINT).unwrap();
    script.wait().code(128 + 2);
    // Had it reached them, they would go down or boot anew.
    works(world, "plain");
    works(world, "own");
    assert_eq!((["plain", "own"].map(|name| pid_of(world, name)), logs()), before);
    destroy(world, "plain");
    destroy(world, "own");
}

fn applied(world: &World, file: &Path) {
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
}

fn a_build_can_be_interrupted(world: &World) {
    for storage in ["dir", "overlay"] {
        let file = plain(world, storage);
        everywhere(
            world,
            &["build", file.to_str().unwrap()],
            24,
            May::Nothing,
            || {},
            || {
                let again = world.hostel(["build".as_ref(), file.as_os_str()]).run();
                assert!(again.status == 0 || again.stderr.contains("is there already"), "{again}");
                world.hostel(["start", "web"]).ok();
                works(world, "web");
                destroy(world, "web");
            },
        );
    }
}

fn a_start_can_be_interrupted(world: &World) {
    let file = recipe(world, "web", 0, "limits = { nofile = 256 }, services = { nap = { exec = { \"sleep\", \"1000\" } } },");
    applied(world, &file);
    world.hostel(["stop", "web"]).ok();
    everywhere(
        world,
        &["start", "web"],
        60,
        May::Nothing,
        || {},
        || {
            let again = world.hostel(["start", "web"]).run();
            assert!(again.status == 0 || again.stderr.contains("runs already"), "{again}");
            works(world, "web");
            world.hostel(["stop", "web"]).ok();
        },
    );
    destroy(world, "web");
}

fn an_apply_can_be_interrupted(world: &World) {
    let text = |name: &str, n| format!("guest \"{name}\" {{ image = \"busybox\", xid = {}, storage = \"overlay\" }}\n", world.xid(n));
    let file = world.file("two.lua", &(text("db", 0) + &text("web", 1)));
    everywhere(
        world,
        &["apply", file.to_str().unwrap()],
        32,
        May::Parts,
        || {},
        || {
            // Those that are there are whole.
            for name in world.hostel(["ls", "--quiet", "--running"]).ok().stdout.lines() {
                works(world, name);
            }
            applied(world, &file);
            works(world, "db");
            works(world, "web");
            world.hostel(["destroy", "--force", "db", "web"]).ok();
        },
    );
}

fn a_clone_can_be_interrupted(world: &World) {
    for storage in ["dir", "overlay"] {
        let file = plain(world, storage);
        for (args, is_running) in [
            (vec!["clone", "web", "copy1"], true),
            (vec!["clone", "web", "copy1"], false),
            (vec!["clone", "web", "copy1", "--count", "3"], true),
        ] {
            let before = || {
                applied(world, &file);
                world.hostel(["exec", "web", "-T", "--", "busybox", "touch", "/srv/written"]).ok();
                if !is_running {
                    world.hostel(["stop", "web"]).ok();
                }
            };
            let may = if args.len() > 3 { May::Parts } else { May::Nothing };
            everywhere(world, &args, 16, may, before, || {
                let listed = world.hostel(["ls", "--quiet"]).ok().stdout;
                for name in listed.lines() {
                    if name != "web" {
                        world.hostel(["start", name]).ok();
                    }
                    if name != "web" || is_running {
                        world.hostel(["exec", name, "-T", "--", "busybox", "test", "-e", "/srv/written"]).ok();
                    }
                }
                let names: Vec<&str> = listed.lines().collect();
                world.hostel([&["destroy", "--force"], &names[..]].concat()).ok();
                let layers = fs::read_dir(world.root.join("layers")).into_iter().flatten().count();
                assert_eq!(layers, 0);
            });
        }
    }
}

fn a_snapshot_and_a_rollback_can_be_interrupted(world: &World) {
    for storage in ["overlay", "dir"] {
        let file = plain(world, storage);
        let inside = |script: &str| drop(world.hostel(["exec", "web", "-T", "--", "busybox", "sh", "-ec", script]).ok());
        applied(world, &file);
        inside("echo 1 >/srv/n");
        // It runs.
        everywhere(
            world,
            &["snapshot", "web", "--name", "one"],
            16,
            May::Nothing,
            || {},
            || {
                works(world, "web");
                let again = world.hostel(["snapshot", "web", "--name", "one"]).run();
                assert!(again.status == 0 || again.stderr.contains("already"), "{again}");
                world.hostel(["snapshots", "web", "--remove", "one"]).ok();
            },
        );
        world.hostel(["snapshot", "web", "--name", "one"]).ok();
        everywhere(
            world,
            &["rollback", "web", "one"],
            16,
            May::Parts,
            || {
                inside("echo 2 >/srv/n");
                world.hostel(["stop", "web"]).ok();
            },
            || {
                world.hostel(["start", "web"]).ok();
                // The old or the new, whole.
                inside("n=$(cat /srv/n); test $n = 1 || test $n = 2");
            },
        );
        destroy(world, "web");
        world.hostel(["gc"]).ok();
    }
}

fn a_conversion_can_be_interrupted(world: &World) {
    let file = plain(world, "dir");
    applied(world, &file);
    world.hostel(["exec", "web", "-T", "--", "busybox", "touch", "/srv/written"]).ok();
    world.hostel(["stop", "web"]).ok();
    for (to, back) in [("overlay", "dir"), ("dir", "overlay")] {
        everywhere(
            world,
            &["convert", "web", "--to", to],
            16,
            May::Nothing,
            || drop(world.hostel(["convert", "web", "--to", back]).ok()),
            || {
                world.hostel(["start", "web"]).ok();
                world.hostel(["exec", "web", "-T", "--", "busybox", "test", "-e", "/srv/written"]).ok();
                world.hostel(["stop", "web"]).ok();
            },
        );
    }
    destroy(world, "web");
}

fn an_export_and_an_import_can_be_interrupted(world: &World) {
    let out = world.dir.join("out");
    fs::create_dir(&out).unwrap();
    let (archive, kept) = (out.join("web.tar.gz"), world.dir.join("kept.tar.gz"));
    let (path, kept) = (archive.to_str().unwrap(), kept.to_str().unwrap());
    running(world, "web", 0, "storage = \"dir\",");
    let names = || fs::read_dir(&out).unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();
    everywhere(
        world,
        &["export", "web", "-o", path],
        24,
        May::Nothing,
        || {},
        || {
            works(world, "web");
            // Whole, or not there; nothing half-written beside it.
            if archive.exists() {
                world.hostel(["import", path, "--name", "copy", "--storage", "dir"]).ok();
                world.hostel(["destroy", "copy"]).ok();
                fs::remove_file(&archive).unwrap();
            }
            assert_eq!(names(), Vec::<std::ffi::OsString>::new());
        },
    );
    world.hostel(["export", "web", "-o", kept]).ok();
    destroy(world, "web");
    for storage in ["dir", "overlay"] {
        everywhere(
            world,
            &["import", kept, "--storage", storage],
            24,
            May::Nothing,
            || {},
            || {
                let again = world.hostel(["import", kept, "--storage", storage]).run();
                assert!(again.status == 0 || again.stderr.contains("is there already"), "{again}");
                world.hostel(["start", "web"]).ok();
                works(world, "web");
                destroy(world, "web");
            },
        );
    }
}

fn a_unification_can_be_interrupted(world: &World) {
    let guest = |name: &str, n| format!("guest \"{name}\" {{ image = \"busybox\", xid = {}, storage = \"overlay\" }}\n", world.xid(n));
    let file = world.file("two.lua", &(guest("a", 0) + &guest("b", 1)));
    let same = || {
        for name in ["a", "b"] {
            let look = "cd /opt/x; for n in 1 2 3; do cut -c1 $n | sort -u | tr '\\n' ' '; done; stat -c %a 2";
            world.hostel(["start", name]).ok();
            world.hostel(["exec", name, "-T", "--", "sh", "-ec", look]).ok().stdout("1 2 3 4711\n");
        }
        world.hostel(["destroy", "--force", "a", "b"]).ok();
        world.hostel(["gc"]).ok();
    };
    let equal = || {
        applied(world, &file);
        for name in ["a", "b"] {
            let script = "mkdir /opt/x; for n in 1 2 3; do yes $n | head -c 50000 >/opt/x/$n; done; chmod 4711 /opt/x/2";
            world.hostel(["exec", name, "-T", "--", "sh", "-ec", script]).ok();
        }
        world.hostel(["stop", "a", "b"]).ok();
    };
    everywhere(world, &["unify"], 24, May::Parts, equal, same);
    let shared = || {
        equal();
        world.hostel(["unify"]).ok();
    };
    everywhere(world, &["unify", "--undo"], 16, May::Parts, shared, same);
}

fn the_verbs_of_volumes_can_be_interrupted(world: &World) {
    let file = |name: &str| world.root.join("volumes").join(name).join("rootfs/file");
    let remove = |name: &str| drop(world.hostel(["volume", "rm", name]).run());
    let create = ["volume", "create", "data", "--storage", "dir"];
    everywhere(world, &create, 12, May::Nothing, || {}, || remove("data"));
    world.hostel(create).ok();
    fs::write(file("data"), "one").unwrap();
    let mounts = "mounts = { { source = \"volume:data\", target = \"/data\" } },";
    running(world, "web", 0, mounts);
    everywhere(
        world,
        &["volume", "snapshot", "data", "--name", "one"],
        12,
        May::Nothing,
        || {},
        || {
            works(world, "web");
            drop(world.hostel(["volume", "snapshots", "data", "--remove", "one"]).run());
        },
    );
    everywhere(
        world,
        &["volume", "clone", "data", "copy"],
        12,
        May::Nothing,
        || {},
        || {
            works(world, "web");
            if file("copy").exists() {
                assert_eq!(fs::read_to_string(file("copy")).unwrap(), "one");
            }
            remove("copy");
        },
    );
    let archive = world.dir.join("data.tar");
    let path = archive.to_str().unwrap();
    everywhere(
        world,
        &["volume", "export", "data", "-o", path],
        12,
        May::Nothing,
        || drop(fs::remove_file(&archive)),
        || works(world, "web"),
    );
    drop(fs::remove_file(&archive));
    world.hostel(["volume", "export", "data", "-o", path]).ok();
    everywhere(world, &["volume", "import", path, "--name", "copy"], 12, May::Nothing, || {}, || remove("copy"));
    destroy(world, "web");
    remove("data");
}
