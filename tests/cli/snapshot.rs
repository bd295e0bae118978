//! `hostel snapshot`

use crate::support::Place;

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    let none = place.run(&["snapshot", "web"]);
    none.fails(
        1,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
    let keep = place.run(&["snapshot", "web", "--keep", "0"]);
    assert!(keep.stderr.contains("0 is not in"), "{}", keep.stderr);
    let name = place.run(&["snapshot", "web", "--name", "../x"]);
    assert!(
        name.stderr.contains("`../x` is no name for a snapshot"),
        "{}",
        name.stderr
    );
}
