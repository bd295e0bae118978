//! `kill -9` of hostel at every step: the next command works, and nothing leaks.
//!
//! A command is traced once to learn its steps, with those of the processes that it makes, and then killed at each of
//! them. On an emulated machine, where a step takes seconds, at a sample of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::life::{destroy, plain, recipe, works};
use crate::support::{Before, Need, Step, Victim, World, chosen, eventually, hierarchies, sample, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox] within 900 => build_of_busybox_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => build_of_a_tar_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => build_of_a_directory_can_be_killed,
    [Root, Cgroup2, Bpf, Debian] within 900 => build_of_debian_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => start_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => start_on_a_new_host_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => stop_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => destroy_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => apply_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => an_apply_that_changes_a_guest_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => workers_of_apply_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => the_process_of_a_start_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => build_and_start_of_layers_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => clone_of_layers_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => clones_at_once_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => clone_of_a_running_guest_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => convert_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox, Tool("gzip")] within 900 => export_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox, Tool("zstd")] within 900 => backup_and_its_verification_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => import_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => import_of_changes_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => snapshot_and_rollback_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => verbs_of_volumes_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => a_snapshot_of_a_shared_volume_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox, Tool("mkfs.ext4")] within 900 => a_volume_that_moves_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => unify_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] within 900 => unify_undo_can_be_killed,
    [Root, Cgroup2, Bpf, Busybox] => a_start_after_a_kill_in_the_midst_of_attaching_is_fenced,
    [Root, Cgroup2, Bpf, Busybox] => a_start_after_a_kill_in_the_midst_of_host_clear_is_fenced,
    [Root, Cgroup2, Bpf, Busybox] => a_signal_to_apply_alone_reaches_its_workers,
}

/// At how many steps a command is killed on a machine that is so slow that not all of them can be tried.
const SAMPLE: usize = 16;

struct Crash<'a> {
    world: &'a World,
    most: usize,
    before: Before,
}

impl<'a> Crash<'a> {
    fn new(world: &'a World) -> Self {
        Self {
            world,
            most: usize::MAX,
            before: Before::look(),
        }
    }

    /// Kills at that many steps, spread over all, where each takes long or is one that another test has killed at
    /// already.
    fn at_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Kills the command at every step, with `before` to get there and `after` to show that all is well.
    fn everywhere(&self, args: &[&str], before: impl Fn(), after: impl Fn()) {
        self.each(args, Victim::Command, |_| true, before, after);
    }

    /// Kills `victim` at every step that is `wanted`.
    fn each(
        &self,
        args: &[&str],
        victim: Victim,
        wanted: impl Fn(&Step) -> bool,
        before: impl Fn(),
        after: impl Fn(),
    ) {
        // What is there once and for all (a cache, hostel's own cgroup) is there before the steps are counted.
        before();
        self.world.hostel(args).ok();
        after();
        before();
        let whole = self.world.hostel(args).traced(None);
        assert_eq!(whole.status, 0, "`hostel {}` when it is traced", args.join(" "));
        after();
        let steps: Vec<Step> = whole.steps.into_iter().filter(wanted).collect();
        assert!(steps.len() > 5, "`hostel {}` has {} steps", args.join(" "), steps.len());
        let (points, count) = chosen(&steps, self.most, SAMPLE, ("killed", "kills"));
        // For whoever reads the log of a failure.
        let processes: BTreeSet<&str> = steps.iter().map(|step| step.process.as_str()).collect();
        println!(
            "`hostel {}`: {} steps of {processes:?}, {count} worth a kill, killed at {}",
            args.join(" "),
            steps.len(),
            points.len()
        );
        let mut killed = 0;
        for point in &points {
            println!("{point:?}");
            before();
            let traced = self.world.hostel(args).traced(Some((point, victim)));
            killed += usize::from(traced.is_killed);
            if traced.is_killed && victim == Victim::Command {
                assert_eq!(traced.status, 128 + 9, "{point:?}");
            }
            self.world.hostel(["ls"]).ok();
            after();
            // Half-made files are swept by the next command that makes some, or by this one.
            self.world.hostel(["gc"]).ok();
            let leaks = self.before.leaks(self.world);
            assert!(leaks.is_empty(), "after a kill at {point:?}: {leaks:#?}");
        }
        // A run may make a few calls fewer than the one that was counted: it waits for less.
        assert!(
            killed * 10 >= points.len() * 9,
            "only {killed} of {} were killed",
            points.len()
        );
    }
}

