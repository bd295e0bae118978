//! `hostel exec`

use crate::support::hostel;

#[test]
fn a_guest_that_is_not_there() {
    hostel(&["exec", "web", "--", "ls"]).fails(
        125,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
}

#[test]
fn own_mistakes_are_125() {
    let run = hostel(&["exec", "web"]);
    assert_eq!(run.code, 125);
    assert!(
        run.stderr.starts_with("error: missing `<COMMAND>...`\n"),
        "{}",
        run.stderr
    );
    let run = hostel(&["exec", "web", "-e", "=x", "--", "ls"]);
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (
            125,
            "error: `=x` is not a variable\nhint: `NAME=VALUE`, or `NAME` to pass your own on\n"
        )
    );
}
