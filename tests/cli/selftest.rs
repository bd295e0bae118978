//! `hostel selftest`

use crate::support::Place;

#[test]
fn the_list_has_every_row_and_tries_nothing() {
    let place = Place::new();
    let text = place.run(&["selftest", "--list"]);
    let text = text.prints();
    let numbers: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected: Vec<String> = (1..=30).map(|number: u8| number.to_string()).collect();
    assert_eq!(numbers, expected);
    let json = place.run(&["selftest", "--list", "--json", "--row", "13"]);
    let rows: serde_json::Value = serde_json::from_str(json.prints()).unwrap();
    assert_eq!(rows[0]["row"], 13);
    assert_eq!(rows[0]["name"], "TIOCSTI into the caller's terminal");
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert!(!place.path("root").exists());
}

#[test]
fn a_row_that_is_not_there_is_refused() {
    let place = Place::new();
    for row in ["0", "31", "x", "-1"] {
        let output = place.run(&["selftest", &format!("--row={row}")]);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""));
        assert!(
            output.stderr.contains(&format!("there is no row `{row}`")),
            "{}",
            output.stderr
        );
    }
    let output = place.run(&["selftest", "--starts", "0"]);
    assert_eq!(output.code, 2);
}
