//! `hostel backup`

use crate::support::Place;

#[test]
fn lists_what_the_names_say() {
    let place = Place::new();
    let dir = place.path("backups");
    let to = dir.to_string_lossy().into_owned();
    std::fs::create_dir_all(dir.join("web")).unwrap();
    for (name, size) in [
        ("20261128-001500-0a1b2c.full.tar.zst", 2048),
        ("20261128-011500-0a1b2d.since-20261128-001500-0a1b2c.tar.zst", 10),
        (".x.new", 1),
        ("notes.txt", 1),
    ] {
        std::fs::write(dir.join("web").join(name), vec![0; size]).unwrap();
    }
    let listed = place.run(&["backup", "ls", "web", "--to", &to]);
    assert_eq!(
        listed.prints(),
        "ID                      SINCE                   SIZE\n\
         20261128-001500-0a1b2c  -                       2.0K\n\
         20261128-011500-0a1b2d  20261128-001500-0a1b2c    10\n"
    );
    let json = place
        .run(&["backup", "ls", "web", "--to", &to, "--json"])
        .prints()
        .to_owned();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[1]["since"], "20261128-001500-0a1b2c");
    assert_eq!(json[0]["size"], 2048);
    let none = place.run(&["backup", "ls", "db", "--to", &to]);
    assert!(
        none.stderr.contains("ENOENT (no such file or directory)"),
        "{}",
        none.stderr
    );
}

#[test]
fn the_workflow_says_what_it_would_do() {
    let place = Place::new();
    let plan = place.run(&["backup", "create", "web", "--to", "/srv/backup", "--plan"]);
    let names = |text: &str| {
        let words = text.lines().filter_map(|line| line.split_whitespace().nth(1));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(plan.prints()), ["look", "snapshot", "write", "commit"]);
    let plan = place.run(&["backup", "verify", "web", "--to", "/srv/backup", "--plan"]);
    assert_eq!(names(plan.prints()), ["look", "restore", "start", "remove"]);
    let bad = place.run(&[
        "backup",
        "create",
        "web",
        "--to",
        "/srv/backup",
        "--keep-lsat",
        "2",
    ]);
    assert!(bad.stderr.contains("--keep-last"), "{}", bad.stderr);
}
