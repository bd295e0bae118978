//! `hostel doc`

use std::process::Command;

use crate::support::{Place, hostel, tool};

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

/// `hostel doc` at a terminal, which script(1) makes, with this pager.
fn at_a_terminal(pager: &str) -> Option<String> {
    let place = Place::new();
    let output = Command::new(tool("script")?)
        .args([
            "-qec",
            concat!("exec ", env!("CARGO_BIN_EXE_hostel"), " doc limits.memory"),
            "/dev/null",
        ])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .env("HOSTEL_ROOT", place.path("root"))
        .env("PAGER", pager)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n"))
}

#[test]
fn a_terminal_has_a_pager_and_a_pipe_has_none() {
    let plain = hostel(&["doc", "limits.memory"]).prints().to_owned();
    assert!(plain.starts_with("limits.memory: "), "{plain}");
    let Some(paged) = at_a_terminal("sed 's/^/> /'") else {
        return;
    };
    let wanted: String = format!("> {}\n", plain.trim_end().replace('\n', "\n> "));
    assert_eq!(paged, wanted);
    // None is wanted, it is not there, it reads nothing.
    assert_eq!(at_a_terminal("").unwrap(), plain);
    assert_eq!(at_a_terminal("cat").unwrap(), plain);
    assert!(
        at_a_terminal("hostel-has-no-such-pager")
            .unwrap()
            .ends_with(&plain)
    );
    assert_eq!(at_a_terminal("true").unwrap(), "");
}

#[test]
fn each_word_of_allow_is_told_with_what_it_opens_and_risks() {
    let told = hostel(&["doc", "allow"]).prints().to_owned();
    for known in hostel::guest::risk::choices("allow") {
        let line = told
            .lines()
            .find(|line| line.trim_start().starts_with(known.topic));
        let line = line.unwrap_or_else(|| panic!("{} in {told}", known.topic));
        assert!(line.contains(known.opens) && line.contains(known.risk), "{line}");
    }
}
