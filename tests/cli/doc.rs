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
fn topics_are_found_and_told_as_json() {
    let told: serde_json::Value =
        serde_json::from_str(hostel(&["doc", "limits.memory", "--json"]).prints()).unwrap();
    assert_eq!(told["kind"], "field");
    assert_eq!(told["default"], "unlimited");
    assert!(
        hostel(&["doc", "--search", "swap"])
            .prints()
            .contains("limits.swap")
    );
    assert!(hostel(&["doc", "topics"]).prints().contains("net.pool"));
    assert!(hostel(&["doc", "hostel.net"]).prints().contains("pool:host"));
    hostel(&["doc", "--search", "zzzz"]).fails(
        1,
        "error: no topic has `zzzz`\nhint: `hostel doc topics` lists all\n",
    );
}

#[test]
fn a_field_that_is_none() {
    hostel(&["doc", "limits.memroy"]).fails(
        1,
        "error: a guest has no `limits.memroy`\nhint: did you mean `memory`?\n",
    );
}
