//! `hostel explain`

use crate::check::RECIPE;
use crate::support::{Place, hostel};

#[test]
fn a_code() {
    assert!(hostel(&["explain", "E0102"]).prints().starts_with("E0102"));
}

#[test]
fn where_a_value_comes_from() {
    let place = Place::new();
    let file = place.file("web.lua", RECIPE);
    let run = place.run(&["explain", "web.limits.memory", "-r", &file]);
    let text = run.prints();
    assert!(text.starts_with("web.limits.memory\n"), "{text}");
    assert!(text.ends_with(" guest \"web\"  <- decides\n"), "{text}");
}

#[test]
fn neither() {
    hostel(&["explain", "nonsense"]).fails(
        2,
        "error: `nonsense` is no code and no field of a guest\nhint: such as `E0102` or `web.limits.memory`\n",
    );
}
