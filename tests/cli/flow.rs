//! `hostel run` of workflows, and `hostel flow`: journals, undo, resume.

use crate::support::{Place, Run};

/// Steps append to a file what they do, so that a test sees what was done and undone.
const TRAIL: &str = r#"
local flow = require "hostel.flow"
local function note(a, text)
  local file = assert(io.open(a.trail, "a"))
  file:write(text, "\n")
  file:close()
end
"#;

struct Trail {
    place: Place,
    script: String,
    path: String,
}

impl Trail {
    fn new(body: &str) -> Self {
        let place = Place::new();
        let script = place.file("w.lua", &format!("{TRAIL}{body}"));
        let path = place.path("trail").to_str().unwrap().to_owned();
        Self { place, script, path }
    }

    fn run(&self, more: &[&str]) -> Run {
        let mut args = vec!["run", &self.script, "--trail", &self.path];
        args.extend(more);
        self.place.run(&args)
    }

    fn seen(&self) -> String {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().collect::<Vec<_>>().join(" ")
    }

    fn id(&self) -> String {
        let list: serde_json::Value =
            serde_json::from_str(self.place.run(&["flow", "ls", "--json"]).prints()).unwrap();
        list[0]["id"].as_str().unwrap().to_owned()
    }

    fn journal(&self) -> serde_json::Value {
        serde_json::from_str(self.place.run(&["flow", "show", &self.id(), "--json"]).prints()).unwrap()
    }
}

