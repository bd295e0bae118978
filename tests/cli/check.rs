//! `hostel check`

use crate::support::Place;

pub(crate) const RECIPE: &str = "guest \"web\" { image = \"busybox\", limits = { memory = \"64M\" } }\n";

#[test]
fn a_right_recipe() {
    let place = Place::new();
    let file = place.file("web.lua", RECIPE);
    assert_eq!(place.run(&["check", &file]).prints(), "1 guest, no mistakes\n");
    let run = place.run(&["check", &file, "--json"]);
    let specs: serde_json::Value = serde_json::from_str(run.prints()).unwrap();
    assert_eq!(specs[0]["limits"]["memory"], "64M");
}

#[test]
fn mistakes_are_told_with_their_places() {
    let place = Place::new();
    let file = place.file(
        "web.lua",
        "guest \"web\" { image = \"busybox\",\n  limits = { memroy = \"64M\", pids = 0.5 } }\n",
    );
    let run = place.run(&["check", &file]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("web.lua:2:14"), "{}", run.stderr);
    assert!(run.stderr.contains("did you mean `memory`?"), "{}", run.stderr);
    let run = place.run(&["check", &file, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(told["kind"], "invalid");
    assert_eq!(told["diagnostics"].as_array().unwrap().len(), 2);
}

#[test]
fn a_file_that_is_not_there() {
    let run = Place::new().run(&["check", "/nonexistent.lua"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("/nonexistent.lua"), "{}", run.stderr);
}
