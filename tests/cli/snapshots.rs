//! `hostel snapshots`

use crate::support::Place;

#[test]
fn a_guest_that_is_not_there() {
    let error = "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n";
    Place::new().run(&["snapshots", "web"]).fails(1, error);
    Place::new()
        .run(&["snapshots", "web", "--remove", "x"])
        .fails(1, error);
}
