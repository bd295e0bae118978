//! `hostel convert`

use crate::support::Place;

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    let none = place.run(&["convert", "web", "--to", "overlay"]);
    none.fails(
        1,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
    let nowhere = place.run(&["convert", "web"]);
    assert!(nowhere.stderr.contains("--to <STORAGE>"), "{}", nowhere.stderr);
    let storage = place.run(&["convert", "web", "--to", "zfs"]);
    assert!(
        storage.stderr.contains("`zfs` is not a kind of storage"),
        "{}",
        storage.stderr
    );
}
