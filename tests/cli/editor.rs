//! What `hostel init` writes for editors, judged by `emmylua_check`.

use std::path::Path;
use std::process::Command;

use crate::support::{Place, tool};

/// The warnings about a folder of `hostel init` with the examples, hostel's own workflows and one more recipe in it. `None`
/// where there is no `emmylua_check`.
fn warnings(extra: Option<&str>) -> Option<Vec<String>> {
    let checker = tool("emmylua_check")?;
    let place = Place::new();
    let dir = place.path("fleet");
    place.run(&["init", dir.to_str().unwrap()]).prints();
    for from in ["examples", "scripts"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(from);
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            if entry.path().extension().is_some_and(|e| e == "lua") {
                std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
            }
        }
    }
    if let Some(text) = extra {
        std::fs::write(dir.join("wrong.lua"), text).unwrap();
    }
    let output = Command::new(checker)
        .args(["--severity", "warn"])
        .arg(&dir)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Check finished"), "{told}{said}");
    let lines: Vec<&str> = told.lines().collect();
    let warned = lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("warning:") || pair[0].starts_with("error:"));
    Some(
        warned
            .map(|pair| format!("{} {}", pair[1].trim(), pair[0]))
            .collect(),
    )
}

#[test]
fn the_examples_have_no_warnings() {
    if let Some(warnings) = warnings(None) {
        assert_eq!(warnings, Vec::<String>::new());
    }
}

/// One warning each, in its line, and none besides: a name that is no field, at every depth, and a wrong type.
#[test]
fn a_wrong_field_has_a_warning() {
    let wrong = [
        r#"guest "a" { image = "busybox", limits = { memroy = "64M" } }"#,
        r#"guest "b" { imag = "busybox" }"#,
        r#"guest "c" { image = "busybox", limits = { memory = true } }"#,
        r#"guest "d" { from = template "base" { imgae = "busybox" } }"#,
        r#"guest "e" { image = "busybox", net = { mode = "brigde" } }"#,
        r#"guest "f" { image = "busybox", services = { web = { exce = { "httpd" } } } }"#,
        r#"guest "g" { image = "busybox", mounts = { { sorce = "/srv", target = "/srv" } } }"#,
        r#"guest "h" { image = "busybox", allow = { "ptrase" } }"#,
        r#"guest "i" { image = "busybox", hooks = { pre_strat = function() end } }"#,
        r#"require("hostel.net").pool("10.0.0.0/24", { resreve = 10 })"#,
    ];
    if let Some(mut warnings) = warnings(Some(&wrong.join("\n"))) {
        warnings.sort_by_key(|warning| {
            warning
                .split(':')
                .nth(1)
                .and_then(|line| line.parse::<u32>().ok())
        });
        let lines: Vec<&str> = warnings
            .iter()
            .map(|warning| warning.split(':').nth(1).unwrap())
            .collect();
        let wanted: Vec<String> = (1..=wrong.len()).map(|line| line.to_string()).collect();
        assert_eq!(lines, wanted, "{warnings:#?}");
    }
}