const THREE: &str = r#"
return flow.define "three" {
  doc = "Three steps",
  args = {
    trail = { "path", doc = "where it writes" },
    at = { "enum", "none", "middle", "half", "between", "kill", "undo", default = "none" },
    wait = { "duration", default = "5s" },
  },
  run = function(f, a)
    local one = f:step "one" {
      run = function() note(a, "+one") return { n = 7, list = {}, deep = { 1, "x" } } end,
      undo = function(v) note(a, "-one" .. v.n) if a.at == "undo" then error "stuck" end end,
    }
    assert(one.n == 7 and #one.list == 0 and one.deep[2] == "x")
    f:step "two" {
      run = function()
        note(a, "+two")
        if a.at == "middle" or a.at == "undo" then error "broken" end
        if a.at == "kill" then a.at = "none" os.execute("kill -9 $PPID") end
      end,
      undo = function() note(a, "-two") end,
    }
    if a.at == "between" then error "between" end
    local three = f:step "three" { run = function() note(a, "+three") if a.at == "half" then error "half" end return 3 end,
                     undo = function(v) note(a, "-three" .. v) end }
    assert(three == 3)
  end,
}
"#;

#[test]
fn a_workflow_runs_and_its_journal_is_kept() {
    let t = Trail::new(THREE);
    let run = t.run(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(t.seen(), "+one +two +three");
    let journal = t.journal();
    assert_eq!(journal["state"], "done");
    assert_eq!(journal["active"], false);
    assert_eq!(
        journal["steps"][0]["value"],
        serde_json::json!({ "n": 7, "list": {}, "deep": [1, "x"] })
    );
    assert_eq!(journal["args"]["wait"], "5s");
    let id = t.id();
    let again = t.place.run(&["flow", "resume", &id]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("is done"), "{}", again.stderr);
    t.place.run(&["flow", "rm", &id[..8]]).prints();
    assert_eq!(t.place.run(&["flow", "ls", "--json"]).prints(), "[]\n");
}

#[test]
fn a_step_that_fails_is_undone_with_those_before_it() {
    for (at, trail, why) in [
        ("middle", "+one +two -two -one7", "broken"),
        ("half", "+one +two +three -two -one7", "half"),
        ("between", "+one +two -two -one7", "between"),
    ] {
        let t = Trail::new(THREE);
        let run = t.run(&["--at", at]);
        assert_eq!(run.code, 1);
        assert!(
            run.stderr.contains(why) && run.stderr.contains("w.lua:"),
            "{}",
            run.stderr
        );
        assert_eq!(t.seen(), trail, "{at}");
        assert_eq!(t.journal()["state"], "undone", "{at}");
    }
}

#[test]
fn an_undo_that_fails_is_reported_and_can_be_tried_again() {
    let t = Trail::new(THREE);
    let run = t.run(&["--at", "undo"]);
    assert_eq!(run.code, 1);
    assert!(
        run.stderr.contains("broken") && run.stderr.contains("one: undo failed"),
        "{}",
        run.stderr
    );
    assert_eq!(t.seen(), "+one +two -two -one7");
    assert_eq!(t.journal()["state"], "undo_failed");
    let id = t.id();
    let resume = t.place.run(&["flow", "resume", &id]);
    assert!(resume.stderr.contains("is being undone"), "{}", resume.stderr);
    let again = t.place.run(&["flow", "undo", &id]);
    assert!(again.stderr.contains("one: undo failed"), "{}", again.stderr);
    assert_eq!(t.seen(), "+one +two -two -one7 -one7");
}

#[test]
fn a_run_that_was_killed_is_resumed_or_undone() {
    for what in ["resume", "undo"] {
        let t = Trail::new(THREE);
        let run = t.run(&["--at", "kill"]);
        assert_eq!(run.code, 137, "{}", run.stderr);
        assert_eq!(t.journal()["state"], "running");
        let id = t.id();
        assert!(t.place.run(&["flow", "ls"]).prints().contains("stopped"));
        assert!(
            t.place
                .run(&["flow", "show", &id])
                .prints()
                .contains("two: running")
        );
        let rm = t.place.run(&["flow", "rm", &id]);
        assert!(rm.stderr.contains("is not over"), "{}", rm.stderr);
        if what == "undo" {
            let undo = t.place.run(&["flow", "undo", &id]);
            assert_eq!(undo.code, 0, "{}", undo.stderr);
            assert_eq!(t.seen(), "+one +two -two -one7");
            assert_eq!(t.journal()["state"], "undone");
            continue;
        }
        // The step in which it died is killed again: `at` is an argument.
        assert_eq!(t.place.run(&["flow", "resume", &id]).code, 137);
        assert_eq!(t.seen(), "+one +two +two");
        let changed = std::fs::read_to_string(&t.script)
            .unwrap()
            .replace("kill -9 $PPID", "true");
        std::fs::write(&t.script, changed).unwrap();
        let refused = t.place.run(&["flow", "resume", &id]);
        assert_eq!(refused.code, 1);
        assert!(
            refused.stderr.contains("is not what it was"),
            "{}",
            refused.stderr
        );
        let resume = t.place.run(&["flow", "resume", "--force", &id]);
        assert_eq!(resume.code, 0, "{}", resume.stderr);
        assert_eq!(t.seen(), "+one +two +two +two +three");
        assert_eq!(t.journal()["state"], "done");
    }
}

#[test]
fn the_plan_shows_the_steps_and_does_nothing() {
    let t = Trail::new(
        r#"
return flow.define "p" {
  args = { trail = "path", guest = "guest" },
  run = function(f, a)
    local copy = f:step "copy" { deadline = "5s", run = function() note(a, "+") end, undo = function(c) c:destroy() end }
    local text = "is " .. copy.name:upper()
    f:step("verify " .. tostring(copy.size + 1), { run = function() end, retries = 2 })
    f:step "maybe" { when = function() return copy.big end, run = function() end }
    f:step "never" { when = false, run = function() end }
    f:commit(function() end)
  end,
}"#,
    );
    let run = t.run(&["--guest", "web", "--plan"]);
    assert_eq!(
        run.prints(),
        " 1. copy (within 5s, can be undone)\n \
         2. verify <known after apply> (tried again 2 times, no undo)\n \
         3. maybe (if it is so then, no undo)\n \
         4. never (skipped, no undo)\n \
         5. commit (no way back from here)\n"
    );
    assert_eq!(t.seen(), "");
    let json: serde_json::Value =
        serde_json::from_str(t.run(&["--guest", "web", "--plan", "--json"]).prints()).unwrap();
    assert_eq!(json[0]["name"], "copy");
    assert_eq!(json[0]["deadline"], 5.0);
    assert!(!t.place.path("root").join("flows").exists());
}

#[test]
fn what_is_not_known_in_a_plan_is_not_compared() {
    let t = Trail::new(
        "return flow.define \"p\" { args = { trail = 'path' }, run = function(f, a)\n\
         local copy = f:step(\"copy\", { run = function() end })\n\
         if copy.size > 5 then f:step(\"x\", { run = print }) end\n\
         end }",
    );
    let run = t.run(&["--plan"]);
    assert_eq!(run.code, 1);
    assert!(
        run.stderr
            .contains("comparing `copy.size` is not possible in a plan"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("w.lua:10:"), "{}", run.stderr);
}

#[test]
fn a_plan_refuses_effects_outside_of_steps() {
    let t = Trail::new(
        "return flow.define \"p\" { args = { trail = 'path', guest = 'guest' }, run = function(f, a)\n\
         a.guest:stop()\n\
         end }",
    );
    let run = t.run(&["--plan", "--guest", "web"]);
    assert!(
        run.stderr.contains("stop: stands outside of a step"),
        "{}",
        run.stderr
    );
}

#[test]
fn arguments_are_options_with_help_and_errors() {
    let t = Trail::new(
        r#"
return flow.define "args" {
  doc = "Shows its arguments",
  args = {
    trail = "path", guest = { "guest", doc = "the guest" }, down_time = { "duration", default = "5s" },
    size = { "size", default = "1M" }, count = { "integer", default = 3 }, fast = "boolean",
    color_of = { "enum", "blue", "green", default = "blue" }, at = { "address", required = false },
    names = { "list", of = "guest" }, ratio = { "number", default = 0.5 },
  },
  run = function(f, a)
    print(a.guest.name, a.down_time, a.size, a.count, a.fast, a.color_of, a.at, #a.names, a.names[2] and a.names[2].name, a.ratio)
  end,
}"#,
    );
    let run = t.run(&[
        "--guest",
        "web",
        "--down-time=7s",
        "--names",
        "a,b",
        "--fast",
        "--count",
        "-4",
        "--at",
        "::1",
    ]);
    assert_eq!(
        run.stdout, "web\t7s\t1048576\t-4\ttrue\tblue\t::1\t2\tb\t0.5\n",
        "{}",
        run.stderr
    );
    let help = t.run(&["--help"]);
    let text = help.prints();
    assert!(text.starts_with("Shows its arguments\n"), "{text}");
    for part in [
        "--guest <GUEST>",
        "the guest",
        "--down-time <DURATION>",
        "[default: 5s]",
        "blue, green",
        "--plan",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for (args, why) in [
        (&["--guest", "a/b"][..], "a/b"),
        (
            &["--guest", "web", "--down-time", "5"],
            "`5` is not a span of time",
        ),
        (&["--guest", "web", "--color-of", "red"], "one of `blue`, `green`"),
        (&["--guest", "web", "--gest", "x"], "did you mean `--guest`?"),
        (&[], "missing `--guest <GUEST>`"),
    ] {
        let run = t.run(args);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
}

#[test]
fn a_deadline_ends_a_step_and_cannot_be_caught() {
    let t = Trail::new(
        r#"
local time = require "hostel.time"
return flow.define "late" {
  args = { trail = "path", how = { "enum", "sleep", "loop" } },
  run = function(f, a)
    f:step "one" { run = function() end, undo = function() note(a, "-one") end }
    f:step "late" { deadline = "200ms", undo = function() note(a, "-late") end, run = function()
      pcall(function() if a.how == "sleep" then time.sleep("20s") end while true do pcall(function() while true do end end) end end)
      note(a, "caught")
    end }
  end,
}"#,
    );
    for how in ["sleep", "loop"] {
        let _ = std::fs::remove_file(&t.path);
        let run = t.run(&["--how", how]);
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert!(
            run.stderr.contains("error[E0501]: the deadline is over"),
            "{}",
            run.stderr
        );
        assert_eq!(t.seen(), "-late -one", "{how}");
    }
}

#[test]
fn a_step_is_tried_again_until_its_deadline() {
    let t = Trail::new(
        r#"
return flow.define "again" {
  args = { trail = "path" },
  run = function(f, a)
    local n = f:step "flaky" { retries = 3, backoff = "1ms", run = function(try)
      note(a, "try" .. try)
      if try < 3 then error "not yet" end
      return try
    end }
    assert(n == 3)
    f:step "hopeless" { retries = 1, backoff = "1ms", run = function() note(a, "hopeless") error "no" end }
  end,
}"#,
    );
    let run = t.run(&[]);
    assert_eq!(run.code, 1);
    assert_eq!(t.seen(), "try1 try2 try3 hopeless hopeless");
}

#[test]
fn behind_the_commit_there_is_only_forwards() {
    let t = Trail::new(
        r#"
return flow.define "c" {
  args = { trail = "path" },
  run = function(f, a)
    f:step "one" { run = function() note(a, "+one") end, undo = function() note(a, "-one") end }
    f:commit(function() note(a, "commit") end)
    f:step "after" { run = function() note(a, "+after") assert(io.open(a.trail .. ".go"), "not yet") end }
  end,
}"#,
    );
    let run = t.run(&[]);
    assert_eq!(run.code, 1);
    assert_eq!(t.seen(), "+one commit +after");
    let id = t.id();
    assert_eq!(t.journal()["state"], "failed");
    let undo = t.place.run(&["flow", "undo", &id]);
    assert!(undo.stderr.contains("point of no return"), "{}", undo.stderr);
    std::fs::write(format!("{}.go", t.path), "").unwrap();
    let resume = t.place.run(&["flow", "resume", &id]);
    assert_eq!(resume.code, 0, "{}", resume.stderr);
    assert_eq!(t.seen(), "+one commit +after +after");
}

#[test]
fn a_signal_undoes_and_ends_with_its_number() {
    use std::io::{BufRead as _, Read as _};
    let t = Trail::new(
        r#"
return flow.define "s" {
  args = { trail = "path" },
  run = function(f, a)
    f:step "one" { run = function() note(a, "+one") end, undo = function() note(a, "-one") end }
    local held <close> = setmetatable({}, { __close = function() note(a, "closed") end })
    f:step "two" { run = function() io.write("up\n") io.stdout:flush() require("hostel.time").sleep("60s") end,
                   undo = function() note(a, "-two") end }
  end,
}"#,
    );
    let mut child = t.place.spawn(&["run", &t.script, "--trail", &t.path]);
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let id = t.id();
    let held = t.place.run(&["flow", "resume", &id]);
    assert!(held.stderr.contains("another hostel works on"), "{}", held.stderr);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    out.read_to_string(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    // Undone while what the workflow holds is still held.
    assert_eq!(t.seen(), "+one -two -one closed");
    assert_eq!(t.journal()["state"], "undone");
}

#[test]
fn mistakes_of_a_workflow_have_their_place() {
    for (body, why) in [
        ("f:step \"x\" { rnu = print }", "did you mean `run`?"),
        ("f:step \"x\" {}", "step `x` has no `run`"),
        ("f:step \"x\"", "step `x` has no body"),
        (
            "f:step(\"x\", { run = print }) f:step(\"x\", { run = print })",
            "there are two steps `x`",
        ),
        (
            "f:step(\"x\", { run = print, deadline = \"5 parsecs\" })",
            "not a span of time",
        ),
        (
            "f:step(\"x\", { run = function() return print end })",
            "return plain data or a guest",
        ),
        (
            "f:step(\"x\", { run = function() f:step(\"y\", { run = print }) end })",
            "stands inside of step `x`",
        ),
        (
            "pcall(function() f:step(\"x\", { run = error }) end) f:step(\"y\", { run = print })",
            "a step before it failed",
        ),
    ] {
        let t = Trail::new(&format!(
            "return flow.define \"p\" {{ args = {{ trail = 'path' }}, run = function(f, a)\n{body}\nend }}"
        ));
        let run = t.run(&[]);
        assert_eq!(run.code, 1, "{body}");
        assert!(run.stderr.contains(why), "{body}: {}", run.stderr);
        let code = if body.contains("parsecs") {
            "E0002"
        } else {
            "E0502"
        };
        assert!(
            run.stderr.contains(&format!("error[{code}]")),
            "{body}: {}",
            run.stderr
        );
    }
}

/// `when` was asked again when the run was resumed, and said no: the guest that was stopped by then was not started.
#[test]
fn a_guest_killed_between_stop_and_start_would_stay_stopped() {
    let t = Trail::new(
        r#"
return flow.define "restart" {
  args = { trail = "path" },
  run = function(f, a)
    local function is_running() return not io.open(a.trail .. ".stopped") end
    f:step "restart" { when = is_running, run = function(try)
      note(a, "stop")
      local is_first = is_running()
      assert(io.open(a.trail .. ".stopped", "w")):close()
      if is_first then os.execute("kill -9 $PPID") end
      os.remove(a.trail .. ".stopped")
      note(a, "start")
    end }
  end,
}"#,
    );
    assert_eq!(t.run(&[]).code, 137);
    let resume = t.place.run(&["flow", "resume", &t.id()]);
    assert_eq!(resume.code, 0, "{}", resume.stderr);
    assert_eq!(t.seen(), "stop stop start");
    assert_eq!(t.journal()["steps"][0]["state"], "done");
}

/// What a step that failed did is taken back when its `undo` needs no value, or says that it can do without.
#[test]
fn a_step_that_failed_half_way_is_undone_when_it_says_so() {
    for (half, trail) in [
        (
            "undo_half_done = true, undo = function(v) note(a, '-' .. tostring(v)) end",
            "+ -nil",
        ),
        ("undo_half_done = false, undo = function() note(a, '-') end", "+"),
        ("undo = function(v) note(a, '-' .. tostring(v)) end", "+"),
        ("undo = function() note(a, '-') end", "+ -"),
    ] {
        let t = Trail::new(&format!(
            "return flow.define \"h\" {{ args = {{ trail = 'path' }}, run = function(f, a)\n\
             f:step(\"x\", {{ run = function() note(a, '+') error 'half' end, {half} }})\nend }}"
        ));
        assert_eq!(t.run(&[]).code, 1);
        assert_eq!(t.seen(), trail, "{half}");
    }
}

#[test]
fn an_undo_has_a_deadline_of_its_own() {
    let t = Trail::new(
        r#"
return flow.define "u" {
  args = { trail = "path" },
  run = function(f, a)
    f:step "one" { run = function() end, undo = function() note(a, "-one") end }
    f:step "two" {
      undo_deadline = "200ms",
      run = function() error "no" end,
      undo = function() require("hostel.time").sleep("60s") note(a, "late") end,
    }
  end,
}"#,
    );
    let run = t.run(&[]);
    assert!(
        run.stderr.contains("two: undo failed: the deadline is over"),
        "{}",
        run.stderr
    );
    assert_eq!(t.seen(), "-one");
    assert_eq!(t.journal()["state"], "undo_failed");
}

#[test]
fn a_step_that_may_not_run_twice_is_asked_about() {
    let t = Trail::new(
        r#"
return flow.define "once" {
  args = { trail = "path" },
  run = function(f, a)
    f:step "pay" { idempotent = false, run = function() note(a, "pay") if not io.open(a.trail .. ".go") then os.execute("kill -9 $PPID") end end }
  end,
}"#,
    );
    assert_eq!(t.run(&[]).code, 137);
    let id = t.id();
    std::fs::write(format!("{}.go", t.path), "").unwrap();
    let resume = t.place.run(&["flow", "resume", &id]);
    assert!(resume.stderr.contains("may not run twice"), "{}", resume.stderr);
    assert_eq!(t.place.run(&["flow", "resume", "--force", &id]).code, 0);
    assert_eq!(t.seen(), "pay pay");
}

#[test]
fn ids_that_are_not_there_are_named() {
    let place = Place::new();
    let run = place.run(&["flow", "show", "../x"]);
    run.fails(
        1,
        "error: there is no run `../x`\nhint: `hostel flow ls` lists them\n",
    );
    assert_eq!(place.run(&["flow", "ls", "--json"]).prints(), "[]\n");
}