/// Builds a guest of `image` anew, with its image, killed at every step.
fn build(world: &World, image: &str, most: usize) {
    let text = format!("guest \"web\" {{ image = \"{image}\", xid = {} }}\n", world.xid(0));
    let file = world.file("web.lua", &text);
    Crash::new(world).at_most(most).everywhere(
        &["build", file.to_str().unwrap()],
        || {
            if !image.starts_with("debian") {
                world.hostel(["images", "--prune"]).ok();
            }
        },
        || {
            let again = world.hostel(["build".as_ref(), file.as_os_str()]).run();
            assert!(again.status == 0 || again.stderr.contains("is there already"), "{again}");
            world.hostel(["start", "web"]).ok();
            world.hostel(["exec", "web", "--", "ls", "/bin/sh"]).ok();
            world.hostel(["destroy", "--force", "web"]).ok();
            world.hostel(["ls", "--quiet"]).ok().stdout("").stderr("");
            for dir in ["guests", "xid", "lock"] {
                let left: Vec<_> = std::fs::read_dir(world.root.join(dir)).unwrap().flatten().collect();
                assert!(left.is_empty(), "{left:?}");
            }
        },
    );
}

fn build_of_busybox_can_be_killed(world: &World) {
    build(world, "busybox", 24);
}

/// A small tree with what a tree can have: directories, files, links, owners, modes, an attribute.
fn tree(world: &World) -> std::path::PathBuf {
    let script = "test ! -e tree || exit 0; mkdir -p tree/bin tree/etc tree/var/empty && cp /bin/busybox tree/bin/busybox && \
        ln -s busybox tree/bin/sh && ln tree/bin/busybox tree/bin/ls && echo hello >tree/etc/motd && \
        chown 33:33 tree/var/empty && chmod 1777 tree/var && chmod 4755 tree/bin/busybox && mkfifo tree/var/pipe";
    tool("sh", ["-c", script]).dir(&world.dir).ok();
    world.dir.join("tree")
}

fn build_of_a_tar_can_be_killed(world: &World) {
    tree(world);
    let file = world.dir.join("tree.tar");
    tool("tar", ["-cf", file.to_str().unwrap(), "-C", "tree", "."]).dir(&world.dir).ok();
    build(world, &format!("tar:{}", file.display()), 24);
}

fn build_of_a_directory_can_be_killed(world: &World) {
    let tree = tree(world);
    build(world, &format!("dir:{}", tree.display()), usize::MAX);
}

fn build_of_debian_can_be_killed(world: &World) {
    let _images = world.share_images();
    let file = world.file("first.lua", &format!("guest \"first\" {{ image = \"debian:bookworm\", xid = {} }}", world.xid(1)));
    world.online(["build".as_ref(), file.as_os_str()]).ok();
    world.hostel(["destroy", "first"]).ok();
    build(world, "debian:bookworm", 6);
}

fn start_can_be_killed(world: &World) {
    start(world, Victim::Command, |_| true, || {});
}

/// Hostel's cgroup and BPF programs are made anew each time.
fn start_on_a_new_host_can_be_killed(world: &World) {
    start(world, Victim::Command, |step| step.process == "0", || drop(world.hostel(["host", "clear"]).ok()));
}

/// The guest's first process dies before it is the guest's, and hostel goes on: it undoes all and says so.
fn the_process_of_a_start_can_be_killed(world: &World) {
    start(world, Victim::Process, |step| step.process != "0", || {});
}

fn start(world: &World, victim: Victim, wanted: impl Fn(&Step) -> bool, before: impl Fn()) {
    let file = recipe(world, "web", 0, "limits = { nofile = 256 },");
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    world.hostel(["stop", "web"]).ok();
    Crash::new(world).each(
        &["start", "web"],
        victim,
        wanted,
        before,
        || {
            let again = world.hostel(["start", "web"]).run();
            assert!(again.status == 0 || again.stderr.contains("runs already"), "{again}");
            works(world, "web");
            world.hostel(["stop", "web"]).ok();
        },
    );
    destroy(world, "web");
}

