//! `hostel set`

use crate::support::hostel;

#[test]
fn a_guest_that_is_not_there() {
    hostel(&["set", "web", "memory=1G"]).fails(
        1,
        "error: there is no guest `web`\nhint: `hostel ls` lists those that there are\n",
    );
}

#[test]
fn a_limit_that_is_none() {
    hostel(&["set", "web", "memroy=1G"]).fails(
        2,
        "error: `memroy` is not a limit\nhint: did you mean `memory`?\n",
    );
    for (code, args) in [
        (2, &["set", "web", "memory=64"][..]),
        // As all primitives say that they have not run their command.
        (125, &["limit", "memory=64", "--", "true"]),
    ] {
        hostel(args).fails(
            code,
            "error: `memory` is 64 bytes, and nothing starts in less than 1M\nhint: a size has a unit: `64M`\n",
        );
    }
    hostel(&["set", "web", "memory=lots"]).fails(
        2,
        "error: `lots` is not an amount of bytes\n\
         hint: a number with K, M, G or T (powers of 1024), such as `512M`\n",
    );
}
