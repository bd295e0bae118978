//! Runs each test in a process of its own, so that a panic, a crash, a hang or a test that spoils its namespaces
//! reaches neither the next test nor the machine.
//!
//! The suite's process starts itself again with `HOSTEL_TEST_ONE=name` for every test. That process, single-threaded
//! (it may fork), enters cgroups that cap its memory and its processes, unshares mounts and network, runs the test
//! and looks for leaks. The suite kills it when its time is up, and then removes the test's cgroups and files,
//! whatever happened.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::command::tool;
use super::hierarchy::{Hierarchy, hierarchies, remove, subtree};
use super::leak::Before;
use super::need::{Need, in_vm};
use super::world::World;

/// How much of the machine one test may use beside its guests, whose limits are the subject of tests.
const MEMORY_CAP: &str = "4294967296";
const PROCESS_CAP: &str = "2048";

/// What a test prints behind this is among the last lines of the suite's output, also when the test passes.
pub(crate) const NOTE: &str = "for the record: ";

/// One test.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    name: &'static str,
    needs: Vec<Need>,
    seconds: u64,
    body: fn(&World),
}

impl Test {
    pub(crate) fn new(path: &'static str, needs: Vec<Need>, seconds: u64, body: fn(&World)) -> Self {
        // `privileged::exec::it_works` without the crate.
        let name = path.split_once("::").map_or(path, |(_, name)| name);
        Self {
            name,
            needs,
            seconds,
            body,
        }
    }
}

/// The suite's `main`.
pub(crate) fn run(tests: Vec<Test>, files: &'static [&'static str]) -> ExitCode {
    if let Ok(name) = env::var("HOSTEL_TEST_ONE") {
        let test = tests
            .iter()
            .find(|test| test.name == name)
            .expect("a test of that name");
        return run_here(test);
    }
    sweep();
    let args = Arguments::from_args();
    let must_run = env::var_os("HOSTEL_MUST_RUN").is_some_and(|value| value == "1");
    let skipped = Arc::new(Mutex::new(BTreeMap::new()));
    let probed = Arc::new(Mutex::new(vec![]));
    let open = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let (elsewhere, tests): (Vec<Test>, Vec<Test>) = tests.into_iter().partition(|test| {
        let mut needs = test.needs.iter();
        needs.any(|need| need.is_another_machine() && need.probe().is_err())
    });
    let times = Arc::new(Mutex::new(vec![]));
    let notes = Arc::new(Mutex::new(BTreeMap::new()));
    let mut trials = vec![];
    for (number, test) in tests.into_iter().enumerate() {
        let (times, notes) = (Arc::clone(&times), Arc::clone(&notes));
        let (skipped, probed, open) = (Arc::clone(&skipped), Arc::clone(&probed), Arc::clone(&open));
        trials.push(Trial::ignorable_test(test.name, move || {
            let done = Done(open);
            let outcome = match missing(&test, &probed) {
                Some(reason) if must_run => Err(Failed::from(format!("{reason} (HOSTEL_MUST_RUN=1)"))),
                Some(reason) => {
                    skipped.lock().unwrap().insert(test.name, reason.clone());
                    Ok(Completion::ignored_with(reason))
                }
                None => {
                    let began = Instant::now();
                    let outcome = run_apart(&test, number, &notes);
                    times.lock().unwrap().push((began.elapsed().as_secs(), test.name));
                    outcome.map(|()| Completion::Completed)
                }
            };
            drop(done);
            outcome
        }));
    }
    *open.0.lock().unwrap() = trials.iter().filter(|trial| !args.is_filtered_out(trial)).count();
    if let Some(source) = source() {
        trials.push(Trial::test("suite::every_file_is_registered", move || {
            registered(&source, files)
        }));
    }
    // Last in the queue, and it waits for the others.
    trials.push(Trial::test("suite::nothing_is_left_behind", move || {
        let (count, changed) = &*open;
        drop(
            changed
                .wait_while(count.lock().unwrap(), |count| *count > 0)
                .unwrap(),
        );
        nothing_left()
    }));
    let conclusion = libtest_mimic::run(&args, trials);
    let mut times = std::mem::take(&mut *times.lock().unwrap());
    times.sort_unstable();
    for (seconds, name) in times.iter().rev().take(5).filter(|(seconds, _)| *seconds >= 10) {
        println!("slow {name}: {seconds} s");
    }
    for test in elsewhere.iter().filter(|_| !args.list) {
        println!("elsewhere {}: for another machine than this", test.name);
    }
    for (name, reason) in &*skipped.lock().unwrap() {
        println!("skipped {name}: {reason}");
    }
    for (name, note) in &*notes.lock().unwrap() {
        println!("noted {name}: {note}");
    }
    conclusion.exit_code()
}

