//! What goes wrong on a host: a full or read-only disk, no descriptors, no memory, a closed or full output, a clock that
//! jumps, many commands that are killed at once. Each is a clear error, and nothing is lost or left.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::life::{destroy, recipe, root_of, running};
use crate::support::{Output, Running, World, binary, eventually, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4")] => a_full_disk_is_named_and_a_build_on_it_leaves_nothing,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4")] => a_read_only_disk_is_named,
    [Root, Cgroup2, Bpf, Busybox] => without_descriptors_a_start_fails_whole,
    [Root, Cgroup2, Bpf, Busybox] => without_memory_a_start_fails_whole,
    [Root, Cgroup2, Bpf, Busybox] => an_output_that_is_full_is_an_error_and_one_that_is_closed_is_not,
    [Root, Cgroup2, Bpf, Busybox] => a_guest_that_dies_while_it_starts_is_told,
    [Root, Cgroup2, Bpf, Busybox, Controller("pids")] within 120 => a_guest_that_forks_while_it_is_stopped_is_stopped,
    [Root, Cgroup2, Bpf, Busybox] within 120 => a_console_that_is_flooded_stays_bounded,
    [Root, Cgroup2, Bpf, Busybox, Vm] => a_clock_that_jumps_changes_no_deadline,
    [Root, Cgroup2, Bpf, Busybox] within 600 => two_hundred_starts_and_stops_with_kills_lose_nothing,
}

/// A recipe of a guest in a state directory on this volume, and `hostel` there.
fn hostel_on(world: &World, root: &Path, args: &[&str]) -> Output {
    world.hostel(args).env("HOSTEL_ROOT", root).run()
}

fn a_full_disk_is_named_and_a_build_on_it_leaves_nothing(world: &World) {
    let volume = world.volume("ext4", 16);
    let root = volume.at.join("root");
    let recipe = recipe(world, "web", 0, "");
    let recipe = recipe.to_str().unwrap();
    fs::write(volume.at.join("ballast"), vec![1; 13 << 20]).unwrap();
    let out = hostel_on(world, &root, &["apply", recipe]).code(1);
    assert!(out.stderr.contains("ENOSPC") && out.stderr.contains("no space left"), "{}", out.stderr);
    // Nothing half-made is taken for a guest or an image.
    hostel_on(world, &root, &["ls", "--quiet"]).code(0).stdout("");
    hostel_on(world, &root, &["images"]).code(0);
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    fs::remove_file(volume.at.join("ballast")).unwrap();
    hostel_on(world, &root, &["apply", recipe]).code(0);
    // A guest that fills it: the host's commands still stop and remove it.
    hostel_on(world, &root, &["exec", "web", "--", "sh", "-c", "cat /dev/zero > /full"]).code(1).stderr_has("No space left");
    hostel_on(world, &root, &["stop", "web"]).code(0);
    hostel_on(world, &root, &["destroy", "--force", "web"]).code(0);
}

fn a_read_only_disk_is_named(world: &World) {
    let volume = world.volume("ext4", 32);
    let root = volume.at.join("root");
    let recipe = recipe(world, "web", 0, "");
    let recipe = recipe.to_str().unwrap();
    hostel_on(world, &root, &["apply", recipe]).code(0);
    hostel_on(world, &root, &["stop", "web"]).code(0);
    let at = volume.at.to_str().unwrap();
    tool("mount", ["-o", "remount,ro", at]).ok();
    hostel_on(world, &root, &["ls", "--quiet"]).code(0).stdout("web\n");
    hostel_on(world, &root, &["start", "web"]).code(1).stderr_has("EROFS");
    tool("mount", ["-o", "remount,rw", at]).ok();
    hostel_on(world, &root, &["start", "web"]).code(0);
    hostel_on(world, &root, &["destroy", "--force", "web"]).code(0);
}

