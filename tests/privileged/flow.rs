//! flow: the workflows that hostel ships, on guests; and a run that is killed at every change that it makes.

use std::ffi::OsString;

use crate::life::{destroy, recipe, running};
use crate::support::{World, binary, slowness, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("flow"), Busybox] within 240 => guests_restart_one_after_the_other,
    [Root, Cgroup2, Bpf, Verb("flow"), Busybox] within 240 => a_guest_is_replaced,
    [Root, Cgroup2, Bpf, Verb("flow"), Busybox] within 240 => a_page_that_is_not_served_is_taken_back,
    [Root, Verb("flow"), Tool("strace")] within 1800 => a_run_can_be_killed_anywhere,
}

fn guests_restart_one_after_the_other(world: &World) {
    let _images = world.share_images();
    for (number, name) in ["web1", "web2", "db"].into_iter().enumerate() {
        running(world, name, u32::try_from(number).unwrap(), "");
    }
    world.hostel(["stop", "web2"]).ok();
    let before = started(world, "web1");
    let db = started(world, "db");
    let plan = world.hostel(["run", "rolling-restart", "--match", "web*", "--plan"]).run().code(0);
    assert_eq!(plan.stdout.lines().count(), 2, "{plan}");
    let run = world.hostel(["run", "rolling-restart", "--match", "web*"]).deadline(120).run().code(0);
    assert!(run.stderr.contains("restart web1: done") && run.stderr.contains("restart web2: skipped"), "{run}");
    assert_ne!(started(world, "web1"), before);
    assert_eq!(started(world, "db"), db);
    let none = world.hostel(["run", "rolling-restart", "--match", "x*"]).run().code(1);
    assert!(none.stderr.contains("no guest is called `x*`"), "{none}");
    for name in ["web1", "web2", "db"] {
        destroy(world, name);
    }
}

/// The process id of its first process, as the host sees it.
fn started(world: &World, name: &str) -> String {
    let status = world.hostel(["status", name, "--json"]).ok();
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let status = status.as_array().map_or(&status, |all| &all[0]);
    status["pid"].to_string()
}

fn a_guest_is_replaced(world: &World) {
    let _images = world.share_images();
    let served = "services = { httpd = { exec = { \"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/srv\" } } },\n  \
                  files = { [\"/srv/index.html\"] = \"hello\\n\" },";
    running(world, "old", 0, served);
    let silent = recipe(world, "new", 1, "");
    let url = format!("http://{}:80/", world.address(2));
    let replace = |recipe: &std::path::Path, patience: &str| {
        let words = ["run", "replace", "--old", "old", "--new", "new", "--recipe"].map(OsString::from);
        let more = ["--url", &url, "--patience", patience].map(OsString::from);
        world.hostel(words.into_iter().chain([recipe.as_os_str().to_owned()]).chain(more)).deadline(120).run()
    };
    // It does not answer: the new one goes, the old one stays.
    let run = replace(&silent, "2s").code(1);
    assert!(run.stderr.contains("check: failed: the deadline is over") && run.stderr.contains("make: undone"), "{run}");
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("old\n");
    let answers = recipe(world, "new", 1, served);
    replace(&answers, "30s").code(0);
    world.hostel(["ls", "--quiet"]).ok().stdout("new\n");
    destroy(world, "new");
}

fn a_page_that_is_not_served_is_taken_back(world: &World) {
    let _images = world.share_images();
    let served = "services = { httpd = { exec = { \"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/srv\" } } },\n  \
                  files = { [\"/srv/index.html\"] = \"old\\n\" },";
    running(world, "web", 0, served);
    let example = world.file("09.lua", include_str!("../../examples/09-workflow.lua"));
    let page = world.file("new.html", "it's $new\n");
    let run = |url: &str| {
        let words = ["run".as_ref(), example.as_os_str(), "--guest".as_ref(), "web".as_ref(), "--page".as_ref()];
        let more = [page.as_os_str(), "--url".as_ref(), url.as_ref()];
        world.hostel(words.into_iter().chain(more)).deadline(60).run()
    };
    let shown = || world.hostel(["exec", "web", "--", "cat", "/srv/index.html"]).ok().stdout;
    let url = format!("http://{}/", world.address(1));
    let failed = run(&format!("{url}nothing")).code(1);
    assert!(failed.stderr.contains("not what is served"), "{failed}");
    assert_eq!(shown(), "old\n");
    run(&url).code(0);
    assert_eq!(shown(), "it's $new\n");
    destroy(world, "web");
}

