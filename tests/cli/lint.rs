//! `hostel lint`: with the real luacheck.

use crate::support::{Place, Run, tool};

fn run(place: &Place, args: &[&str]) -> Option<Run> {
    let luacheck = tool("luacheck")?;
    let mut command = place.command(args);
    command
        .current_dir(place.path(""))
        .env("HOSTEL_LUACHECK", luacheck);
    Some(Run::of(&command.output().unwrap()))
}

#[test]
fn words_that_are_not_there_are_found_where_they_are_not_there() {
    let place = Place::new();
    std::fs::create_dir(place.path("scripts")).unwrap();
    place.file("web.lua", "gest \"web\" {}\nio.write(flags.x)\n");
    place.file("scripts/s.lua", "io.write(flags.x)\n");
    place.file("web_test.lua", "io.write \"x\"\n");
    let Some(found) = run(&place, &["lint"]) else {
        return;
    };
    let told = "web.lua:1:1: warning[W113]: accessing undefined variable 'gest'\n  = help: did you mean `guest`?\n\
                web.lua:2:1: warning[W113]: accessing undefined variable 'io'\n  = help: a recipe has no `io`; \
                scripts, in `scripts`, do\nweb.lua:2:10: warning[W113]: accessing undefined variable 'flags'\n\
                3 found in 3 files\n";
    found.fails_with(1, told, "");
    let json = run(&place, &["lint", "web.lua", "--json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["findings"][0]["code"], "W113");
    assert_eq!(json["findings"][0]["end_column"], 4);
    let clean = run(&place, &["lint", "scripts"]).unwrap();
    assert_eq!(clean.prints(), "1 file, nothing found\n");
}

#[test]
fn a_configuration_of_the_users_holds_and_hostels_words_are_known() {
    let place = Place::new();
    place.file("web.lua", "local unused = 1\nguest \"web\" {}\nmine()\n");
    place.file(
        ".luacheckrc",
        "ignore = { \"211\" }\nread_globals = { \"mine\" }\n",
    );
    let Some(run) = run(&place, &["lint"]) else { return };
    assert_eq!(run.prints(), "1 file, nothing found\n");
}

#[test]
fn what_is_no_lua_is_found() {
    let place = Place::new();
    place.file("bad.lua", "local x = = 2\n");
    let Some(run) = run(&place, &["lint"]) else { return };
    let told = "bad.lua:1:11: error[E011]: expected expression near '='\n1 found in 1 file\n";
    run.fails_with(1, told, "");
}

#[test]
fn without_the_program_it_is_said_how_to_get_it() {
    let place = Place::new();
    place.file("a.lua", "return 1\n");
    let mut command = place.command(&["lint"]);
    command.current_dir(place.path("")).env("PATH", "/nonexistent");
    let run = Run::of(&command.output().unwrap());
    assert_eq!(run.code, 2);
    let start = "error: `hostel lint` needs luacheck, which is not in PATH\nhint: Debian has it as lua-check";
    assert!(run.stderr.starts_with(start), "{}", run.stderr);
}

#[test]
fn what_hostel_init_writes_has_no_findings() {
    let place = Place::new();
    place.run(&["init", place.path("").to_str().unwrap()]).prints();
    let Some(run) = run(&place, &["lint"]) else { return };
    assert_eq!(run.prints(), "1 file, nothing found\n");
}
