//! `hostel clone`

use crate::support::Place;

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    let none = place.run(&["clone", "web", "web2"]);
    none.fails(
        1,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
    let many = place.run(&["clone", "web", "web2", "--count", "0"]);
    assert!(many.stderr.contains("0 is not in 1..=1000"), "{}", many.stderr);
    let both = place.run(&["clone", "web", "web2", "--count", "2", "--hostname", "x"]);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
    let storage = place.run(&["clone", "web", "web2", "--storage", "zfs"]);
    assert!(
        storage.stderr.contains("`zfs` is not a kind of storage"),
        "{}",
        storage.stderr
    );
}
