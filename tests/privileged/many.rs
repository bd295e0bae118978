//! Several guests in one command: stopped and taken away at once, in the order of their dependencies.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::life::{recipe, running};
use crate::support::{World, eventually, tests};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => guests_that_are_slow_to_stop_are_stopped_at_once,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_is_stopped_after_those_that_depend_on_it,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_guest_that_cannot_be_destroyed_is_named_and_the_others_go,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => an_interrupted_stop_of_several_leaves_those_that_did_not_stop,
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