/// Counts a test as finished, also when it panics.
struct Done(Arc<(Mutex<usize>, Condvar)>);

impl Drop for Done {
    fn drop(&mut self) {
        if let Ok(mut count) = self.0.0.lock() {
            *count = count.saturating_sub(1);
        }
        self.0.1.notify_all();
    }
}

/// The first requirement that is not met. Each is probed once a run: some ask a mirror.
fn missing(test: &Test, probed: &Mutex<Vec<(Need, Result<(), String>)>>) -> Option<String> {
    for need in &test.needs {
        let mut probed = probed.lock().unwrap();
        let known = probed
            .iter()
            .find(|(known, _)| known == need)
            .map(|(_, answer)| answer.clone());
        let answer = known.unwrap_or_else(|| {
            let answer = need.probe();
            probed.push((*need, answer.clone()));
            answer
        });
        if let Err(reason) = answer {
            return Some(reason);
        }
    }
    None
}

fn own_name() -> String {
    format!("hostel-test-{}", std::process::id())
}

/// In the suite: starts the test's process, waits for it, cleans up after it.
fn run_apart(
    test: &Test,
    number: usize,
    notes: &Mutex<BTreeMap<&'static str, String>>,
) -> Result<(), Failed> {
    let cgroup = format!("{}-{number}", own_name());
    let runner = format!("{cgroup}-runner");
    let dir = tempfile::Builder::new().prefix(&format!("{cgroup}.")).tempdir()?;
    for hierarchy in hierarchies() {
        cap(&hierarchy, &runner)?;
    }
    let mut child = Command::new(env::current_exe()?)
        .env("HOSTEL_TEST_ONE", test.name)
        .env("HOSTEL_TEST_DIR", dir.path())
        .env("HOSTEL_TEST_CGROUP", &cgroup)
        .env("HOSTEL_TEST_NUMBER", number.to_string())
        .stdin(Stdio::null())
        .stdout(fs::File::create(dir.path().join("log"))?)
        .stderr(fs::OpenOptions::new().append(true).open(dir.path().join("log"))?)
        .process_group(0)
        .spawn()?;
    let mut status = None;
    super::command::eventually(Duration::from_secs(test.seconds), || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    let mut failure = match status {
        Some(status) if status.success() => vec![],
        Some(status) => vec![
            status
                .signal()
                .map_or("failed".to_owned(), |signal| format!("killed by signal {signal}")),
        ],
        None => vec![format!("passed its deadline of {} s", test.seconds)],
    };
    for name in [&runner, &cgroup] {
        failure.extend(remove(name).err().map(|error| error.to_string()));
    }
    let _ = child.kill();
    let _ = child.wait();
    let log = fs::read(dir.path().join("log")).unwrap_or_default();
    let said = String::from_utf8_lossy(&log);
    let own: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix(NOTE)).collect();
    if !own.is_empty() {
        notes.lock().unwrap().insert(test.name, own.join("; "));
    }
    if let Err(error) = dir.close() {
        failure.push(format!("the test's files cannot be removed: {error}"));
    }
    if failure.is_empty() {
        // The thorough tests say how far they went.
        if env::var_os("HOSTEL_THOROUGH").is_some() && !log.is_empty() {
            println!("--- {}\n{said}", test.name);
        }
        return Ok(());
    }
    failure.push(said.into_owned());
    let failure = failure.join("\n");
    if in_vm() {
        // The machine has a time limit, and with it goes what was to be said at the end.
        println!("\n--- {}\n{failure}", test.name);
    }
    Err(Failed::from(failure))
}

