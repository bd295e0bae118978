//! Several guests in one command: stopped and taken away at once, in the order of their dependencies.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::life::{destroy, recipe, running};
use crate::support::{World, eventually, tests};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => guests_that_are_slow_to_stop_are_stopped_at_once,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_is_stopped_after_those_that_depend_on_it,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_that_cannot_be_destroyed_is_named_and_the_others_go,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => an_interrupted_stop_of_several_leaves_those_that_did_not_stop,
    [Root, Cgroup2, Bpf, Verb("clone"), Busybox] => interrupted_clones_leave_nothing,
}

/// A service that ends only when it is killed, after `timeout`.
fn stubborn(timeout: &str) -> String {
    format!(
        "stop = {{ timeout = \"{timeout}\" }}, services = {{ deaf = {{ exec = {{ \"sh\", \"-c\", \
         \"trap '' TERM; while :; do sleep 1; done\" }} }} }},"
    )
}

fn guests_that_are_slow_to_stop_are_stopped_at_once(world: &World) {
    for (number, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        running(world, name, u32::try_from(number).unwrap(), &stubborn("4s"));
    }
    let began = Instant::now();
    let out = world.hostel(["destroy", "--force", "a", "b", "c", "d"]).ok();
    let took = began.elapsed().as_secs();
    // One after the other takes sixteen.
    assert!((3..13).contains(&took), "{took} s");
    out.stdout("destroyed d\ndestroyed c\ndestroyed b\ndestroyed a\n").stderr("");
}

fn a_guest_is_stopped_after_those_that_depend_on_it(world: &World) {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let db = read(recipe(world, "db", 0, &stubborn("2s")));
    let web = read(recipe(world, "web", 1, &format!("depends = {{ \"db\" }}, {}", stubborn("2s"))));
    let both = world.file("both.lua", &(db + &web));
    world.hostel(["apply".as_ref(), both.as_os_str()]).ok();
    let stop = world.hostel(["stop", "db", "web"]).spawn();
    let mut seen = vec![];
    loop {
        let up = world.hostel(["ls", "--quiet", "--running"]).ok().stdout;
        if seen.last() != Some(&up) {
            seen.push(up);
        }
        if seen.last().is_some_and(String::is_empty) {
            break;
        }
    }
    assert_eq!(seen, ["db\nweb\n", "db\n", ""]);
    stop.wait().code(0).stderr("");
    world.hostel(["destroy", "db", "web"]).ok();
}

fn a_guest_that_cannot_be_destroyed_is_named_and_the_others_go(world: &World) {
    running(world, "a", 0, "");
    running(world, "c", 2, "");
    let flag = world.dir.join("flag");
    let hook = format!("hooks = {{ pre_stop = function(h) h:exec {{ \"test\", \"-e\", \"{}\" }} end }},", flag.display());
    running(world, "b", 1, &hook);
    let out = world.hostel(["destroy", "--force", "a", "b", "c"]).run();
    out.code(1).stdout("destroyed c\ndestroyed a\n").stderr_has("hook `pre_stop` of `b`");
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("b\n");
    fs::write(&flag, "").unwrap();
    world.hostel(["destroy", "--force", "b"]).ok();
}

fn an_interrupted_stop_of_several_leaves_those_that_did_not_stop(world: &World) {
    running(world, "deaf", 0, &stubborn("50s"));
    running(world, "mute", 1, &stubborn("50s"));
    running(world, "good", 2, "");
    let stop = world.hostel(["stop", "mute", "good", "deaf"]).spawn();
    let is_down = || !world.hostel(["ls", "--quiet", "--running"]).ok().stdout.contains("good");
    assert!(eventually(Duration::from_secs(20), is_down));
    stop.signal(Signal::SIGTERM);
    stop.wait().code(128 + 15).stderr_has("SIGTERM");
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("deaf\nmute\n");
    world.hostel(["stop", "--kill", "--all"]).ok().stdout("killed mute\nkilled deaf\n");
    world.hostel(["destroy", "deaf", "good", "mute"]).ok();
}

/// Ctrl-C in the midst of copying a layer: of the clone nothing stays, and the source, which stood still for it, goes on.
fn interrupted_clones_leave_nothing(world: &World) {
    running(world, "base", 0, "storage = \"overlay\",");
    world.hostel(["exec", "base", "--", "sh", "-c", "yes | head -c 80000000 >/big"]).ok();
    let layers = || fs::read_dir(world.root.join("layers")).unwrap().count();
    let alone = layers();
    let mut interrupted = 0;
    for count in ["1", "1", "3", "3", "3"] {
        let address = world.address(9).to_string() + "/8";
        let clone = world.hostel(["clone", "base", "copy1", "--count", count, "--address", &address]).spawn();
        assert!(eventually(Duration::from_secs(10), || layers() > alone), "no layer is made");
        clone.signal(Signal::SIGINT);
        let ended = clone.wait();
        if ended.status != 0 {
            assert_eq!(ended.status, 130, "{ended}");
            assert!(ended.stderr.contains("interrupted by SIGINT") && !ended.stderr.contains("stand still"), "{ended}");
            interrupted += 1;
        }
        let listed = world.hostel(["ls", "--quiet"]).ok().stdout;
        let clones: Vec<&str> = listed.lines().filter(|name| *name != "base").collect();
        assert_eq!(layers(), alone + clones.len(), "{listed}");
        for name in clones {
            destroy(world, name);
        }
        world.hostel(["exec", "base", "--", "true"]).ok();
    }
    assert!(interrupted > 0, "each was over before");
    assert_eq!(layers(), alone);
    destroy(world, "base");
}
