//! Scripts of primitives: what they show without root, and what is said of their mistakes.

use std::os::unix::fs::PermissionsExt as _;

use hostel::lua::script::{self, Args};

fn run(text: &str, args: &[&str]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script.lua");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    script::run(&path, &Args::parse(&args)).map_err(|f| {
        f.diagnostics
            .to_string()
            .replace(&format!("{}/", dir.path().display()), "")
    })
}

#[test]
fn the_example_plans_without_root() {
    let text = include_str!("../../examples/07-primitives.lua");
    run(text, &["--plan"]).unwrap_or_else(|text| panic!("{text}"));
}

#[test]
fn confinements_are_chained_and_shown() {
    run(
        r#"
        local hostel = require "hostel"
        local plan = hostel.bind { "127.9.0.1", "fd00::9" }
          :limit { memory = "64M" }
          :caps { only = { "chown" } }
          :plan()
        assert(tostring(plan):find("127.9.0.1", 1, true) and #plan > 2, tostring(plan))
        assert(... == "x" and arg[1] == "x" and io and os and not debug)
        assert(not pcall(require, "no.such.module"))
        "#,
        &["x"],
    )
    .unwrap_or_else(|text| panic!("{text}"));
}

#[test]
fn mistakes_are_shown_at_their_line() {
    insta::assert_snapshot!(
        run("local hostel = require \"hostel\"\nhostel.context { isolate = { \"pid\" } }\n  :limit { memry = \"1G\" }\n", &[])
            .unwrap_err()
    );
}

#[test]
fn a_script_that_others_can_write_is_refused_for_root() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script.lua");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    assert_eq!(script::run(&path, &Args::default()).is_err(), is_root);
}

/// The sketch of docs: as written there.
#[test]
fn the_sketch_plans_as_written() {
    run(
        r#"
        local hostel = require "hostel"
        local c <close> = hostel.context { xid = 900, hostname = "bar", isolate = { "pid", "ipc", "uts", "mount", "user" } }
        c:chroot("/srv/rootfs")
         :bind { "127.9.0.1", "fd00::9" }
         :mount { source = "/srv/data", target = "/data", readonly = true }
         :caps { only = { "chown", "setuid", "setgid" } }
         :limit { memory = "256M", pids = 64, cpus = 0.5, nofile = 1024 }
        if flags.plan then return assert(#c:plan() > 5 and tostring(c:plan()):find "^ 1%. ") end
        error "not planned"
        "#,
        &["--plan"],
    )
    .unwrap_or_else(|text| panic!("{text}"));
}

#[test]
fn what_is_caught_has_a_kind() {
    run(
        r#"
        local hostel = require "hostel"
        local ok, err = pcall(hostel.context, { xid = 70000 })
        assert(not ok and err.kind == "usage" and err.message:find("70000"), tostring(err))
        local ok, err = pcall(hostel.context, { isolat = { "pid" } })
        assert(not ok and err.hint == "did you mean `isolate`?", tostring(err))
        local ok, err = pcall(hostel.guest, 5)
        assert(not ok and err.kind == "usage", tostring(err))
        local ok, err = pcall(function() hostel.limit { memory = "1G" }:run { "x", nil, "y" } end)
        assert(not ok and err.message:find("argument 2 is nil"), tostring(err))
        local ok, err = pcall(function() hostel.context { join = "web" }:limit { pids = 1 } end)
        assert(not ok and err.message:find("joins"), tostring(err))
        assert(tostring(hostel.context { join = "web" }:plan { "id" }):find("join guest `web`", 1, true))
        assert(tostring(hostel.context { xid = 1 }) == "context of the spectator")
        local ok, err = pcall(error, "plain")
        assert(not ok and err == "plain")
        local ok, err = xpcall(hostel.guest, function(e) return "seen " .. e.kind end, {})
        assert(not ok and err == "seen usage", err)
        local guest, err = hostel.guest("nobody")
        assert(guest == nil and err.kind == "not_found", tostring(err))
        assert(package.cpath == "" and not package.loadlib and not debug)
        "#,
        &[],
    )
    .unwrap_or_else(|text| panic!("{text}"));
}

#[test]
fn limits_add_up() {
    run(
        r#"
        local hostel = require "hostel"
        local plan = tostring(hostel.limit { memory = "64M" }:limit { pids = 7 }:plan { "true" })
        assert(plan:find("64M", 1, true) and plan:find("7", 1, true), plan)
        "#,
        &[],
    )
    .unwrap_or_else(|text| panic!("{text}"));
}