/// Starts `web` under each limit of the shell's `ulimit`; how many starts failed, each of which must say why and leave
/// the guest as startable as before.
fn starts_under(world: &World, flag: char, limits: impl IntoIterator<Item = u32>, says: &[&str]) -> (usize, usize) {
    running(world, "web", 0, "");
    world.hostel(["stop", "web"]).ok();
    let (mut failed, mut all) = (0, 0);
    for limit in limits {
        let line = format!("ulimit -{flag} {limit}; exec \"$0\" start web");
        let out = world.within(tool("sh", ["-c", &line, binary().to_str().unwrap()])).run();
        all += 1;
        if out.status != 0 {
            failed += 1;
            // 128 + SIGSEGV or SIGKILL: there was not even enough for the kernel to begin the program.
            let is_begun = ![128 + 11, 128 + 9].contains(&out.status);
            let is_told = says.iter().any(|text| out.stderr.contains(text));
            assert!(is_told || !is_begun, "ulimit -{flag} {limit}: {out}");
            // Nobody is left running behind an error.
            world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
            world.hostel(["start", "web"]).ok();
        }
        world.hostel(["exec", "web", "--", "true"]).ok();
        world.hostel(["stop", "web"]).ok();
    }
    destroy(world, "web");
    (failed, all)
}

fn without_descriptors_a_start_fails_whole(world: &World) {
    let (failed, all) = starts_under(world, 'n', (4..24).chain([28, 32, 40, 64]), &["EMFILE", "too many open files"]);
    assert!(failed >= 5 && failed < all, "{failed} of {all}");
}

fn without_memory_a_start_fails_whole(world: &World) {
    // Kilobytes of address space. A Rust program that gets none says how much it wanted, and aborts; below some size
    // the kernel or the loader does not even begin it.
    let says = ["ENOMEM", "memory allocation", "cannot allocate", "error while loading", "failed to map"];
    let sizes = (0..14).map(|step| 8_000 + step * 3_000);
    let (failed, all) = starts_under(world, 'v', sizes, &says);
    assert!(failed >= 1 && failed < all, "{failed} of {all}");
}

fn an_output_that_is_full_is_an_error_and_one_that_is_closed_is_not(world: &World) {
    running(world, "web", 0, "");
    let line = |text: &str| world.within(tool("sh", ["-c", text, binary().to_str().unwrap()])).run();
    line("\"$0\" ls > /dev/full").code(1).stderr_has("ENOSPC");
    line("\"$0\" status --json web > /dev/full").code(1).stderr_has("ENOSPC");
    line("\"$0\" ls 2>&1 >&-; exit 0").code(0);
    // Nobody reads it: what a shell says of every such program.
    line("{ \"$0\" doc guest; echo $? >&2; } | true").code(0);
    destroy(world, "web");
}

fn a_guest_that_dies_while_it_starts_is_told(world: &World) {
    let recipe = recipe(world, "web", 0, "init = \"/bin/false\",");
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).run().code(1).stderr_has("/bin/false");
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
    destroy(world, "web");
}

fn a_guest_that_forks_while_it_is_stopped_is_stopped(world: &World) {
    running(world, "web", 0, "limits = { pids = 200 }, stop = { timeout = \"2s\" },");
    // Each ignores SIGTERM and makes another before it ends.
    let script = "trap '' TERM; f() { while :; do (f) & sleep 0.01; done; }; f >/dev/null 2>&1 & exit 0";
    world.hostel(["exec", "web", "--", "sh", "-c", script]).silent().run();
    let count = || -> u64 {
        let status = world.hostel(["status", "--json", "web"]).ok().stdout;
        serde_json::from_str::<serde_json::Value>(&status).unwrap()["processes"].as_u64().unwrap()
    };
    assert!(eventually(Duration::from_secs(20), || count() > 50), "{}", count());
    world.hostel(["stop", "web"]).deadline(60).ok();
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
    destroy(world, "web");
}

