//! `hostel doc`

use crate::support::hostel;

#[test]
fn a_field() {
    assert!(
        hostel(&["doc", "guest.limits.memory"])
            .prints()
            .contains("memory")
    );
    assert!(hostel(&["doc"]).prints().contains("limits"));
}

#[test]
fn a_field_that_is_none() {
    hostel(&["doc", "limits.memroy"]).fails(
        1,
        "error: a guest has no `limits.memroy`\nhint: did you mean `memory`?\n",
    );
}
