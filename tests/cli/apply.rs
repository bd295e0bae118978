//! `hostel apply`: what needs no privilege.

use crate::support::Place;

#[test]
fn nothing_to_do() {
    let place = Place::new();
    let file = place.file("none.lua", "-- no guests\n");
    assert_eq!(
        place.run(&["apply", &file]).prints(),
        "no changes: the host is as the recipe says\n"
    );
}

#[test]
fn a_wrong_recipe_changes_nothing() {
    let place = Place::new();
    let file = place.file("web.lua", "guest \"web\" { image = \"nonsense\" }\n");
    let run = place.run(&["apply", &file]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(!place.path("root").exists());
}