fn a_console_that_is_flooded_stays_bounded(world: &World) {
    let flood = "init = \"/sbin/init\", files = { [\"/etc/inittab\"] = \"::respawn:/bin/sh -c 'yes flood > /dev/console'\\n\" },";
    running(world, "web", 0, flood);
    // 1 MiB, and three old ones: until the last of them is there.
    let log = root_of(world, "web").join("var/log/hostel");
    let files = || -> Vec<(String, u64)> {
        let entries = fs::read_dir(&log).into_iter().flatten().flatten();
        let of_console = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("console"));
        of_console.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.metadata().unwrap().len())).collect()
    };
    assert!(eventually(Duration::from_secs(60), || files().len() == 4), "{:?}", files());
    world.hostel(["logs", "web", "console", "--lines", "1"]).ok().stdout_has("flood");
    // The keeper still answers.
    world.hostel(["exec", "web", "--", "true"]).ok();
    world.hostel(["stop", "--kill", "web"]).ok();
    let size: u64 = files().iter().map(|(_, size)| size).sum();
    assert!(size <= 4 << 20, "{:?}", files());
    destroy(world, "web");
}

fn a_clock_that_jumps_changes_no_deadline(world: &World) {
    running(
        world,
        "web",
        0,
        "stop = { timeout = \"3s\" }, services = { deaf = { exec = { \"sh\", \"-c\", \"trap '' TERM; while :; do sleep 1; done\" } } },",
    );
    let day = "86400";
    let now = tool("date", ["+%s"]).ok().stdout;
    let now: u64 = now.trim().parse().unwrap();
    let stop = world.hostel(["stop", "web"]).spawn();
    for jump in [86_400, 2 * 86_400, 0] {
        tool("date", ["-s", &format!("@{}", now + jump)]).ok();
    }
    stop.wait().code(0);
    tool("date", ["-s", &format!("@{}", now + 86_400)]).ok();
    world.hostel(["start", "web"]).ok();
    world.hostel(["context", "--timeout", "1s", "--", "sleep", day]).run().code(124);
    world.hostel(["stop", "--kill", "web"]).ok();
    tool("date", ["-s", &format!("@{}", now + 10)]).ok();
    destroy(world, "web");
}

/// A sequence that is the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        // Numerical Recipes' generator; its upper bits are good enough to choose a guest.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn two_hundred_starts_and_stops_with_kills_lose_nothing(world: &World) {
    const GUESTS: u32 = 8;
    let names: Vec<String> = (0..GUESTS).map(|number| format!("g{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        running(world, name, u32::try_from(number).unwrap(), "");
        world.hostel(["exec", name, "--", "sh", "-c", &format!("printf {name} >/mark")]).ok();
    }
    let mut dice = Dice(2026);
    let mut under_way: Vec<(bool, Running)> = vec![];
    let (mut begun, mut killed) = (0, 0);
    while begun < 200 {
        let name = &names[usize::try_from(dice.next(u64::from(GUESTS))).unwrap()];
        let verb = ["start", "stop", "restart"][usize::try_from(dice.next(3)).unwrap()];
        let command = world.hostel([verb, name]).deadline(120).spawn();
        begun += 1;
        let is_killed = dice.next(3) == 0;
        if is_killed {
            command.signal(Signal::SIGKILL);
            killed += 1;
        }
        under_way.push((is_killed, command));
        // A few at a time, so that they meet one another.
        if under_way.len() >= 6 {
            let (is_killed, command) = under_way.remove(usize::try_from(dice.next(6)).unwrap());
            end(is_killed, command);
        }
    }
    for (is_killed, command) in under_way {
        end(is_killed, command);
    }
    assert!(killed > 40, "{killed}");
    for name in &names {
        // Whatever was interrupted, the next command works, and the guest is whole.
        let out = world.hostel(["restart", name]).deadline(120).run();
        if out.status != 0 {
            world.hostel(["start", name]).deadline(120).ok();
        }
        world.hostel(["exec", name, "--", "cat", "/mark"]).ok().stdout(name);
    }
    let mut all = vec!["destroy", "--force"];
    all.extend(names.iter().map(String::as_str));
    world.hostel(all).deadline(120).ok();
    world.hostel(["ls", "--quiet"]).ok().stdout("");
}

/// It ended well, or as somebody who came second may, or by the kill.
fn end(is_killed: bool, command: Running) {
    let out = command.wait();
    let well = out.status == 0
        || (out.status == 1 && ["runs already", "does not run", "works on", "is stopped"].iter().any(|text| out.stderr.contains(text)))
        || (is_killed && out.status == 128 + 9);
    assert!(well, "{out}");
}