const WORKFLOW: &str = r#"
local flow = require "hostel.flow"
local function put(dir, name) local file = assert(io.open(dir .. "/" .. name, "w")) file:close() end
return flow.define "marks" {
  args = { dir = "path" },
  run = function(f, a)
    for _, name in ipairs { "a", "b", "c" } do
      local kept = f:step("mark " .. name, {
        run = function() put(a.dir, name) return { name = name } end,
        undo_half_done = true,
        undo = function() os.remove(a.dir .. "/" .. name) end,
      })
      assert(kept.name == name)
    end
  end,
}
"#;

/// What changes a file or ends the program: between two of these nothing of a run changes.
const CHANGES: &str = "?mkdir,?mkdirat,?open,?openat,?write,?fsync,?rename,?renameat,?renameat2,?unlink,?unlinkat,?flock,?exit_group";

fn a_run_can_be_killed_anywhere(world: &World) {
    let script = world.file("marks.lua", WORKFLOW);
    let marks = world.dir.join("marks");
    let flows = || -> Vec<serde_json::Value> {
        serde_json::from_str(&world.hostel(["flow", "ls", "--json"]).ok().stdout).unwrap()
    };
    let strace = |head: &[&str]| {
        let words = head.iter().map(OsString::from).chain([binary().into_os_string()]);
        let words = words
            .chain(["run".into(), script.clone().into_os_string(), "--dir".into(), marks.clone().into_os_string()]);
        world.within(tool("strace", words)).silent().deadline(120).run()
    };
    let names = || -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(&marks).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let forget = || {
        for flow in flows() {
            world.hostel(["flow", "rm", "--force", flow["id"].as_str().unwrap()]).ok();
        }
        world.hostel(["flow", "gc", "--keep", "0s"]).ok();
    };
    std::fs::create_dir(&marks).unwrap();
    let log = world.dir.join("strace.log");
    let trace = format!("trace={CHANGES}");
    strace(&["-qq", "-o", log.to_str().unwrap(), "-e", "signal=none", "-e", &trace]).code(0);
    assert_eq!(names(), ["a", "b", "c"]);
    forget();
    let mut changes: Vec<(String, usize)> = vec![];
    let text = std::fs::read_to_string(&log).unwrap();
    for line in text.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let nth = changes.iter().filter(|(known, _)| known == name).count() + 1;
        changes.push((name.to_owned(), nth));
    }
    // Reading is not the point: of the opened files only those from the first journal on are.
    let first = changes.iter().position(|(name, _)| name.starts_with("mkdir")).unwrap_or(0);
    let points: Vec<&(String, usize)> = changes[first..].iter().collect();
    let all = std::env::var_os("HOSTEL_THOROUGH").is_some_and(|value| value == "1");
    let stride = if all { 1 } else { (points.len() * slowness() as usize / 30).max(1) };
    let (mut tried, mut killed) = (0, 0);
    for (index, (name, nth)) in points.iter().step_by(stride).enumerate() {
        for mark in names() {
            std::fs::remove_file(marks.join(mark)).unwrap();
        }
        let (trace, inject) = (format!("trace={name}"), format!("inject={name}:signal=SIGKILL:when={nth}"));
        let status = strace(&["-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]).status;
        (tried, killed) = (tried + 1, killed + usize::from(status == 128 + 9));
        let runs = flows();
        let what = if index % 2 == 0 { "resume" } else { "undo" };
        match runs.as_slice() {
            // It died before its journal: nothing of it has happened.
            [] => assert!(names().is_empty(), "{name} {nth}: {:?}", names()),
            [run] if run["state"] == "done" => assert_eq!(names(), ["a", "b", "c"]),
            [run] => {
                world.hostel(["flow", what, run["id"].as_str().unwrap()]).run().code(0);
                let expected: &[&str] = if what == "resume" { &["a", "b", "c"] } else { &[] };
                assert_eq!(names(), expected, "{what} after a kill at {name} {nth}");
                let state = if what == "resume" { "done" } else { "undone" };
                assert_eq!(flows()[0]["state"], state);
            }
            more => panic!("{more:?}"),
        }
        forget();
    }
    // Calls of two threads do not always come in the same order: a number may be one that the run does not reach.
    assert!(killed >= 3 && killed * 4 >= tried * 3, "{killed} of {tried} were killed");
}
