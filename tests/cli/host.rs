//! `hostel host`

use crate::support::hostel;

#[test]
fn clearing_a_host_without_hostel_does_nothing() {
    assert_eq!(hostel(&["host", "clear"]).prints(), "");
}

#[test]
fn an_unknown_command_gets_the_nearest() {
    hostel(&["host", "claer"]).fails(
        2,
        "error: `claer` is not a command\nhint: did you mean `clear`?\n",
    );
}

#[test]
fn its_command_has_help() {
    let run = hostel(&["host", "clear", "--help"]);
    assert!(
        run.prints()
            .starts_with("Remove hostel's own cgroup and BPF programs"),
        "{}",
        run.stdout
    );
}
