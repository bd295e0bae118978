//! `hostel doctor`

use crate::support::Place;

#[test]
fn names_the_kernel_and_agrees_with_itself() {
    let place = Place::new();
    let text = place.run(&["doctor"]);
    let json = place.run(&["doctor", "--json"]);
    assert_eq!((text.code, text.stderr.as_str()), (json.code, ""));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&json.stdout).unwrap();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(findings[0]["name"], "kernel");
    assert_eq!(findings[0]["found"], kernel.trim());
    let width = findings
        .iter()
        .filter_map(|finding| finding["name"].as_str())
        .map(str::len)
        .max()
        .unwrap();
    for finding in &findings {
        let found = finding["found"].as_str().unwrap();
        let name = finding["name"].as_str().unwrap();
        let state = finding["state"].as_str().unwrap();
        let line = format!("{state:<7}  {name:<width$}  {found}");
        assert!(text.stdout.lines().any(|l| l == line), "{line}\n{}", text.stdout);
        assert_eq!(finding["state"] == "ok", finding.get("hint").is_none());
    }
    let is_missing = findings.iter().any(|finding| finding["state"] == "missing");
    assert_eq!(json.code, i32::from(is_missing));
}

#[test]
fn settings_are_told_with_the_number_of_guests_they_are_enough_for() {
    let place = Place::new();
    let found = |guests: &str| -> Vec<serde_json::Value> {
        let run = place.run(&["doctor", "--json", "--guests", guests]);
        let findings: Vec<serde_json::Value> = serde_json::from_str(&run.stdout).unwrap();
        findings
            .into_iter()
            .filter(|finding| finding.get("guests").is_some())
            .collect()
    };
    let pid_max: u64 = std::fs::read_to_string("/proc/sys/kernel/pid_max")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    for guests in [1_u64, 49_150] {
        for finding in found(&guests.to_string()) {
            let is_enough = finding["guests"].as_u64().unwrap() >= guests;
            assert_eq!(finding["state"] == "ok", is_enough, "{finding}");
            let name = finding["name"].as_str().unwrap();
            let line = finding["sysctl"].as_str();
            assert_eq!(line.is_some(), !is_enough, "{finding}");
            assert!(
                line.is_none_or(|line| line.starts_with(&format!("{name} = "))),
                "{finding}"
            );
            if name == "kernel.pid_max" {
                assert_eq!(finding["guests"], pid_max / 64);
            }
        }
    }
    place.run(&["doctor", "--guests", "0"]).fails(
        2,
        "error: `0` is not a value of `--guests <N>`: 0 is not in 1..=49150\nhint: usage: hostel doctor [OPTIONS]\n",
    );
}

#[test]
fn whose_ids_are_whose() {
    let place = Place::new();
    let run = place.run(&["doctor", "--json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_str(&run.stdout).unwrap();
    assert!(findings.iter().any(|finding| finding["name"] == "id ranges"));
}