/// Makes the runner's cgroup, with a cap where the hierarchy has the controller for it.
fn cap(hierarchy: &Hierarchy, runner: &str) -> io::Result<()> {
    let dir = hierarchy.mount.join(runner);
    if hierarchy.is_v2 {
        // Where the root has not handed the controllers down there is no cap, and no harm.
        let _ = fs::write(hierarchy.mount.join("cgroup.subtree_control"), "+memory +pids");
        fs::create_dir(&dir)?;
        let _ = fs::write(dir.join("memory.max"), MEMORY_CAP);
        let _ = fs::write(dir.join("pids.max"), PROCESS_CAP);
    } else if hierarchy.has("memory") {
        fs::create_dir(&dir)?;
        fs::write(dir.join("memory.limit_in_bytes"), MEMORY_CAP)?;
    } else if hierarchy.has("pids") {
        fs::create_dir(&dir)?;
        fs::write(dir.join("pids.max"), PROCESS_CAP)?;
    }
    Ok(())
}

/// In the test's own process.
fn run_here(test: &Test) -> ExitCode {
    let value = |name: &str| env::var(name).expect("the suite's environment");
    let (dir, cgroup) = (
        PathBuf::from(value("HOSTEL_TEST_DIR")),
        value("HOSTEL_TEST_CGROUP"),
    );
    // Gone with the suite, also when that is killed.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).expect("set the parent-death signal");
    for hierarchy in hierarchies() {
        let procs = hierarchy.mount.join(format!("{cgroup}-runner/cgroup.procs"));
        if procs.exists() {
            fs::write(procs, "0").expect("enter the capped cgroup");
        }
    }
    enter_own_namespaces(test.needs.contains(&Need::HostNetwork)).expect("enter the test's own namespaces");
    let world = World::new(
        &dir,
        &cgroup,
        value("HOSTEL_TEST_NUMBER").parse().expect("a number"),
    );
    let before = Before::look();
    let body = test.body;
    let is_ok = std::panic::catch_unwind(|| body(&world)).is_ok();
    let leaks = before.leaks(&world);
    for leak in &leaks {
        eprintln!("left behind: {leak}");
    }
    if is_ok && leaks.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn enter_own_namespaces(keeps_network: bool) -> io::Result<()> {
    let network = if keeps_network {
        CloneFlags::empty()
    } else {
        CloneFlags::CLONE_NEWNET
    };
    unshare(CloneFlags::CLONE_NEWNS | network)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // hostel takes the host's bpf file system where there is one. The test's own keeps the pins of two tests apart.
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    if mounts
        .lines()
        .any(|line| line.contains(" /sys/fs/bpf ") && line.contains(" - bpf "))
    {
        mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none)?;
    }
    if !keeps_network {
        tool("ip", ["link", "set", "lo", "up"]).ok();
    }
    Ok(())
}

/// This directory, where the sources are at hand. In the virtual machine only the compiled suite is.
fn source() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/privileged");
    dir.is_dir().then_some(dir)
}

fn registered(source: &Path, files: &[&str]) -> Result<(), Failed> {
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_test = path.extension().is_some_and(|extension| extension == "rs") && stem != "main";
        if is_test && !files.contains(&&*stem) {
            return Err(Failed::from(format!(
                "{} is not named in `files!` of main.rs",
                path.display()
            )));
        }
    }
    Ok(())
}

/// After all tests: what is ours on the whole machine.
fn nothing_left() -> Result<(), Failed> {
    let own = own_name();
    let mut found = vec![];
    for hierarchy in hierarchies() {
        for entry in fs::read_dir(&hierarchy.mount)?.flatten() {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{own}-"))
            {
                found.push(format!("cgroup {}", entry.path().display()));
            }
        }
    }
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        if line.contains(&format!("/{own}-")) {
            found.push(format!("mount {line}"));
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(Failed::from(found.join("\n")))
    }
}

/// Removes the empty cgroups of suites that were killed.
fn sweep() {
    for hierarchy in hierarchies() {
        for entry in fs::read_dir(&hierarchy.mount).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name
                .strip_prefix("hostel-test-")
                .and_then(|rest| rest.split('-').next());
            let is_dead = pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
            if is_dead {
                for cgroup in subtree(&entry.path()) {
                    let _ = fs::remove_dir(cgroup);
                }
            }
        }
    }
}
