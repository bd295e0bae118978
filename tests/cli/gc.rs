//! `hostel gc`

use crate::support::Place;

#[test]
fn sweeps_what_a_dead_command_left() {
    let place = Place::new();
    assert_eq!(place.run(&["gc"]).prints(), "");
    let left = place.path("root/tmp/left");
    std::fs::create_dir_all(&left).unwrap();
    assert_eq!(
        place.run(&["gc"]).prints(),
        format!("removed scratch directory `{}`\n", left.display())
    );
    assert_eq!(place.run(&["gc", "--json"]).prints(), "[]\n");
}