fn layers(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.root.join("layers")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn build_and_start_of_layers_can_be_killed(world: &World) {
    let file = recipe(world, "web", 0, "storage = \"overlay\",");
    let file = file.to_str().unwrap();
    Crash::new(world).at_most(40).each(
        &["apply", "--jobs", "1", file],
        Victim::Command,
        |_| true,
        || {},
        || {
            world.hostel(["apply", file]).ok();
            works(world, "web");
            destroy(world, "web");
            world.hostel(["gc"]).ok();
            assert_eq!(layers(world), Vec::<PathBuf>::new());
        },
    );
}

/// The source is stopped: its own list of layers changes too.
fn clone_of_layers_can_be_killed(world: &World) {
    let file = plain(world, "overlay");
    Crash::new(world).at_most(40).everywhere(
        &["clone", "web", "copy"],
        || {
            world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
            world.hostel(["exec", "web", "-T", "--", "busybox", "touch", "/srv/written"]).ok();
            world.hostel(["stop", "web"]).ok();
        },
        || {
            let again = world.hostel(["clone", "web", "copy"]).run();
            assert!(again.status == 0 || again.stderr.contains("is there already"), "{again}");
            for guest in ["web", "copy"] {
                world.hostel(["start", guest]).ok();
                world.hostel(["exec", guest, "-T", "--", "busybox", "test", "-e", "/srv/written"]).ok();
            }
            world.hostel(["destroy", "--force", "web", "copy"]).ok();
            world.hostel(["gc"]).ok();
            assert_eq!(layers(world), Vec::<PathBuf>::new());
        },
    );
}

/// Its workers die with it, each where it is.
fn clones_at_once_can_be_killed(world: &World) {
    let file = plain(world, "overlay");
    let copies = ["copy1", "copy2", "copy3"];
    let before = || {
        world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
        world.hostel(["stop", "web"]).ok();
    };
    let after = || {
        for copy in copies {
            let again = world.hostel(["clone", "web", copy]).run();
            assert!(again.status == 0 || again.stderr.contains("is there already"), "{again}");
            world.hostel(["start", copy]).ok();
            works(world, copy);
        }
        world.hostel(["destroy", "--force", "web", "copy1", "copy2", "copy3"]).ok();
        world.hostel(["gc"]).ok();
        assert_eq!(layers(world), Vec::<PathBuf>::new());
    };
    let argv = ["clone", "web", "copy1", "--count", "3"];
    Crash::new(world).each(&argv, Victim::Command, |step| step.process == "0", before, after);
}

/// Two stopped guests of layers with equal files, and a check that both have what they had.
fn equal_guests(world: &World) -> (impl Fn() + '_, impl Fn() + '_) {
    let guest = |name: &str, n| format!("guest \"{name}\" {{ image = \"busybox\", xid = {}, storage = \"overlay\" }}\n", world.xid(n));
    let file = world.file("two.lua", &(guest("a", 0) + &guest("b", 1)));
    let before = move || {
        world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
        for name in ["a", "b"] {
            let script = "mkdir /opt/x; for n in 1 2 3; do yes $n | head -c 50000 >/opt/x/$n; done; ln /opt/x/1 /opt/x/4; chmod 4711 /opt/x/2; chown 5:6 /opt/x/3; \
                 touch -d '2020-01-01 00:00:07' /opt/x/*; rm /bin/vi; echo $0 >/opt/x/own";
            world.hostel(["exec", name, "-T", "--", "sh", "-ec", script, name]).ok();
        }
        world.hostel(["stop", "a", "b"]).ok();
    };
    let after = move || {
        let look = "cd /opt/x; stat -c '%n %a %u %g %s %h %Y' 1 2 3 4; for n in 1 2 3 4; do cut -c1 $n | sort -u | tr '\\n' ' '; done; cat own; test ! -e /bin/vi";
        for name in ["a", "b"] {
            world.hostel(["start", name]).ok();
            let seen = "1 644 0 0 50000 2 1577836807\n2 4711 0 0 50000 1 1577836807\n3 644 5 6 50000 1 1577836807\n4 644 0 0 50000 2 1577836807\n1 2 3 1 ";
            world.hostel(["exec", name, "-T", "--", "sh", "-ec", look]).ok().stdout(&format!("{seen}{name}\n"));
        }
        world.hostel(["destroy", "--force", "a", "b"]).ok();
        world.hostel(["gc"]).ok();
        assert_eq!(layers(world), Vec::<PathBuf>::new());
        let store = fs::read_dir(world.root.join("store/root")).into_iter().flatten().flatten().next();
        let left = store.map(|dir| fs::read_dir(dir.path()).unwrap().count());
        assert!(matches!(left, None | Some(0)), "{left:?} files are left in the store");
    };
    (before, after)
}

fn unify_can_be_killed(world: &World) {
    let (before, after) = equal_guests(world);
    Crash::new(world).at_most(40).everywhere(&["unify", "--jobs", "1"], before, || {
        // It goes on where it was; the guests show the same either way.
        world.hostel(["unify"]).ok();
        after();
    });
}

fn unify_undo_can_be_killed(world: &World) {
    let (before, after) = equal_guests(world);
    let shared = || {
        before();
        world.hostel(["unify"]).ok();
    };
    Crash::new(world).at_most(24).everywhere(&["unify", "--undo"], shared, || {
        world.hostel(["unify", "--undo"]).ok();
        after();
    });
}

/// Whoever holds it still lets it go when hostel dies.
fn clone_of_a_running_guest_can_be_killed(world: &World) {
    let file = plain(world, "dir");
    Crash::new(world).at_most(24).each(
        &["clone", "web", "copy"],
        Victim::Command,
        |step| step.process == "0",
        || drop(world.hostel(["apply".as_ref(), file.as_os_str()]).ok()),
        || {
            let goes_on = || world.hostel(["exec", "web", "-T", "--", "busybox", "true"]).run().status == 0;
            assert!(eventually(std::time::Duration::from_secs(10), goes_on), "it stands still");
            let again = world.hostel(["clone", "web", "copy"]).run();
            assert!(again.status == 0 || again.stderr.contains("is there already"), "{again}");
            world.hostel(["destroy", "--force", "copy"]).ok();
            works(world, "web");
            world.hostel(["stop", "web"]).ok();
        },
    );
    destroy(world, "web");
}

fn snapshot_and_rollback_can_be_killed(world: &World) {
    for storage in ["overlay", "dir"] {
        let file = plain(world, storage);
        let inside = |script: &str| drop(world.hostel(["exec", "web", "-T", "--", "busybox", "sh", "-ec", script]).ok());
        world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
        inside("echo 1 >/srv/n");
        world.hostel(["stop", "web"]).ok();
        Crash::new(world).at_most(12).everywhere(
            &["snapshot", "web", "--name", "one"],
            || {},
            || {
                let again = world.hostel(["snapshot", "web", "--name", "one"]).run();
                assert!(again.status == 0 || again.stderr.contains("already"), "{again}");
                world.hostel(["rollback", "web", "one"]).ok();
                world.hostel(["snapshots", "web", "--remove", "one"]).ok();
                world.hostel(["start", "web"]).ok();
                inside("test $(cat /srv/n) = 1");
                world.hostel(["stop", "web"]).ok();
            },
        );
        world.hostel(["snapshot", "web", "--name", "one"]).ok();
        Crash::new(world).at_most(12).everywhere(
            &["rollback", "web", "one"],
            || {
                world.hostel(["start", "web"]).ok();
                inside("echo 2 >/srv/n");
                world.hostel(["stop", "web"]).ok();
            },
            || {
                world.hostel(["start", "web"]).ok();
                // The old or the new, whole.
                inside("n=$(cat /srv/n); test $n = 1 || test $n = 2");
                world.hostel(["stop", "web"]).ok();
                world.hostel(["rollback", "web", "one"]).ok();
                world.hostel(["start", "web"]).ok();
                inside("test $(cat /srv/n) = 1");
                world.hostel(["stop", "web"]).ok();
            },
        );
        destroy(world, "web");
        world.hostel(["gc"]).ok();
        assert_eq!(layers(world), Vec::<PathBuf>::new());
    }
}

/// `create`, `snapshot`, `rollback`, `clone` and `rm` of a volume, each killed: it is there whole or not at all.
fn verbs_of_volumes_can_be_killed(world: &World) {
    let volumes = || world.hostel(["volume", "ls", "--quiet"]).ok().stdout;
    let file = |name: &str| world.root.join("volumes").join(name).join("rootfs/file");
    let read = |name: &str| fs::read_to_string(file(name)).unwrap();
    // What a killed command has left is taken away by the next that makes something, or by `gc`.
    let tidy = |names: &[&str]| {
        world.hostel(["gc"]).ok();
        let count = |dir: &str| fs::read_dir(world.root.join(dir)).map_or(0, Iterator::count);
        assert_eq!((count("volumes"), count("volume-number"), count("tmp")), (names.len(), names.len(), 0));
    };
    Crash::new(world).at_most(12).everywhere(
        &["volume", "create", "data", "--storage", "dir"],
        || {},
        || {
            if volumes().is_empty() {
                tidy(&[]);
                world.hostel(["volume", "create", "data"]).ok();
            }
            tidy(&["data"]);
            fs::write(file("data"), "x").unwrap();
            world.hostel(["volume", "rm", "data"]).ok();
        },
    );
    world.hostel(["volume", "create", "data", "--storage", "dir"]).ok();
    fs::write(file("data"), "one").unwrap();
    Crash::new(world).at_most(12).everywhere(
        &["volume", "snapshot", "data", "--name", "one"],
        || {},
        || {
            let again = world.hostel(["volume", "snapshot", "data", "--name", "one"]).run();
            assert!(again.status == 0 || again.stderr.contains("already"), "{again}");
            fs::write(file("data"), "two").unwrap();
            world.hostel(["volume", "rollback", "data", "one"]).ok();
            assert_eq!(read("data"), "one");
            world.hostel(["volume", "snapshots", "data", "--remove", "one"]).ok();
            tidy(&["data"]);
        },
    );
    world.hostel(["volume", "snapshot", "data", "--name", "one"]).ok();
    Crash::new(world).at_most(12).everywhere(
        &["volume", "rollback", "data", "one"],
        || fs::write(file("data"), "two").unwrap(),
        || {
            // The old or the new, whole.
            assert!(["one", "two"].contains(&read("data").as_str()));
            world.hostel(["volume", "rollback", "data", "one"]).ok();
            assert_eq!(read("data"), "one");
            tidy(&["data"]);
        },
    );
    Crash::new(world).at_most(12).everywhere(
        &["volume", "clone", "data", "copy"],
        || {},
        || {
            if !volumes().contains("copy") {
                tidy(&["data"]);
                world.hostel(["volume", "clone", "data", "copy"]).ok();
            }
            assert_eq!((read("data"), read("copy")), ("one".into(), "one".into()));
            world.hostel(["volume", "rm", "copy"]).ok();
        },
    );
    Crash::new(world).at_most(12).everywhere(
        &["volume", "rm", "copy"],
        || {
            if !volumes().contains("copy") {
                world.hostel(["volume", "clone", "data", "copy"]).ok();
            }
        },
        || {
            if volumes().contains("copy") {
                assert_eq!(read("copy"), "one");
                world.hostel(["volume", "rm", "copy"]).ok();
            }
            tidy(&["data"]);
        },
    );
    world.hostel(["volume", "rm", "data"]).ok();
    tidy(&[]);
}

/// Guests on a volume, `number` of them.
fn on_volume(world: &World, count: u32) -> PathBuf {
    let mounts = "mounts = { { source = \"volume:data\", target = \"/data\" } }";
    let guest = |n| format!("guest \"g{n}\" {{ image = \"busybox\", xid = {}, {mounts} }}\n", world.xid(n));
    world.file("volume.lua", &(0..count).map(guest).collect::<String>())
}

/// The guests that stand still for it go on, all of them.
fn a_snapshot_of_a_shared_volume_can_be_killed(world: &World) {
    world.hostel(["volume", "create", "data", "--storage", "dir"]).ok();
    let file = on_volume(world, 3);
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    world.hostel(["stop", "g0", "g1", "g2"]).ok();
    Crash::new(world).at_most(16).each(
        &["volume", "snapshot", "data", "--name", "one"],
        Victim::Command,
        |step| step.process == "0",
        || drop(world.hostel(["start", "g0", "g1", "g2"]).ok()),
        || {
            for guest in ["g0", "g1", "g2"] {
                let script = ["exec", guest, "-T", "--", "busybox", "sh", "-ec", "echo x >/data/$$"];
                let goes_on = || world.hostel(script).run().status == 0;
                assert!(eventually(std::time::Duration::from_secs(10), goes_on), "{guest} stands still");
            }
            let again = world.hostel(["volume", "snapshot", "data", "--name", "one"]).run();
            assert!(again.status == 0 || again.stderr.contains("already"), "{again}");
            world.hostel(["volume", "snapshots", "data", "--remove", "one"]).ok();
            world.hostel(["stop", "g0", "g1", "g2"]).ok();
        },
    );
    world.hostel(["destroy", "--force", "g0", "g1", "g2"]).ok();
    world.hostel(["volume", "rm", "data"]).ok();
    world.hostel(["gc"]).ok();
}

/// Into an image and out of it: a guest starts on either.
fn a_volume_that_moves_can_be_killed(world: &World) {
    world.hostel(["volume", "create", "data", "--storage", "dir"]).ok();
    let file = on_volume(world, 1);
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    let inside = |script: &str| drop(world.hostel(["exec", "g0", "-T", "--", "busybox", "sh", "-ec", script]).ok());
    inside("echo one >/data/file");
    world.hostel(["stop", "g0"]).ok();
    let whole = || {
        world.hostel(["start", "g0"]).ok();
        inside("test $(cat /data/file) = one");
        world.hostel(["stop", "g0"]).ok();
    };
    let (out, into) = (["--size", "max", "--storage", "dir"], ["--size", "16M", "--storage", "image"]);
    for (there, back) in [(&into, &out), (&out, &into)] {
        let set = |to: &[&'static str; 4]| [&["volume", "set", "data"][..], to].concat();
        world.hostel(set(back)).ok();
        Crash::new(world).at_most(16).everywhere(&set(there), || {}, || {
            whole();
            world.hostel(set(back)).ok();
            whole();
        });
    }
    destroy(world, "g0");
    world.hostel(["volume", "rm", "data"]).ok();
    world.hostel(["gc"]).ok();
}

fn convert_can_be_killed(world: &World) {
    let file = plain(world, "dir");
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    world.hostel(["exec", "web", "-T", "--", "busybox", "touch", "/srv/written"]).ok();
    world.hostel(["stop", "web"]).ok();
    for (to, back) in [("overlay", "dir"), ("dir", "overlay")] {
        Crash::new(world).at_most(14).everywhere(
            &["convert", "web", "--to", to],
            || drop(world.hostel(["convert", "web", "--to", back]).ok()),
            || {
                world.hostel(["start", "web"]).ok();
                world.hostel(["exec", "web", "-T", "--", "busybox", "test", "-e", "/srv/written"]).ok();
                world.hostel(["stop", "web"]).ok();
                world.hostel(["convert", "web", "--to", to]).ok();
                world.hostel(["gc"]).ok();
                assert_eq!(world.root.join("guests/web/rootfs").exists(), to == "dir");
                assert_eq!(layers(world).is_empty(), to == "dir");
            },
        );
    }
    destroy(world, "web");
    world.hostel(["gc"]).ok();
    assert_eq!(layers(world), Vec::<PathBuf>::new());
}

/// Of a guest that runs and of one that is stopped, into a new file and over an old one: what is there is whole.
fn export_can_be_killed(world: &World) {
    let file = plain(world, "dir");
    let archive = world.dir.join("out/web.tar.gz");
    fs::create_dir(world.dir.join("out")).unwrap();
    let path = archive.to_str().unwrap();
    world.hostel(["build".as_ref(), file.as_os_str()]).ok();
    for (is_running, is_forced) in [(true, false), (false, true)] {
        let mut args = vec!["export", "web", "-o", path];
        if is_forced {
            args.push("--force");
            world.hostel(&args).ok();
        }
        Crash::new(world).at_most(16).each(
            &args,
            Victim::Command,
            |step| step.process == "0",
            || {
                if is_running {
                    world.hostel(["start", "web"]).ok();
                }
            },
            || {
                assert!(!is_forced || archive.exists(), "the old one is gone");
                if archive.exists() {
                    world.hostel(["import", path, "--name", "copy", "--storage", "dir"]).ok();
                    world.hostel(["destroy", "copy"]).ok();
                }
                // Also one that was to replace it and was cut off between its two names: the next one takes it over.
                world.hostel(["export", "web", "-o", path, "--force"]).ok();
                let names: Vec<_> = fs::read_dir(archive.parent().unwrap()).unwrap().flatten().map(|e| e.file_name()).collect();
                assert_eq!(names, ["web.tar.gz"]);
                if !is_forced {
                    fs::remove_file(&archive).unwrap();
                }
                if is_running {
                    works(world, "web");
                    world.hostel(["stop", "web"]).ok();
                }
            },
        );
    }
    destroy(world, "web");
}

/// Whatever is cut off goes on; what has a name is whole, and nothing is left of the scratch guest.
fn backup_and_its_verification_can_be_killed(world: &World) {
    let file = plain(world, "dir");
    let to = world.dir.join("backups");
    fs::create_dir(&to).unwrap();
    world.hostel(["build".as_ref(), file.as_os_str()]).ok();
    let go_on = || {
        let flows = world.hostel(["flow", "ls"]).ok().stdout;
        for line in flows.lines().filter(|line| line.contains("stopped")) {
            world.hostel(["flow", "resume", line.split_whitespace().next().unwrap()]).ok();
        }
    };
    let create = ["backup", "create", "web", "--to", to.to_str().unwrap(), "--keep-last", "2"];
    Crash::new(world).at_most(12).each(
        &create,
        Victim::Command,
        |step| step.process == "0",
        || drop(world.hostel(["start", "web"]).ok()),
        || {
            go_on();
            let names: Vec<_> = fs::read_dir(to.join("web")).into_iter().flatten().flatten().map(|e| e.path()).collect();
            assert!(names.iter().all(|name| name.to_str().unwrap().ends_with(".tar.zst")), "{names:?}");
            world.hostel(create).ok();
            works(world, "web");
            world.hostel(["stop", "web"]).ok();
        },
    );
    let verify = ["backup", "verify", "web", "--to", to.to_str().unwrap()];
    Crash::new(world).at_most(12).each(
        &verify,
        Victim::Command,
        |step| step.process == "0",
        || {},
        || {
            go_on();
            world.hostel(["ls", "--quiet"]).ok().stdout("web\n");
        },
    );
    destroy(world, "web");
}

fn import_can_be_killed(world: &World) {
    let file = plain(world, "dir");
    let archive = world.dir.join("web.tar");
    let path = archive.to_str().unwrap();
    world.hostel(["build".as_ref(), file.as_os_str()]).ok();
    world.hostel(["export", "web", "-o", path]).ok();
    world.hostel(["destroy", "web"]).ok();
    for storage in ["dir", "overlay"] {
        Crash::new(world).at_most(16).everywhere(
            &["import", path, "--storage", storage],
            || {},
            || {
                let again = world.hostel(["import", path, "--storage", storage]).run();
                assert!(again.status == 0 || again.stderr.contains("is there already"), "{again}");
                world.hostel(["start", "web"]).ok();
                works(world, "web");
                destroy(world, "web");
                world.hostel(["gc"]).ok();
                assert_eq!(layers(world), Vec::<PathBuf>::new());
            },
        );
    }
}

/// The guest is as before or as after, never between: the archive goes onto the one, and is refused by the other.
fn import_of_changes_can_be_killed(world: &World) {
    for storage in ["dir", "overlay"] {
        let file = plain(world, storage);
        let archive = world.dir.join(format!("{storage}.tar"));
        let path = archive.to_str().unwrap();
        world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
        world.hostel(["stop", "web"]).ok();
        world.hostel(["snapshot", "web", "--name", "one"]).ok();
        world.hostel(["start", "web"]).ok();
        world.hostel(["exec", "web", "-T", "--", "busybox", "sh", "-c", "echo 2 >/srv/n; rm /bin/vi"]).ok();
        world.hostel(["stop", "web"]).ok();
        world.hostel(["export", "web", "--since", "one", "-o", path]).ok();
        Crash::new(world).at_most(16).everywhere(
            &["import", path, "--onto", "web"],
            || drop(world.hostel(["rollback", "web", "one"]).ok()),
            || {
                let again = world.hostel(["import", path, "--onto", "web"]).run();
                assert!(again.status == 0 || again.stderr.contains("and this is something else"), "{again}");
                world.hostel(["start", "web"]).ok();
                world.hostel(["exec", "web", "-T", "--", "busybox", "sh", "-c", "test $(cat /srv/n) = 2 && test ! -e /bin/vi"]).ok();
                world.hostel(["stop", "web"]).ok();
            },
        );
        destroy(world, "web");
        world.hostel(["gc"]).ok();
        assert_eq!(layers(world), Vec::<PathBuf>::new());
    }
}

fn stop_can_be_killed(world: &World) {
    let file = recipe(world, "web", 0, "");
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    world.hostel(["stop", "web"]).ok();
    Crash::new(world).everywhere(
        &["stop", "web"],
        || drop(world.hostel(["start", "web"]).ok()),
        || drop(world.hostel(["stop", "web"]).ok()),
    );
    destroy(world, "web");
}

fn destroy_can_be_killed(world: &World) {
    let file = recipe(world, "web", 0, "");
    let file = file.to_str().unwrap();
    Crash::new(world).everywhere(
        &["destroy", "--force", "web"],
        || drop(world.hostel(["apply", file]).ok()),
        || {
            let again = world.hostel(["destroy", "--force", "web"]).run();
            assert!(again.status == 0 || again.stderr.contains("no guest"), "{again}");
            world.hostel(["ls", "--quiet"]).ok().stdout("").stderr("");
        },
    );
}

/// Two small guests, the second after the first, so that the steps of their workers come in one order.
fn two(world: &World, more: &str) -> String {
    let shared = Need::LandlockScopes.probe().is_err();
    let tree = tree(world);
    let guest = |name: &str, number: u8, more: &str| {
        format!(
            "guest \"{name}\" {{ image = \"dir:{}\", xid = {}, {more}\n  net = {{ mode = \"bind\", address = {{ \"{}/8\" }}, shared_abstract_sockets = {shared} }} }}\n",
            tree.display(),
            world.xid(number.into()),
            world.address(number + 1)
        )
    };
    let text = guest("db", 0, more) + &guest("web", 1, &format!("depends = {{ \"db\" }}, {more}"));
    world.file("two.lua", &text).to_str().unwrap().to_owned()
}

fn apply_again(world: &World, file: &str) {
    world.hostel(["apply", file]).ok();
    world.hostel(["apply", file]).ok().stdout("no changes: the host is as the recipe says\n");
    works(world, "db");
    works(world, "web");
}

/// The second worker does what the first did (`0.0` evaluates the recipe).
fn is_of_the_first_worker(step: &Step) -> bool {
    !step.process.starts_with("0.2")
}

fn destroy_both(world: &World) {
    world.hostel(["destroy", "--force", "web", "db"]).ok();
    world.hostel(["ls", "--quiet"]).ok().stdout("").stderr("");
}

fn apply_can_be_killed(world: &World) {
    let file = two(world, "files = { [\"/etc/motd\"] = \"hi\" },");
    Crash::new(world).at_most(32).each(
        &["apply", &file],
        Victim::Command,
        is_of_the_first_worker,
        || {},
        || {
            apply_again(world, &file);
            destroy_both(world);
        },
    );
}

fn an_apply_that_changes_a_guest_can_be_killed(world: &World) {
    let file = two(world, "limits = { nofile = 128 },");
    let changed = two(world, "limits = { nofile = 256, pids = 50 }, hostname = \"other\",");
    let changed = std::fs::rename(changed, world.dir.join("changed.lua")).map(|()| world.dir.join("changed.lua"));
    let changed = changed.unwrap();
    let _ = two(world, "limits = { nofile = 128 },");
    Crash::new(world).at_most(32).each(
        &["apply", changed.to_str().unwrap()],
        Victim::Command,
        is_of_the_first_worker,
        || drop(world.hostel(["apply", &file]).ok()),
        || {
            apply_again(world, changed.to_str().unwrap());
            world.hostel(["exec", "web", "--", "busybox", "hostname"]).ok().stdout("other\n");
            // From nothing again: what the change has left shows.
            world.hostel(["stop", "web", "db"]).ok();
        },
    );
    destroy_both(world);
}

/// A worker dies and apply goes on: it says which, undoes nothing that is whole, and the next apply does the rest.
fn workers_of_apply_can_be_killed(world: &World) {
    let file = two(world, "");
    Crash::new(world).at_most(32).each(
        &["apply", "--jobs", "1", &file],
        Victim::Process,
        |step| step.process != "0" && is_of_the_first_worker(step),
        || {},
        || {
            apply_again(world, &file);
            destroy_both(world);
        },
    );
}

/// hostel's pins: the directory of the maps and that of the programs.
fn pins(world: &World) -> [PathBuf; 2] {
    let pins = hostel::bpf::find_pins(&world.run, Path::new(&world.cgroup)).unwrap();
    let mut found: Vec<PathBuf> = fs::read_dir(pins).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert!(names.len() == 2 && names[0].starts_with("maps-") && names[1].starts_with("set-"), "{names:?}");
    found.try_into().unwrap()
}

/// The cgroup of a start that was killed is cleared by the next one, which asks the maps for that before it attaches
/// what is missing: it took what it had asked for the whole, and the guest had no programs around it.
fn a_start_after_a_kill_in_the_midst_of_attaching_is_fenced(world: &World) {
    let file = recipe(world, "web", 0, "");
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    world.hostel(["stop", "web"]).ok();
    let [maps, set] = pins(world);
    let programs = fs::read_dir(&set).unwrap().count();
    let cgroup = hierarchies().into_iter().find(|hierarchy| hierarchy.is_v2).unwrap().mount.join(&world.cgroup);
    for missing in [&[][..], &["sockets"], &["guests", "epoch"]] {
        for link in fs::read_dir(&set).unwrap() {
            fs::remove_file(link.unwrap().path()).unwrap();
        }
        fs::remove_dir(&set).unwrap();
        for map in missing {
            fs::remove_file(maps.join(map)).unwrap();
        }
        fs::create_dir(cgroup.join(format!("x{}", world.xid(0)))).unwrap();
        world.hostel(["start", "web"]).ok();
        assert_eq!(pins(world), [maps.clone(), set.clone()], "without {missing:?}");
        assert_eq!(fs::read_dir(&set).unwrap().count(), programs);
        // An address of the host's, which without the programs could be had.
        let address = |verb: &str| drop(tool("ip", ["address", verb, "192.0.2.77/32", "dev", "lo"]).ok());
        address("add");
        let taken = world.hostel(["exec", "web", "--", "busybox", "httpd", "-f", "-p", "192.0.2.77:80"]).run();
        address("del");
        assert!(taken.status != 0 && taken.stderr.contains("bind"), "{taken}");
        world.hostel(["stop", "web"]).ok();
    }
    destroy(world, "web");
}

/// As the standard library removes a file.
const UNLINK: i64 = if cfg!(target_arch = "x86_64") { 87 } else { 35 };

/// What is left of a set of programs that was being detached does not pass for a whole one.
fn a_start_after_a_kill_in_the_midst_of_host_clear_is_fenced(world: &World) {
    let file = recipe(world, "web", 0, "");
    world.hostel(["apply".as_ref(), file.as_os_str()]).ok();
    world.hostel(["stop", "web"]).ok();
    let [_, set] = pins(world);
    let programs = fs::read_dir(&set).unwrap().count();
    let whole = world.hostel(["host", "clear"]).traced(None);
    assert_eq!(whole.status, 0);
    let unpins = whole.steps.into_iter().filter(|step| step.call == UNLINK).collect();
    for step in &sample(unpins, 6) {
        world.hostel(["start", "web"]).ok();
        world.hostel(["stop", "web"]).ok();
        world.hostel(["host", "clear"]).traced(Some((step, Victim::Command)));
        world.hostel(["start", "web"]).ok();
        let [_, set] = pins(world);
        assert_eq!(fs::read_dir(&set).unwrap().count(), programs, "{step:?}");
        world.hostel(["stop", "web"]).ok();
    }
    destroy(world, "web");
}

fn a_signal_to_apply_alone_reaches_its_workers(world: &World) {
    let text = format!(
        "guest \"web\" {{ image = \"busybox\", xid = {}, health = {{ exec = {{ \"false\" }}, start = \"100s\" }},\n  \
         hooks = {{ pre_start = function(h) h:log(\"at work\") end }} }}\n",
        world.xid(0)
    );
    let file = world.file("web.lua", &text);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let apply = world.hostel(["apply".as_ref(), file.as_os_str()]).spawn();
        let is_up = || world.hostel(["ls", "--quiet", "--running"]).ok().stdout == "web\n";
        assert!(eventually(std::time::Duration::from_secs(20), is_up));
        // To this process, not to its group.
        apply.signal(signal);
        let out = apply.wait();
        assert_eq!(out.status, 128 + signal as i32, "{out}");
        assert!(out.stderr.contains("interrupted"), "{out}");
        // What it had begun is undone: the guest is built and does not run.
        world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
        destroy(world, "web");
    }
}
