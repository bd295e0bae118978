//! `hostel status`

use crate::support::hostel;

#[test]
fn a_guest_that_is_not_there() {
    hostel(&["status", "web"]).fails(
        1,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
}

#[test]
fn its_error_is_json_too() {
    hostel(&["status", "web", "--json"]).fails(
        1,
        "{\"hint\":\"`hostel ls` lists those that there are\",\"kind\":\"not_found\",\"message\":\"there is no guest `web`\"}\n",
    );
}
