//! `hostel fmt`: with the real stylua.

use crate::support::{Place, Run, tool};

/// Runs `hostel` in the place, with stylua.
fn run(place: &Place, args: &[&str]) -> Option<Run> {
    let stylua = tool("stylua")?;
    let mut command = place.command(args);
    command.current_dir(place.path("")).env("HOSTEL_STYLUA", stylua);
    Some(Run::of(&command.output().unwrap()))
}

#[test]
fn what_is_not_formatted_is_told_shown_and_formatted() {
    let place = Place::new();
    place.file("a.lua", "local  x = {1,2}\nreturn x\n");
    place.file("b.lua", "return 1\n");
    let Some(check) = run(&place, &["fmt", "--check"]) else {
        return;
    };
    check.fails_with(1, "not formatted: a.lua\n", "");
    let diff = run(&place, &["fmt", "--diff", "a.lua"]).unwrap();
    let shown = "--- a.lua\n+++ a.lua\n@@ -1,1 +1,1 @@\n-local  x = {1,2}\n+local x = { 1, 2 }\n";
    diff.fails_with(1, shown, "");
    let json = run(&place, &["fmt", "--check", "--json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&json["files"], &json["changed"][0]["file"]),
        (&2.into(), &"a.lua".into())
    );
    assert_eq!(run(&place, &["fmt"]).unwrap().prints(), "formatted a.lua\n");
    let text = std::fs::read_to_string(place.path("a.lua")).unwrap();
    assert_eq!(text, "local x = { 1, 2 }\nreturn x\n");
    let done = run(&place, &["fmt", "--check", "."]).unwrap();
    assert_eq!(done.prints(), "2 files, all formatted\n");
}

#[test]
fn the_style_is_hostels_without_one_of_the_users() {
    let place = Place::new();
    place.file("a.lua", "if x then\n    print 'y'\nend\n");
    if run(&place, &["fmt"]).is_none() {
        return;
    }
    let read = || std::fs::read_to_string(place.path("a.lua")).unwrap();
    assert_eq!(read(), "if x then\n  print \"y\"\nend\n");
    // The nearest one above the file.
    place.file("stylua.toml", "indent_type = \"Tabs\"\n");
    run(&place, &["fmt", "a.lua"]).unwrap().prints();
    assert_eq!(read(), "if x then\n\tprint(\"y\")\nend\n");
}

#[test]
fn what_is_no_lua_has_a_place_and_exit_code_2() {
    let place = Place::new();
    place.file("bad.lua", "local x = = 2\n");
    place.file("good.lua", "return  1\n");
    let Some(run) = run(&place, &["fmt"]) else { return };
    assert_eq!((run.code, run.stdout.as_str()), (2, "formatted good.lua\n"));
    assert!(run.stderr.starts_with("error: bad.lua:1:9: "), "{}", run.stderr);
}

#[test]
fn without_the_program_it_is_said_how_to_get_it() {
    let place = Place::new();
    place.file("a.lua", "return 1\n");
    let mut command = place.command(&["fmt"]);
    command.current_dir(place.path("")).env("PATH", "/nonexistent");
    let run = Run::of(&command.output().unwrap());
    run.fails(
        2,
        "error: `hostel fmt` needs stylua, which is not in PATH\nhint: `cargo install stylua --features lua54` or a \
         package of your distribution installs it; HOSTEL_STYLUA names one that is elsewhere\n",
    );
}

#[test]
fn what_hostel_init_writes_is_formatted() {
    let place = Place::new();
    place.run(&["init", place.path("").to_str().unwrap()]).prints();
    let Some(run) = run(&place, &["fmt", "--check"]) else {
        return;
    };
    assert_eq!(run.prints(), "1 file, all formatted\n");
}
