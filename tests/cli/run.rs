//! `hostel run`: what needs no privilege. The rest is in `tests/privileged/lua_primitives.rs`.

use crate::support::{Place, hostel};

fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_plan_of_the_example_needs_no_root() {
    let run = hostel(&["run", &example("07-primitives.lua"), "--plan"]);
    let text = run.prints();
    assert!(text.starts_with(" 1. "), "{text}");
    assert!(text.contains("hostname `bar`"), "{text}");
    assert!(text.contains("127.9.0.1"), "{text}");
    let run = hostel(&[
        "run",
        &example("08-ten-throwaway-servers.lua"),
        "--plan",
        "--count",
        "3",
    ]);
    assert!(run.prints().contains("count=3"), "{}", run.stdout);
}

#[test]
fn flags_and_words_reach_the_script() {
    let place = Place::new();
    let file = place.file(
        "s.lua",
        "print(flags.guest, flags.to, flags.plan, flags.dry_run, #args, ...)\nprint(arg[1], args[2])\n",
    );
    let run = place.run(&[
        "run",
        &file,
        "--guest",
        "web",
        "--plan",
        "a",
        "--to=beta",
        "--dry-run",
        "--",
        "-b",
    ]);
    assert_eq!(run.prints(), "web\tbeta\ttrue\ttrue\t2\ta\t-b\na\t-b\n");
}

#[test]
fn mistakes_have_a_place_and_end_with_1() {
    let place = Place::new();
    let file = place.file(
        "s.lua",
        "local hostel = require \"hostel\"\nlocal c = hostel.context {}\nc:limit { memory = \"1Q\" }\n",
    );
    let run = place.run(&["run", &file]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("s.lua:3:"), "{}", run.stderr);
    let file = place.file(
        "t.lua",
        "local g = assert(require(\"hostel\").guest(\"nobody\"))\n",
    );
    let run = place.run(&["run", &file]);
    assert_eq!(run.code, 1);
    assert!(
        run.stderr.contains("there is no guest `nobody`"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("t.lua:1:"), "{}", run.stderr);
    let run = place.run(&["run", "/nonexistent.lua"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("/nonexistent.lua"), "{}", run.stderr);
}

#[test]
// SIGTERM and not SIGINT: what runs in the background of a script has SIGINT ignored, and hostel respects that.
fn a_signal_unwinds_and_cannot_be_caught() {
    use std::io::{BufRead as _, Read as _};
    let place = Place::new();
    let file = place.file(
        "s.lua",
        "local c <close> = setmetatable({}, { __close = function() io.write('closed\\n') end })\n\
         io.write('up\\n') io.stdout:flush()\n\
         while true do pcall(function() while true do end end) end\n",
    );
    let mut child = place.spawn(&["run", &file]);
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((rest.as_str(), output.status.code()), ("closed\n", Some(143)));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("interrupted by SIGTERM"), "{stderr}");
}

#[test]
fn an_interrupt_closes_what_is_open_and_is_told() {
    use std::io::{BufRead as _, BufReader, Read as _};
    let place = Place::new();
    let file = place.file(
        "s.lua",
        "local c <close> = setmetatable({}, { __close = function() io.write('closed\\n') end })\nlocal name = os.tmpname()\nos.remove(name)\nio.write('ready\\n')\nio.flush()\nwhile true do end\n",
    );
    let mut running = place.spawn(&["run", &file]);
    let mut stdout = BufReader::new(running.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(running.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let run = running.wait_with_output().unwrap();
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert_eq!(rest, "closed\n", "{stderr}");
    assert!(stderr.starts_with("error[E0305]: "), "{stderr}");
}
