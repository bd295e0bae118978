//! `hostel images`

use crate::support::Place;

#[test]
fn an_empty_host() {
    let place = Place::new();
    assert_eq!(place.run(&["images"]).prints(), "IMAGE  SIZE  GUESTS\n");
    assert_eq!(place.run(&["images", "--json"]).prints(), "[]\n");
    assert_eq!(place.run(&["images", "--prune"]).prints(), "");
}
