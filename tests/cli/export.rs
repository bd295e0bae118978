//! `hostel export`

use crate::support::Place;

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    let none = place.run(&["export", "web", "-o", &place.path("x.tar").to_string_lossy()]);
    none.fails(
        1,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
    assert!(!place.path("x.tar").exists());
    let how = place.run(&["export", "web", "--compress", "lzma"]);
    assert!(
        how.stderr.contains("`lzma` is no way to compress"),
        "{}",
        how.stderr
    );
    let force = place.run(&["export", "web", "--force"]);
    assert!(force.stderr.contains("--output"), "{}", force.stderr);
}
