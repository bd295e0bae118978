//! Scripts of primitives: what they show without root, and what is said of their mistakes.

use std::os::unix::fs::PermissionsExt as _;

use hostel::lua::script;

fn run(text: &str, args: &[&str]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script.lua");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    script::run(&path, &args).map_err(|d| d.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn the_example_plans_without_root() {
    let text = include_str!("../../examples/06-primitives.lua");
    run(text, &["plan"]).unwrap_or_else(|text| panic!("{text}"));
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
        assert(plan:find("127.9.0.1", 1, true), plan)
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
    assert_eq!(script::run(&path, &[]).is_err(), is_root);
}
