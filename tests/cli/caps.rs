//! `hostel caps`: what needs no privilege. The rest is in `tests/privileged/cli_primitives.rs`.

use crate::support::hostel;

#[test]
fn it_needs_a_command() {
    let run = hostel(&["caps", "--only=none"]);
    assert_eq!(run.code, 125);
    assert!(
        run.stderr.starts_with("error: missing `<COMMAND>...`\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn its_plan_ends_with_the_command() {
    let run = hostel(&["caps", "--only=none", "--plan", "--", "true"]);
    assert!(run.prints().ends_with(". run true\n"), "{}", run.stdout);
}
