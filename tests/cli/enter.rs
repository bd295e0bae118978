//! `hostel enter`

use crate::support::hostel;

#[test]
fn a_guest_that_is_not_there() {
    hostel(&["enter", "web"]).fails(
        125,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
}
