//! `hostel volume`

use crate::support::Place;

const NONE: &str = "error: there is no volume `data`\n\
    hint: `hostel volume create data` makes it, or `volumes` of a recipe; `hostel volume ls` lists those that are there\n";

#[test]
fn a_volume_that_is_not_there() {
    let place = Place::new();
    for args in [
        &["show", "data"][..],
        &["set", "data", "--size", "1G"],
        &["snapshot", "data"],
        &["snapshots", "data"],
        &["snapshots", "data", "--remove", "x"],
        &["rollback", "data", "x"],
        &["clone", "data", "other"],
        &["rm", "data"],
        &["export", "data", "-o", "x.tar"],
    ] {
        let args: Vec<&str> = std::iter::once("volume").chain(args.iter().copied()).collect();
        place.run(&args).fails(1, NONE);
    }
    assert!(!place.path("x.tar").exists());
    assert_eq!(place.run(&["volume", "ls", "--json"]).prints(), "[]\n");
    assert_eq!(place.run(&["volume", "ls", "--quiet"]).prints(), "");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    for (args, says) in [
        (&["create", "../x"][..], "`../x` is not a name of a volume"),
        (&["create", "x", "--size", "many"], "many"),
        (
            &["create", "x", "--storage", "zfs"],
            "`zfs` is not a kind of storage",
        ),
        (&["set", "x"], "--size"),
        (&["snapshots", "x", "--remove", "a/b"], "a/b"),
        (&["export", "x", "--force"], "--output"),
        (&["ls", "--quiet", "--json"], "--json"),
    ] {
        let args: Vec<&str> = std::iter::once("volume").chain(args.iter().copied()).collect();
        let out = place.run(&args);
        assert_eq!(out.code, 2, "{args:?}: {}", out.stderr);
        assert!(out.stderr.contains(says), "{args:?}: {}", out.stderr);
    }
}
