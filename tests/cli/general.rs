//! What holds for every command.

use crate::support::{Place, Run, hostel};

#[test]
fn no_command() {
    hostel(&[]).fails(2, "error: no command given\nhint: see `hostel --help`\n");
}

#[test]
fn an_unknown_command_gets_the_nearest() {
    hostel(&["verison"]).fails(
        2,
        "error: `verison` is not a hostel command\nhint: did you mean `version`?\n",
    );
    hostel(&["frobnicate"]).fails(
        2,
        "error: `frobnicate` is not a hostel command\nhint: see `hostel --help`\n",
    );
}

#[test]
fn an_unknown_option_gets_the_nearest() {
    hostel(&["version", "--jsn"]).fails(
        2,
        "error: unexpected argument `--jsn`\nhint: did you mean `--json`?\n",
    );
}

#[test]
fn an_option_before_the_command() {
    hostel(&["--frob", "version"]).fails(
        2,
        "error: unexpected argument `--frob`\nhint: options of a command stand after it; see `hostel --help`\n",
    );
}

#[test]
fn errors_are_json_where_output_would_be() {
    hostel(&["version", "--json", "extra"]).fails(
        2,
        "{\"hint\":\"usage: hostel version [OPTIONS]\",\"kind\":\"usage\",\"message\":\"unexpected argument `extra`\"}\n",
    );
}

#[test]
fn the_log_tells_what_is_done_and_nothing_unasked() {
    let place = Place::new();
    let says = |wanted: &str| {
        let output = place.command(&["ls"]).env("HOSTEL_LOG", wanted).output().unwrap();
        let run = Run::of(&output);
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stderr
    };
    let told = says("debug");
    assert!(
        told.contains(&format!("hostel {} ls", env!("CARGO_PKG_VERSION"))),
        "{told}"
    );
    for quiet in ["", "off", "warn", "hostel::sys=trace"] {
        assert_eq!(says(quiet), "", "{quiet}");
    }
    let told = says("foo=bar");
    let want = "warning: nothing is logged, because HOSTEL_LOG is not understood: ";
    assert!(
        told.starts_with(want) && told.contains("\nhint: a level (`error`"),
        "{told}"
    );
}

#[test]
fn colours_are_for_terminals() {
    let plain = hostel(&["help"]);
    assert!(!plain.prints().contains('\x1b'));
    let painted = hostel(&["--color", "always", "help"]);
    assert!(painted.prints().contains("\x1b[1mAbout hostel:\x1b[0m"));
    assert_eq!(painted.stdout, hostel(&["help", "--color=always"]).stdout);
    let error = hostel(&["--color=always", "version", "--x"]);
    assert!(error.stderr.starts_with("error: ") || error.stderr.starts_with("\x1b[31;1merror:\x1b[0m "));
    hostel(&["--color=sometimes", "version"]).fails(
        2,
        "error: `sometimes` is not a value of `--color`\nhint: `auto`, `always` or `never`\n",
    );
    hostel(&["version", "--color=sometimes"]).fails(
        2,
        "error: `sometimes` is not a value of `--color <WHEN>`\nhint: one of `auto`, `always`, `never`\n",
    );
}

#[test]
fn a_closed_pipe_is_quiet() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = Run::of(&Place::new().command(&["help"]).stdout(writer).output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (141, ""));
}

#[test]
fn a_full_disk_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Place::new().command(&["version"]).stdout(full).output().unwrap();
    Run::of(&output).fails(
        1,
        "error: write to standard output: ENOSPC (no space left on device)\n",
    );
}
