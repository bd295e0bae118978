//! `hostel version`

use crate::support::hostel;

#[test]
fn prints_the_version() {
    let version = format!("hostel {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(hostel(&["version"]).prints(), version);
    assert_eq!(hostel(&["--version"]).prints(), version);
    assert_eq!(hostel(&["-V"]).prints(), version);
}

#[test]
fn prints_json() {
    let run = hostel(&["version", "--json"]);
    let value: serde_json::Value = serde_json::from_str(run.prints()).unwrap();
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["lua"], "5.4");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(value["kernel"], kernel.trim());
}
