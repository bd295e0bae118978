//! Hooks of recipes: their order, their time, what follows a failure, and what is kept for them.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Output, World, tests};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => hooks_run_in_order,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_hook_that_fails_ends_the_start,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_warning_ends_nothing,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => stop_stops_the_guest,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_hook_is_killed_with_its_commands_when_its_time_is_over,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => inputs_are_kept_and_secrets_are_not,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => a_changed_recipe_is_refused_until_it_is_applied,
}

/// The recipe of a guest with these hooks, written.
fn recipe(world: &World, hooks: &str) -> String {
    let text = format!(
        "guest \"web\" {{\n  image = \"busybox\",\n  xid = {},\n  hooks = {{ {hooks} }},\n}}\n",
        world.xid(0)
    );
    world.file("web.lua", &text).to_str().unwrap().to_owned()
}

fn apply(world: &World, file: &str) -> Output {
    world.hostel(["apply", file]).run()
}

fn state(world: &World) -> String {
    let text = world.hostel(["status", "web", "--json"]).ok().stdout;
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    let status = status.get(0).unwrap_or(&status);
    status["state"].as_str().unwrap().to_owned()
}

fn destroy(world: &World) {
    world.hostel(["destroy", "--force", "web"]).ok();
}

/// A hook that writes its name to a file and to the command's log.
fn mark(log: &str, moment: &str) -> String {
    format!(
        "{moment} = function(h) h:exec {{ \"sh\", \"-c\", \"echo {moment} >> {log}\" }} h:log(\"{moment}\") end,"
    )
}

fn hooks_run_in_order(world: &World) {
    let log = world.dir.join("log");
    let log = log.to_str().unwrap();
    let moments = ["post_stop", "pre_stop", "post_start", "pre_start"];
    let file = recipe(world, &moments.map(|moment| mark(log, moment)).concat());
    let lines = || fs::read_to_string(log).unwrap();
    apply(world, &file).code(0).stderr_has("web: pre_start");
    assert_eq!(lines(), "pre_start\npost_start\n");
    world.hostel(["stop", "web"]).ok().stderr_has("web: post_stop");
    assert_eq!(lines(), "pre_start\npost_start\npre_stop\npost_stop\n");
    // What does not run is not stopped: no hooks.
    world.hostel(["stop", "web"]).ok();
    assert_eq!(lines().lines().count(), 4);
    world.hostel(["restart", "web"]).ok();
    assert_eq!(lines().lines().skip(4).collect::<Vec<_>>(), ["pre_start", "post_start"]);
    destroy(world);
    assert_eq!(lines().lines().skip(6).collect::<Vec<_>>(), ["pre_stop", "post_stop"]);
}

fn a_hook_that_fails_ends_the_start(world: &World) {
    for moment in ["pre_start", "post_start"] {
        let file = recipe(world, &format!("{moment} = function(h) h:exec {{ \"false\" }} end"));
        apply(world, &file)
            .code(1)
            .stderr_has(&format!("hook `{moment}` of `web`"))
            .stderr_has("web.lua:4: `false` failed");
        if world.hostel(["ls", "--quiet"]).ok().stdout == "web\n" {
            assert_eq!(state(world), "stopped");
            destroy(world);
        }
    }
}

fn a_warning_ends_nothing(world: &World) {
    let file = recipe(
        world,
        "post_start = { on_error = \"warn\", run = function() error(\"no luck\") end }",
    );
    apply(world, &file).code(0).stderr_has("warning:").stderr_has("no luck");
    assert_eq!(state(world), "running");
    destroy(world);
}

fn stop_stops_the_guest(world: &World) {
    let file = recipe(
        world,
        "post_start = { on_error = \"stop\", run = function() error(\"no luck\") end }",
    );
    apply(world, &file).code(1).stderr_has("no luck");
    if world.hostel(["ls", "--quiet"]).ok().stdout == "web\n" {
        assert_eq!(state(world), "stopped");
        destroy(world);
    }
}

fn a_hook_is_killed_with_its_commands_when_its_time_is_over(world: &World) {
    let file = recipe(
        world,
        "pre_start = { timeout = \"300ms\", run = function(h) h:exec { \"sleep\", \"97\" } end }",
    );
    let started = Instant::now();
    apply(world, &file).code(1).stderr_has("longer than 300ms");
    assert!(started.elapsed() < Duration::from_secs(20));
    let is_left = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x0097\x00")
    });
    assert!(!is_left, "a command of the hook outlived it");
    if world.hostel(["ls", "--quiet"]).ok().stdout == "web\n" {
        destroy(world);
    }
}

fn inputs_are_kept_and_secrets_are_not(world: &World) {
    let log = world.dir.join("log");
    let text = format!(
        "local region = input(\"region\")\nguest \"web\" {{ image = \"busybox\", xid = {}, hostname = region,\n\
         env = {{ TOKEN = secret \"web/token\" }},\n\
         hooks = {{ post_stop = function(h) h:exec {{ \"sh\", \"-c\", \"echo \" .. region .. \" >> {}\" }} end }} }}\n",
        world.xid(0),
        log.display()
    );
    let file = world.file("web.lua", &text);
    let file = file.to_str().unwrap();
    world
        .hostel(["apply", "--input", "region=eu", file])
        .env("HOSTEL_SECRET_WEB_TOKEN", "hunter2")
        .ok();
    // Neither the input nor the secret is given again.
    world.hostel(["stop", "web"]).ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "eu\n");
    let kept = fs::read_to_string(world.root.join("guests/web/spec.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["recipe"]["inputs"], serde_json::json!({ "region": "eu" }));
    assert!(!kept["recipe"].to_string().contains("hunter2"));
    destroy(world);
}

fn a_changed_recipe_is_refused_until_it_is_applied(world: &World) {
    let file = recipe(world, "pre_stop = function(h) h:log(\"first\") end");
    apply(world, &file).code(0);
    let file = recipe(world, "pre_stop = function(h) h:log(\"second\") end");
    world.hostel(["stop", "web"]).run().code(1).stderr_has("is not the recipe that `web` was applied from");
    // Nothing of the guest differs, but its hooks are the new ones.
    apply(world, &file).code(0).stdout("no changes: the host is as the recipe says\n");
    world.hostel(["stop", "web"]).ok().stderr_has("web: second");
    destroy(world);
}
