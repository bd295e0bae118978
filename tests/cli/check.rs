//! `hostel check`

use crate::support::Place;

pub(crate) const RECIPE: &str = "guest \"web\" { image = \"busybox\", limits = { memory = \"64M\" } }\n";

#[test]
fn a_right_recipe() {
    let place = Place::new();
    let file = place.file("web.lua", RECIPE);
    assert_eq!(place.run(&["check", &file]).prints(), "1 guest, no mistakes\n");
    let run = place.run(&["check", &file, "--json"]);
    let specs: serde_json::Value = serde_json::from_str(run.prints()).unwrap();
    assert_eq!(specs[0]["limits"]["memory"], "64M");
}

#[test]
fn mistakes_are_told_with_their_places() {
    let place = Place::new();
    let file = place.file(
        "web.lua",
        "guest \"web\" { image = \"busybox\",\n  limits = { memroy = \"64M\", pids = 0.5 } }\n",
    );
    let run = place.run(&["check", &file]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("web.lua:2:14"), "{}", run.stderr);
    assert!(run.stderr.contains("did you mean `memory`?"), "{}", run.stderr);
    let run = place.run(&["check", &file, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(told["kind"], "invalid");
    assert_eq!(told["diagnostics"].as_array().unwrap().len(), 2);
    let range = serde_json::json!({
        "start": { "line": 1, "character": 13 },
        "end": { "line": 1, "character": 19 },
    });
    assert_eq!(told["diagnostics"][0]["range"], range);
}

#[test]
fn a_file_that_is_not_there() {
    let run = Place::new().run(&["check", "/nonexistent.lua"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("/nonexistent.lua"), "{}", run.stderr);
}

/// The only child of a process, once it has one.
fn child_of(pid: u32) -> u32 {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let path = format!("/proc/{pid}/task/{pid}/children");
    loop {
        let children = std::fs::read_to_string(&path).unwrap();
        if let Some(child) = children.split_whitespace().next() {
            return child.parse().unwrap();
        }
        assert!(std::time::Instant::now() < deadline, "it has no child");
        std::thread::yield_now();
    }
}

fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

#[test]
fn an_evaluation_that_is_killed_is_told() {
    let place = Place::new();
    let file = place.file("web.lua", "while true do end\n");
    let running = place.spawn(&["check", &file]);
    signal(child_of(running.id()), nix::sys::signal::Signal::SIGFPE);
    let run = crate::support::Run::of(&running.wait_with_output().unwrap());
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with("error[E0304]: "), "{}", run.stderr);
}

/// Ctrl-C while a recipe runs: the code of a shell, and no process is left.
#[test]
fn an_evaluation_that_is_interrupted_exits_with_130() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let place = Place::new();
    // One call that takes for ever, and that nothing inside Lua ends.
    let file = place.file(
        "slow.lua",
        "local s = (\"a\"):rep(100000)\nreturn s:find((\".-\"):rep(100) .. \"b\")\n",
    );
    let running = place.spawn(&["check", &file]);
    let children = format!("/proc/{0}/task/{0}/children", running.id());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let child: i32 = loop {
        let text = std::fs::read_to_string(&children).unwrap();
        if let Some(pid) = text.split_whitespace().next() {
            break pid.parse().unwrap();
        }
        assert!(std::time::Instant::now() < deadline, "no evaluation began");
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    kill(
        Pid::from_raw(i32::try_from(running.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let output = running.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(
        stderr.starts_with("error[E0305]: interrupted by SIGINT"),
        "{stderr}"
    );
    assert!(
        kill(Pid::from_raw(child), None).is_err(),
        "the evaluation is left"
    );
}
