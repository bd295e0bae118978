//! `hostel plan`

use crate::check::RECIPE;
use crate::support::Place;

#[test]
fn a_new_guest_is_a_change() {
    let place = Place::new();
    let file = place.file("web.lua", RECIPE);
    let run = place.run(&["plan", &file]);
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (2, "+ create web\n1 to create\n", "")
    );
    let run = place.run(&["plan", &file, "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(run.code, 2);
    assert_eq!(plan["actions"][0]["guest"], "web");
    assert_eq!(plan["actions"][0]["action"], "create");
}

#[test]
fn nothing_to_do() {
    let place = Place::new();
    let file = place.file("none.lua", "-- no guests\n");
    assert_eq!(
        place.run(&["plan", &file]).prints(),
        "no changes: the host is as the recipe says\n"
    );
}
