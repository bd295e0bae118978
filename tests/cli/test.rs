//! `hostel test`

use crate::support::{Place, Run};

const HEAD: &str = "local t = require \"hostel.test\"\n";

fn in_place(place: &Place, args: &[&str]) -> Run {
    let mut all = vec!["test"];
    all.extend(args);
    let output = place.command(&all).current_dir(place.path("")).output().unwrap();
    let run = Run::of(&output);
    Run {
        stdout: without_times(&run.stdout),
        ..run
    }
}

/// `, 0.12 s` and `(123 ms)` differ from run to run.
fn without_times(text: &str) -> String {
    let mut all = String::new();
    for line in text.lines() {
        let line = match line.split_once(" (") {
            Some((head, end)) if end.ends_with(" ms)") => head,
            _ => line,
        };
        let line = match line.rsplit_once(", ") {
            Some((head, end)) if end.ends_with(" s") => head,
            _ => line,
        };
        all.push_str(line);
        all.push('\n');
    }
    all
}

#[test]
fn what_holds_is_0_and_what_does_not_is_1() {
    let place = Place::new();
    place.file(
        "web_test.lua",
        &format!("{HEAD}t.it('holds', function() t.expect(1):to_equal(1) end)\n"),
    );
    let run = in_place(&place, &[]);
    assert_eq!(run.prints(), "web_test.lua\n  ok    holds\n\n1 passed; 1 file\n");
    place.file(
        "db_test.lua",
        &format!("{HEAD}t.describe('db', function()\n  t.it('differs', function()\n    print('hello')\n    t.expect({{ a = 1 }}):to_equal {{ a = 2 }}\n  end)\nend)\n"),
    );
    let run = in_place(&place, &[]);
    assert_eq!(run.code, 1);
    assert_eq!(
        run.stdout,
        "db_test.lua\n  FAIL  db > differs\n        \
         error[E0401]: expected { a = 1 } to equal the other table\n         \
         --> db_test.lua:5:25\n          |\n        5 |     t.expect({ a = 1 }):to_equal { a = 2 }\n          \
         |                         ^^^^^^^^\n          = note: a: expected 2, found 1\n        \
         it printed:\n          hello\n\
         web_test.lua\n  ok    holds\n\n1 passed, 1 failed; 2 files\n"
    );
}

#[test]
fn what_cannot_be_tested_is_2() {
    let place = Place::new();
    let run = in_place(&place, &[]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr
            .starts_with("error: there is no test file below `.`\nhint: "),
        "{}",
        run.stderr
    );
    place.file(
        "web_test.lua",
        &format!("{HEAD}t.it('a', function() t.expect(1):to_equal(1) end)\n"),
    );
    assert_eq!(in_place(&place, &["--filter", "nothing"]).code, 2);
    assert_eq!(in_place(&place, &["--formatt"]).code, 2);
    assert_eq!(in_place(&place, &["nowhere"]).code, 2);
}

