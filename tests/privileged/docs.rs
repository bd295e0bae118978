//! The documentation does what it says: the commands of each page run in order, in a world of the page's own, and print
//! what the page shows.
//!
//! `docs/development.md` ("The book") has the kinds of blocks. `tests/lua/docs.rs` fails on a page with commands that is not
//! named here.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::page::{Block, blocks};
use crate::support::{Need, World, binary, tests, tool};

/// Pages, by their path below docs/.
macro_rules! pages {
    ($($needs:tt within $seconds:literal => $function:ident = $path:literal),* $(,)?) => {
        tests! { $($needs within $seconds => $function),* }
        $(fn $function(world: &World) {
            follow(world, $path, include_str!(concat!("../../docs/", $path)));
        })*
    };
}

pages! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("curl")] within 120 => the_tutorial = "tutorial.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => capabilities = "howto/capabilities.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => archive = "howto/archive.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => backup = "howto/backup.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => clone = "howto/clone.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => debug = "howto/debug.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("curl")] within 120 => files = "howto/files.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("curl")] within 120 => health = "howto/health.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => hooks = "howto/hooks.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => limits = "howto/limits.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => many = "howto/many.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("curl")] within 120 => networks = "howto/networks.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox, Tool("curl")] within 120 => own_init = "howto/own-init.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => recipe = "howto/recipe.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => remove = "howto/remove.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => scripts = "howto/scripts.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => secrets = "howto/secrets.md",
    [Root, Cgroup2, Bpf, Verb("selftest"), Busybox] within 120 => selftest = "howto/selftest.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => services = "howto/services.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => templates = "howto/templates.md",
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] within 120 => test = "howto/test.md",
    [Root, Cgroup2, Bpf, Verb("unify"), Busybox] within 120 => unify = "howto/unify.md",
    [Root, Cgroup2, Bpf, Verb("volume"), Busybox, Filesystem("ext4")] within 120 => volumes = "howto/volumes.md",
    [Root, Cgroup2, Bpf, Verb("flow"), Busybox] within 120 => workflows = "howto/workflows.md",
}

/// Where the pages say that hostel keeps its files.
const ROOT: &str = "/var/lib/hostel";

fn follow(world: &World, path: &str, text: &str) {
    let bin = world.dir.join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(binary(), bin.join("hostel")).unwrap();
    fs::create_dir(world.dir.join("page")).unwrap();
    let mut ran = 0;
    for block in blocks(text) {
        let place = format!("docs/{path}:{}", block.line);
        if block.not_run().is_some() {
            continue;
        }
        match block.language() {
            "sh" => {
                run(world, &place, &block.text, 0);
                ran += 1;
            }
            "console" => ran += transcript(world, &place, &block),
            _ => write(world, &block),
        }
    }
    assert!(ran > 0, "docs/{path} has no commands: take it out of the list");
    // Pages need not end with an empty host; the test must.
    let left = world.hostel(["ls", "--quiet"]).ok().stdout;
    if !left.is_empty() {
        let words = ["destroy", "--force"].into_iter().chain(left.lines());
        world.hostel(words).ok();
    }
}

/// Writes a block that is a file.
fn write(world: &World, block: &Block) {
    let Some(name) = block.value("file") else { return };
    let mut text = block.text.clone();
    // The kernels that cannot scope abstract sockets are told that this is accepted.
    if Need::LandlockScopes.probe().is_err() {
        text = text.replace(
            r#"mode = "bind""#,
            r#"mode = "bind", shared_abstract_sockets = true"#,
        );
    }
    let path = world.file(&format!("page/{name}"), &text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// Runs commands in the page's directory; what they print, as the page would show it.
fn run(world: &World, place: &str, commands: &str, code: i32) -> String {
    let root = world.root.to_str().unwrap();
    let commands = format!("exec 2>&1\n{}", commands.replace(ROOT, root));
    let mut path = OsString::from(world.dir.join("bin"));
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let command = tool("bash", ["-euo", "pipefail", "-c", &commands]);
    let command = world
        .within(command)
        .env("PATH", path)
        .dir(world.dir.join("page"));
    let out = command.deadline(60).run();
    assert_eq!(out.status, code, "{place}: exit code of {out}");
    out.stdout.replace(root, ROOT)
}

/// Runs the commands of a transcript, each behind `$ `, and compares what each prints with what is shown; how many it has.
fn transcript(world: &World, place: &str, block: &Block) -> usize {
    let mut commands: Vec<(String, Vec<&str>)> = vec![];
    for line in block.text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), vec![]));
            continue;
        }
        let (command, shown) = commands
            .last_mut()
            .unwrap_or_else(|| panic!("{place}: it begins with no `$ `"));
        if command.ends_with('\\') && shown.is_empty() {
            command.push('\n');
            command.push_str(line);
        } else {
            shown.push(line);
        }
    }
    let last = commands.len();
    for (number, (command, shown)) in commands.into_iter().enumerate() {
        // The code is that of the last command.
        let code = match block.value("code") {
            Some(code) if number + 1 == last => code.parse().unwrap(),
            _ => 0,
        };
        let printed = run(world, place, &command, code);
        let lines: Vec<&str> = printed.lines().map(|line| without_time(line.trim_end())).collect();
        assert!(
            shows(&shown, &lines),
            "{place}: `{command}` prints\n{printed}--- and is shown as\n{}",
            shown.join("\n")
        );
    }
    last
}

/// The line without how long something took, which `hostel test` says of what took long.
fn without_time(line: &str) -> &str {
    let time = line
        .strip_suffix(" ms)")
        .and_then(|rest| rest.rsplit_once(" ("));
    match time {
        Some((rest, number)) if number.parse::<u64>().is_ok() => rest,
        _ => line,
    }
}

/// Whether `printed` is what is `shown`. A line `…` stands for any number of lines, `…` in a line for any text.
fn shows(shown: &[&str], printed: &[&str]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), _) => (0..=printed.len()).any(|skipped| shows(rest, &printed[skipped..])),
        (Some((line, rest)), Some((found, more))) => fits(line, found) && shows(rest, more),
        _ => false,
    }
}

fn fits(shown: &str, found: &str) -> bool {
    let Some((before, after)) = shown.split_once('…') else {
        return shown == found;
    };
    let Some(rest) = found.strip_prefix(before) else {
        return false;
    };
    rest.char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|at| fits(after, &rest[at..]))
}
