//! What `hostel init` writes for editors, judged by `emmylua_check` where it is installed.

use std::process::Command;

use crate::support::Place;

/// `None` where there is no `emmylua_check`; with `HOSTEL_EDITOR=1` that is a failure.
fn judged(place: &Place, dir: &str, extra: Option<&str>) -> Option<String> {
    place.run(&["init", dir]);
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    for entry in std::fs::read_dir(examples).unwrap().flatten() {
        if entry.path().extension().is_some_and(|e| e == "lua") {
            std::fs::copy(entry.path(), format!("{dir}/{}", entry.file_name().display())).unwrap();
        }
    }
    if let Some(text) = extra {
        std::fs::write(format!("{dir}/wrong.lua"), text).unwrap();
    }
    match Command::new("emmylua_check")
        .args(["--severity", "warn", dir])
        .output()
    {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(err) => {
            assert!(
                std::env::var_os("HOSTEL_EDITOR").is_none(),
                "run emmylua_check: {err}"
            );
            None
        }
    }
}

#[test]
fn the_examples_have_no_warnings() {
    let place = Place::new();
    let dir = place.path("fleet").to_str().unwrap().to_owned();
    if let Some(told) = judged(&place, &dir, None) {
        assert!(!told.contains("warning:") && !told.contains("error:"), "{told}");
    }
}

#[test]
fn a_wrong_field_has_one() {
    let place = Place::new();
    let dir = place.path("fleet").to_str().unwrap().to_owned();
    let wrong = "guest \"x\" { image = \"busybox\", limits = { memory = true } }\n";
    if let Some(told) = judged(&place, &dir, Some(wrong)) {
        assert!(told.contains("wrong.lua:1:"), "{told}");
        assert_eq!(told.matches("warning:").count(), 1, "{told}");
    }
}
