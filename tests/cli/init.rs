//! `hostel init`

use crate::support::Place;

#[test]
fn the_starter_recipe_is_right_and_not_overwritten() {
    let place = Place::new();
    let dir = place.path("fleet").to_str().unwrap().to_owned();
    let run = place.run(&["init", &dir]);
    assert!(
        run.prints().starts_with(&format!("wrote {dir}/web.lua\n")),
        "{}",
        run.stdout
    );
    assert_eq!(
        place.run(&["check", &format!("{dir}/web.lua")]).prints(),
        "1 guest, no mistakes\n"
    );
    place.run(&["init", &dir]).fails(
        1,
        &format!(
            "error: `{dir}/web.lua` is there already\nhint: name another directory: `hostel init DIR`\n"
        ),
    );
}
