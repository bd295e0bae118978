//! `hostel build`: what needs no privilege.

use crate::check::RECIPE;
use crate::support::Place;

#[test]
fn a_guest_that_the_recipe_does_not_have() {
    let place = Place::new();
    let file = place.file("web.lua", RECIPE);
    place
        .run(&["build", &file, "db"])
        .fails(1, &format!("error: `{file}` has no guest `db`\n"));
}
