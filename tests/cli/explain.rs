//! `hostel explain`

use crate::check::RECIPE;
use crate::support::{Place, hostel};

#[test]
fn a_code() {
    assert!(hostel(&["explain", "E0102"]).prints().starts_with("E0102"));
}

#[test]
fn where_a_value_comes_from() {
    let place = Place::new();
    let file = place.file("web.lua", RECIPE);
    let run = place.run(&["explain", "web.limits.memory", "-r", &file]);
    let text = run.prints();
    assert!(
        text.starts_with("web.limits.memory\n  default unlimited\n"),
        "{text}"
    );
    assert!(text.ends_with(" guest \"web\" = \"64M\"  <- decides\n"), "{text}");
}

#[test]
fn neither() {
    hostel(&["explain", "nonsense"]).fails(
        2,
        "error: `nonsense` is no code and no field of a guest\nhint: such as `E0102` or `web.limits.memory`\n",
    );
}

const LAYERS: &str = "local base = template \"base\" {\n  image = \"busybox\",\n  limits = { memory = \"64M\", pids = 8 },\n  depends = { \"aa\" },\n}\nlocal shop = template \"shop\" {\n  from = base,\n  limits = { memory = \"128M\", nofile = 100 },\n}\nguest \"web\" {\n  from = shop,\n  limits = { memory = \"256M\", pids = unset },\n  depends = append { \"bb\" },\n}\nguest \"aa\" { image = \"busybox\" }\nguest \"bb\" { image = \"busybox\" }\n";

#[test]
fn every_layer_of_a_value() {
    let place = Place::new();
    let file = place.file("web.lua", LAYERS);
    for (what, expected) in [
        (
            "web.limits.memory",
            &[
                ":3:14 template \"base\" = \"64M\"",
                ":8:14 template \"shop\" = \"128M\"",
                ":12:14 guest \"web\" = \"256M\"  <- decides",
            ][..],
        ),
        (
            "web.limits.pids",
            &[
                ":3:30 template \"base\" = 8",
                ":12:31 guest \"web\" unset  <- decides",
            ],
        ),
        (
            "web.depends",
            &[
                ":4:3 template \"base\" = [\"aa\"]",
                ":13:3 guest \"web\" append [\"bb\"]  <- decides",
            ],
        ),
        ("web.limits.nofile", &[":8:31 template \"shop\" = "]),
        ("web.xid", &["  default allocated, and remembered  <- decides"]),
    ] {
        let run = place.run(&["explain", what, "-r", &file]);
        let text = run.prints();
        for part in expected {
            assert!(text.contains(part), "{what}: {part} in\n{text}");
        }
    }
    place.run(&["explain", "web.nonsense", "-r", &file]).fails(
        1,
        "error: a guest has no field `nonsense`\nhint: `hostel doc guest` lists the fields\n",
    );
}

#[test]
fn the_layers_as_json() {
    let place = Place::new();
    let file = place.file("web.lua", LAYERS);
    let run = place.run(&["explain", "web.limits.memory", "-r", &file, "--json"]);
    let found: serde_json::Value = serde_json::from_str(run.prints()).unwrap();
    let layers = found["limits.memory"].as_array().unwrap();
    let last = layers.last().unwrap();
    assert_eq!(
        (&last["layer"], &last["did"], &last["value"]),
        (&"guest \"web\"".into(), &"set".into(), &"256M".into())
    );
    assert_eq!(last["place"]["line"], 12);
}
