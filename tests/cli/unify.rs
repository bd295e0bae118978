//! `hostel unify`

use crate::support::Place;

#[test]
fn what_is_no_path_of_a_guest_is_refused() {
    let place = Place::new();
    place.run(&["unify", "--include", "etc"]).fails(
        2,
        "error: `etc` is no path of a guest\nhint: absolute and without `..`, such as `/var/lib`\n",
    );
}
