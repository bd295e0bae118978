//! `hostel import`

use crate::support::Place;

#[test]
fn what_is_no_archive_is_refused() {
    let place = Place::new();
    let missing = place.run(&["import", "/nowhere.tar"]);
    missing.fails(
        1,
        "error: open `/nowhere.tar`: ENOENT (no such file or directory)\n",
    );
    let file = place.file("x.tar", "no archive");
    place.run(&["import", &file]).fails(
        1,
        &format!(
            "error: `{file}` is no archive of a guest: failed to fill whole buffer\n\
             hint: `hostel export` writes archives of guests; `image = \"tar:FILE\"` takes any other\n"
        ),
    );
}