#[test]
fn a_test_that_looks_at_nothing_and_a_file_without_tests_fail() {
    let place = Place::new();
    place.file(
        "a_test.lua",
        &format!("{HEAD}t.it('idle', function() local x = 1 end)\n"),
    );
    place.file(
        "b_test.lua",
        &format!("{HEAD}local function tests() t.it('x', function() end) end\n"),
    );
    let run = in_place(&place, &[]);
    assert_eq!(run.code, 1);
    assert!(
        run.stdout
            .contains("error[E0402]: the test expects nothing\n         --> a_test.lua:2:3\n"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("error[E0403]: `b_test.lua` has no tests\n"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("0 passed, 1 failed, 1 file broken; 2 files"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_file_that_hangs_or_dies_names_the_test_and_the_others_go_on() {
    let place = Place::new();
    place.file(
        "a_test.lua",
        &format!("{HEAD}t.it('before', function() assert(true) end)\nt.it('hangs', function() while true do end end)\nt.it('after', function() assert(true) end)\n"),
    );
    place.file(
        "b_test.lua",
        &format!("{HEAD}t.it('dies', function() os.exit(7) end)\n"),
    );
    place.file(
        "c_test.lua",
        &format!("{HEAD}t.it('goes on', function() assert(true) end)\n"),
    );
    let run = in_place(&place, &["--timeout", "1500ms"]);
    assert_eq!(run.code, 1);
    for wanted in [
        "  ok    before\n  FAIL  hangs\n",
        "error[E0404]: the file took longer than 1.5 s\n",
        "the tests after it were not run",
        "the process of the test file ended with status 7\n",
        "  ok    goes on\n",
    ] {
        assert!(run.stdout.contains(wanted), "{wanted}\n{}", run.stdout);
    }
}

#[test]
fn golden_files_are_written_only_when_that_is_asked_for() {
    let place = Place::new();
    let text = |n: &str| format!("{HEAD}t.it('g', function() t.expect {{ {n} }}:to_be_golden 'list' end)\n");
    place.file(
        "a_test.lua",
        &text("1").replace("t.expect {", "t.expect({").replace("}:", "}):"),
    );
    assert_eq!(in_place(&place, &[]).code, 1);
    let run = in_place(&place, &["--bless"]);
    assert!(run.prints().contains("  wrote a_test.golden/list.txt\n"));
    assert_eq!(
        std::fs::read_to_string(place.path("a_test.golden/list.txt")).unwrap(),
        "{ 1 }\n"
    );
    assert_eq!(in_place(&place, &[]).code, 0);
    place.file(
        "a_test.lua",
        &text("2").replace("t.expect {", "t.expect({").replace("}:", "}):"),
    );
    let run = in_place(&place, &[]);
    assert!(
        run.stdout
            .contains("error[E0405]: not what `a_test.golden/list.txt` says"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("= note:    1 - { 1 }\n"), "{}", run.stdout);
    assert!(run.stdout.contains("= note:    1 + { 2 }\n"), "{}", run.stdout);
}

#[test]
fn only_filter_and_skip() {
    let place = Place::new();
    place.file(
        "a_test.lua",
        &format!(
            "{HEAD}t.only('one', function() assert(true) end)\nt.it('two', function() assert(false) end)\n"
        ),
    );
    assert_eq!(
        in_place(&place, &[]).prints(),
        "a_test.lua\n  ok    one\n\n1 passed, 1 left out by `only`; 1 file\n"
    );
    place.file(
        "a_test.lua",
        &format!("{HEAD}t.describe('g', function() t.it('one', function() assert(true) end) t.skip('two') end)\nt.it('one', function() assert(false) end)\n"),
    );
    assert_eq!(
        in_place(&place, &["--filter", "g > "]).prints(),
        "a_test.lua\n  ok    g > one\n  skip  g > two\n\n1 passed, 1 skipped; 1 file\n"
    );
}

const THREE: &str = "local t = require 'hostel.test'\nt.it('ok & <well>', function() assert(true) end)\nt.it('bad', function() assert(false, 'no \"way\"') end)\nt.skip 'later'\n";

#[test]
fn a_word_that_is_used_wrongly_says_how() {
    let place = Place::new();
    place.file(
        "a_test.lua",
        &format!("{HEAD}t.it('a', function() t.expect(1):to_eqaul(1) end)\n"),
    );
    let run = in_place(&place, &[]);
    assert!(
        run.stdout
            .contains("error[E0406]: nothing is expected by `to_eqaul`"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("help: did you mean `equal`?"),
        "{}",
        run.stdout
    );
}

#[test]
fn tap() {
    let place = Place::new();
    place.file("a_test.lua", THREE);
    let run = in_place(&place, &["--format", "tap"]);
    assert_eq!(run.code, 1);
    let lines: Vec<&str> = run.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        lines,
        [
            "TAP version 13",
            "1..3",
            "ok 1 - a_test.lua: ok & <well>",
            "not ok 2 - a_test.lua: bad",
            "ok 3 - a_test.lua: later # SKIP"
        ]
    );
    assert!(
        run.stdout
            .contains("  ---\n  message: |\n    error[E0002]: no \"way\"\n"),
        "{}",
        run.stdout
    );
}

#[test]
fn junit() {
    let place = Place::new();
    place.file("a_test.lua", THREE);
    let run = in_place(&place, &["--format", "junit"]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{}", run.stdout);
    assert!(
        run.stdout.contains("name=\"ok &amp; &lt;well&gt;\""),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout
            .contains("<failure type=\"E0002\" message=\"no &quot;way&quot;\">"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("<skipped message=\"\"/>"), "{}", run.stdout);
}

#[test]
fn json() {
    let place = Place::new();
    place.file("a_test.lua", THREE);
    let output = place
        .command(&["test", "--json"])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (told["passed"].as_u64(), told["failed"].as_u64()),
        (Some(1), Some(1))
    );
    assert_eq!(told["files"][0]["cases"][1]["outcome"], "failed");
    assert_eq!(told["files"][0]["cases"][1]["diagnostics"][0]["place"]["line"], 3);
}

#[test]
fn coverage_counts_lines_of_recipes_and_modules() {
    let place = Place::new();
    place.file(
        "web.lua",
        "local function never()\n  return 1\nend\nguest \"web\" {\n  image = \"busybox\",\n}\n",
    );
    place.file("lib.lua", "local lib = {}\nfunction lib.used()\n  return 1\nend\nfunction lib.unused()\n  return 2\nend\nreturn lib\n");
    place.file(
        "web_test.lua",
        &format!("{HEAD}local lib = require 'lib'\nt.it('a', function() t.expect(#t.eval 'web.lua' + lib.used()):to_equal(2) end)\n"),
    );
    let run = in_place(&place, &["--coverage", "--lcov", "out.info"]);
    assert!(
        run.prints().contains("lib.lua   87 %  not run: 6\n"),
        "{}",
        run.stdout
    );
    assert!(
        run.prints().contains("web.lua   80 %  not run: 2\n"),
        "{}",
        run.stdout
    );
    let lcov = std::fs::read_to_string(place.path("out.info")).unwrap();
    assert!(lcov.starts_with("TN:\nSF:lib.lua\n"), "{lcov}");
    assert!(lcov.contains("DA:2,0\n") && !lcov.contains("_test.lua"), "{lcov}");
}

#[test]
fn a_signal_ends_the_run_and_what_it_started() {
    use std::io::{BufRead as _, Read as _};
    let place = Place::new();
    place.file(
        "a_test.lua",
        &format!(
            "{HEAD}t.it('waits', function()\n  local c <close> = setmetatable({{}}, {{ __close = function() io.stderr:write('closed\\n') end }})\n  io.stderr:write('up\\n')\n  while true do end\nend)\n"
        ),
    );
    let mut child = place
        .command(&["test"])
        .current_dir(place.path(""))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(rest.starts_with("closed\n"), "{rest}");
}

#[test]
fn watch_runs_again_after_a_change() {
    use std::io::{BufRead as _, BufReader};
    let place = Place::new();
    let file = place.file(
        "a_test.lua",
        &format!("{HEAD}t.it('a', function() assert(false) end)\n"),
    );
    let mut child = place
        .command(&["test", "--watch"])
        .current_dir(place.path(""))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.starts_with("0 passed, 1 failed")));
    assert!(lines.by_ref().any(|line| line.starts_with("waiting for changes")));
    std::fs::write(&file, format!("{HEAD}t.it('a', function() assert(true) end)\n")).unwrap();
    assert!(lines.by_ref().any(|line| line.starts_with("1 passed")));
    assert!(lines.by_ref().any(|line| line.starts_with("waiting for changes")));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}
