//! Secrets of guests that run: no command shows one, and no file has one but those that must.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::{Output, World, tests};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 240 => nothing_shows_a_secret,
}

/// In an environment variable and in a file, before and after they were changed.
const CANARIES: [&str; 4] = ["canary-of-env-1", "canary-of-file-1", "canary-of-env-2", "canary-of-file-2"];

#[track_caller]
fn silent(run: Output) -> Output {
    CANARIES.into_iter().fold(run, Output::lacks)
}

/// The files below `at` that hold one of them.
fn holding(at: &Path, found: &mut Vec<PathBuf>) {
    let kind = fs::symlink_metadata(at).unwrap().file_type();
    // What was built before there was a secret, gigabytes of it with other tests' images; and pinned programs of the kernel.
    let is_passed = |name: &OsStr| name == "images" || name == "bpf";
    if kind.is_dir() && at.file_name().is_some_and(is_passed) {
        return;
    }
    if kind.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            holding(&entry.unwrap().path(), found);
        }
    } else if kind.is_file() {
        let bytes = fs::read(at).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        if CANARIES.iter().any(|canary| text.contains(canary)) {
            found.push(at.to_owned());
        }
    }
}

fn keep(world: &World, name: &str, value: &str) {
    let path = world.root.join("secrets/web").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("{value}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn nothing_shows_a_secret(world: &World) {
    let _images = world.share_images();
    let recipe = |more: &str| {
        let text = format!(
            "guest \"web\" {{\n  image = \"busybox\",\n  xid = {},\n  \
             env = {{ TOKEN = secret \"web/token\" }},\n  \
             files = {{ [\"/etc/app.key\"] = {{ content = secret \"web/key\", mode = \"0600\" }} }},\n  \
             services = {{ idle = {{ exec = {{ \"sleep\", \"infinity\" }} }} }},\n{more}}}\n",
            world.xid(0)
        );
        world.file("web.lua", &text).to_str().unwrap().to_owned()
    };
    let run = |words: &[&str]| {
        // Everything that hostel can be made to say.
        let command = world.hostel(words.iter().copied()).env("HOSTEL_LOG", "trace").env("RUST_LOG", "trace");
        silent(command.deadline(60).run())
    };
    keep(world, "token", CANARIES[0]);
    keep(world, "key", CANARIES[1]);
    let file = recipe("");
    for words in [&["check", &file][..], &["check", "--json", &file], &["explain", "-r", &file, "web.env.TOKEN"]] {
        run(words).code(0);
    }
    run(&["plan", &file]).code(2).stdout_has("create web");
    run(&["plan", "--json", &file]).code(2);
    run(&["audit", "-r", &file, "--json"]);
    // A failure in the middle, and what is undone after it.
    let broken = recipe("  hooks = { pre_start = function(h) h:exec { \"false\" } end },\n");
    run(&["apply", &broken]).code(1).stderr_has("`false` failed");
    run(&["destroy", "--force", "web"]);
    // A guest that has them: by a workflow, whose journal is kept.
    let file = recipe("");
    let flow = "local flow, hostel = require \"hostel.flow\", require \"hostel\"\n\
                return flow.define \"make\" { run = function(f)\n\
                f:step \"apply\" { run = function() return hostel.apply(\"web.lua\") end } end }\n";
    let flow = world.file("make.lua", flow);
    fs::set_permissions(&flow, fs::Permissions::from_mode(0o644)).unwrap();
    run(&["run", flow.to_str().unwrap(), "--plan"]).code(0);
    run(&["run", flow.to_str().unwrap()]).code(0);
    let flows: serde_json::Value = serde_json::from_str(&run(&["flow", "ls", "--json"]).code(0).stdout).unwrap();
    let id = flows[0]["id"].as_str().unwrap();
    run(&["flow", "show", id]).code(0);
    run(&["flow", "show", id, "--json"]).code(0);
    for words in [
        &["plan", &file][..],
        &["plan", "--json", &file],
        &["ls"],
        &["ls", "--json"],
        &["status", "web"],
        &["status", "web", "--json"],
        &["logs", "web"],
        &["explain", "-r", &file, "web.files"],
        &["set", "web", "memory=64M"],
        &["gc"],
    ] {
        run(words).code(0);
    }
    run(&["audit", "web"]);
    run(&["audit", "--json"]);
    // It is there for whom it is meant.
    world.hostel(["exec", "web", "--", "cat", "/etc/app.key"]).ok().stdout("canary-of-file-1");
    // Both change: a plan says that, and not to what.
    keep(world, "token", CANARIES[2]);
    keep(world, "key", CANARIES[3]);
    run(&["plan", &file]).code(2).stdout_has("<secret>");
    run(&["plan", "--json", &file]).code(2).stdout_has("<secret>");
    run(&["apply", &file]).code(0);
    world.hostel(["exec", "web", "--", "cat", "/etc/app.key"]).ok().stdout("canary-of-file-2");
    // One that was a secret and is none any more is one still: the old value is in the plan's other half.
    let plain = fs::read_to_string(&file).unwrap().replace("secret \"web/token\"", "\"public\"");
    let plain = world.file("plain.lua", &plain);
    run(&["plan", plain.to_str().unwrap()]).code(2).stdout_has("<secret>");

    let mut found = Vec::new();
    holding(&world.root, &mut found);
    // Not made where the host's own BPF file system serves.
    if world.run.exists() {
        holding(&world.run, &mut found);
    }
    let home = world.root.join("guests/web");
    found.retain(|path| !path.starts_with(world.root.join("secrets")));
    // What was applied, for the next start, and the guest's own file.
    assert!(found.contains(&home.join("spec.json")), "{found:?}");
    found.retain(|path| *path != home.join("spec.json") && !path.ends_with("etc/app.key"));
    assert!(found.is_empty(), "a secret is kept in {found:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&home.join("spec.json")) & 0o077, 0);
    // Whoever looks at the host's processes sees none: neither on a command line nor in hostel's environment.
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        assert!(!CANARIES.iter().any(|canary| line.contains(canary)), "{line}");
    }
    run(&["stop", "web"]).code(0);
    run(&["destroy", "--force", "web"]).code(0);
}
