//! `hostel rollback`

use crate::support::Place;

#[test]
fn a_guest_that_is_not_there() {
    let error = "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n";
    Place::new().run(&["rollback", "web", "x"]).fails(1, error);
}
