//! `hostel stop`

use crate::support::hostel;

#[test]
fn a_guest_that_is_not_there() {
    hostel(&["stop", "web"]).fails(
        1,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
}

#[test]
fn a_name_that_is_none() {
    hostel(&["stop", "../web"]).fails(
        2,
        "error: `../web` is not a guest name\nhint: 1 to 63 of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`, the first a letter or digit\n",
    );
}

#[test]
fn no_guest_to_stop() {
    assert_eq!(hostel(&["stop", "--all"]).prints(), "");
    let run = hostel(&["stop"]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr
            .starts_with("error: missing `<GUEST>...`\nhint: usage: hostel stop "),
        "{}",
        run.stderr
    );
    let run = hostel(&["stop", "--all", "web"]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr
            .starts_with("error: `--all` cannot be used with `[GUEST]...`\n"),
        "{}",
        run.stderr
    );
}
