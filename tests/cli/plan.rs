//! `hostel plan`

use crate::check::RECIPE;
use crate::support::Place;

#[test]
fn a_new_guest_is_a_change() {
    let place = Place::new();
    let file = place.file("web.lua", RECIPE);
    let run = place.run(&["plan", &file]);
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (2, "+ create web\n1 to create\n", "")
    );
    let run = place.run(&["plan", &file, "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(run.code, 2);
    assert_eq!(plan["actions"][0]["guest"], "web");
    assert_eq!(plan["actions"][0]["action"], "create");
}

#[test]
fn a_new_volume_is_told_with_the_first_guest_that_declares_it() {
    let place = Place::new();
    let two = "for _, name in ipairs { \"one\", \"two\" } do\n  guest(name) { image = \"busybox\", volumes = { data = {} } }\nend\n";
    let file = place.file("two.lua", two);
    let run = place.run(&["plan", &file]);
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (
            2,
            "+ create one\n    + volume data\n+ create two\n2 to create\n",
            ""
        )
    );
    let run = place.run(&["plan", &file, "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(plan["actions"][0]["volumes"], serde_json::json!(["data"]));
    assert_eq!(plan["actions"][1].get("volumes"), None);
}

#[test]
fn nothing_to_do() {
    let place = Place::new();
    let file = place.file("none.lua", "-- no guests\n");
    assert_eq!(
        place.run(&["plan", &file]).prints(),
        "no changes: the host is as the recipe says\n"
    );
}

/// A recipe that looks at the text of its own errors learns nothing of how it was named; what people read names it as they
/// did.
#[test]
fn however_a_recipe_is_named_its_plan_is_the_same() {
    const CURIOUS: &str = "local _, err = pcall(error, \"x\")\nlocal _, more = pcall(function() error(\"y\") end)\nlocal _, far = pcall(require, \"far\")\nlocal text = tostring(err) .. tostring(more) .. tostring(far)\nguest \"web\" { image = \"busybox\", env = { SEEN = text:gsub(\"%c\", \" \") } }\n";
    let place = Place::new();
    for folder in ["one", "two"] {
        std::fs::create_dir_all(place.path(folder).join("lib")).unwrap();
        place.file(&format!("{folder}/web.lua"), CURIOUS);
        place.file(&format!("{folder}/lib/far.lua"), "error \"far\"\n");
        place.file(&format!("{folder}/wrong.lua"), "require \"mistaken\"\n");
        place.file(
            &format!("{folder}/lib/mistaken.lua"),
            "guest \"web\" { imagee = \"busybox\" }\n",
        );
    }
    std::os::unix::fs::symlink(place.path("one"), place.path("link")).unwrap();
    let run = |cwd: &str, args: &[&str]| {
        let output = place.command(args).current_dir(place.path(cwd)).output().unwrap();
        crate::support::Run::of(&output)
    };
    let whole = place.path("two").join("web.lua");
    let ways = [
        ("one", "web.lua"),
        ("one", "./web.lua"),
        ("one", "../one/web.lua"),
        ("one", "lib/../web.lua"),
        ("", "one/web.lua"),
        ("", "link/web.lua"),
        ("link", "web.lua"),
        ("two", "web.lua"),
        ("/", whole.to_str().unwrap()),
    ];
    for verb in ["plan", "check"] {
        let outputs = ways.map(|(cwd, path)| {
            let run = run(cwd, &[verb, path, "--json"]);
            assert_eq!(run.stderr, "");
            run.stdout
        });
        assert!(
            verb == "plan" || outputs[0].contains("web.lua:2: y"),
            "{}",
            outputs[0]
        );
        for output in &outputs {
            assert_eq!(*output, outputs[0]);
        }
    }
    for (cwd, path, shown) in [
        ("one", "wrong.lua", "lib/mistaken.lua"),
        ("one", "./wrong.lua", "./lib/mistaken.lua"),
        ("", "link/wrong.lua", "link/lib/mistaken.lua"),
        ("one", "../two/wrong.lua", "../two/lib/mistaken.lua"),
    ] {
        let run = run(cwd, &["plan", path]);
        assert_eq!(run.code, 1);
        assert!(
            run.stderr.contains(&format!("--> {shown}:1:15\n")),
            "{}",
            run.stderr
        );
    }
}
