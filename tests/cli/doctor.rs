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
    for finding in &findings {
        let found = finding["found"].as_str().unwrap();
        let name = finding["name"].as_str().unwrap();
        let state = finding["state"].as_str().unwrap();
        let line = format!("{state:<7}  {name:<15}  {found}");
        assert!(text.stdout.lines().any(|l| l == line), "{line}\n{}", text.stdout);
        assert_eq!(finding["state"] == "ok", finding.get("hint").is_none());
    }
    let is_missing = findings.iter().any(|finding| finding["state"] == "missing");
    assert_eq!(json.code, i32::from(is_missing));
}
