//! `hostel pause`

use crate::support::hostel;

#[test]
fn a_guest_that_is_not_there() {
    hostel(&["pause", "web"]).fails(
        1,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
}

#[test]
fn a_name_that_is_none() {
    hostel(&["pause", "../web"]).fails(
        2,
        "error: `../web` is not a guest name\nhint: 1 to 63 of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`, the first a letter or digit\n",
    );
}
