//! `hostel audit`

use crate::support::Place;

const LOOSE: &str = "local base = template \"base\" {\n  image = \"busybox\",\n  allow = { \"ptrace\" },\n}\n\
    guest \"web\" {\n  from = base,\n  xid = 2000,\n  caps = { keep = { \"sys_nice\" } },\n  \
    limits = { memory = \"64M\", swap = 0, pids = 64, cpus = 1 },\n}\n";

#[test]
fn what_is_loosened_is_told_with_its_place_and_risk() {
    let place = Place::new();
    let file = place.file("web.lua", LOOSE);
    let run = place.run(&["audit", "-r", &file]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{}", run.stdout);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "web: 2 loosened, 1 unlimited");
    assert_eq!(lines[1], "  ids        131072000 to 131137535 of the host's");
    let allow = format!("  loosened   allow `ptrace`  {file}:3:3");
    assert!(lines.contains(&allow.as_str()), "{}", run.stdout);
    let cap = format!("  loosened   the capability `sys_nice`  {file}:8:12");
    assert!(lines.contains(&cap.as_str()), "{}", run.stdout);
    let disk = format!("  unlimited  no limit on disk space  {file}:9:3");
    assert!(lines.contains(&disk.as_str()), "{}", run.stdout);
    let risks = lines
        .iter()
        .filter(|line| line.starts_with("             risk: "))
        .count();
    assert_eq!(risks, 3);
}

#[test]
fn nothing_loosened_is_success() {
    let place = Place::new();
    let file = place.file("web.lua", "guest \"web\" { image = \"busybox\" }\n");
    let run = place.run(&["audit", "-r", &file, "--json"]);
    let reports: serde_json::Value = serde_json::from_str(run.prints()).unwrap();
    assert_eq!(reports[0]["guest"], "web");
    assert_eq!(reports[0]["powers"]["network"], "none");
    let findings = reports[0]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 5);
    assert!(findings.iter().all(|finding| finding["kind"] == "unlimited"));
    assert!(place.run(&["audit"]).prints().is_empty());
}

#[test]
fn the_place_is_part_of_the_json() {
    let place = Place::new();
    let file = place.file("web.lua", LOOSE);
    let run = place.run(&["audit", "web", "-r", &file, "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    let reports: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let first = &reports[0]["findings"][0];
    assert_eq!(
        (&first["kind"], &first["field"]),
        (&"loosened".into(), &"allow".into())
    );
    assert_eq!(
        (&first["place"]["line"], &first["place"]["column"]),
        (&3.into(), &3.into())
    );
    assert_eq!(
        reports[0]["powers"]["ids"],
        serde_json::json!([131_072_000, 131_137_535])
    );
}

#[test]
fn what_cannot_be_answered_is_2() {
    let place = Place::new();
    place.run(&["audit", "nobody"]).fails(
        2,
        "error: there is no guest `nobody`\nhint: `hostel ls` lists those that there are\n",
    );
    let file = place.file("web.lua", LOOSE);
    let run = place.run(&["audit", "other", "-r", &file]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("has no guest `other`"), "{}", run.stderr);
    let wrong = place.file("wrong.lua", "guest \"web\" { imag = \"busybox\" }\n");
    let run = place.run(&["audit", "-r", &wrong]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("unknown field `imag`"), "{}", run.stderr);
}
