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
    hostel(&["set", "web", "memory=lots"]).fails(
        2,
        "error: `lots` is not an amount of bytes\n\
         hint: a number with K, M, G or T (powers of 1024), such as `512M`\n",
    );
}
