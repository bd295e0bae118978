//! What a guest may use, and that it stays that.

use std::fs;

use nix::errno::Errno;

use crate::error::{Context as _, Result};
use crate::selftest::arena::{Arena, eventually};
use crate::selftest::command::Output;
use crate::selftest::script::Arg::{M, N, R, S};
use crate::selftest::script::Script;
use crate::selftest::{Found, Row, Verdict, control};

const CWD: i64 = -100;
const WRONLY: i64 = 1;

/// What every row here needs: a host that can hold a guest to a number of processes and an amount of memory.
fn cannot(applied: &Output) -> Option<Verdict> {
    let is_missing = applied.code != 0 && applied.stderr.contains("controller");
    is_missing.then(|| {
        Verdict::Skipped(format!(
            "this host cannot limit a guest: {}",
            applied.stderr.trim()
        ))
    })
}

pub(super) const CGROUP: Row = Row {
    number: 24,
    name: "cgroup escape",
    tries: "the guest's root raises its limits and moves itself out of its cgroup, with hostel's init and with its own",
    attempt: cgroup,
};

fn cgroup(arena: &Arena<'_>) -> Result<Verdict> {
    let mut found = Found::new();
    for (what, init) in [("", ""), (" with its own init", "init = \"/sbin/init\",")] {
        let image = arena.image()?.to_owned();
        let applied = arena.apply(
            "c",
            2,
            &image,
            &format!("limits = {{ memory = \"64M\", pids = 50 }}, {init}"),
        )?;
        if let Some(verdict) = cannot(&applied) {
            return Ok(verdict);
        }
        applied.ok()?;
        let limits = || -> Result<serde_json::Value> {
            let text = arena.hostel(["status", "--json", "c"]).run()?.ok()?.stdout;
            let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            Ok(status["limits"].clone())
        };
        let before = limits()?;
        let inside = |pid: i64| -> Result<Vec<String>> {
            let path = format!("/proc/{pid}/cgroup");
            let text = fs::read_to_string(&path).context(|| format!("read `{path}`"))?;
            Ok(text
                .lines()
                .filter(|line| line.contains("/x"))
                .map(str::to_owned)
                .collect())
        };
        let init = arena.init_of("c")?;
        let place = inside(init)?;
        control(!place.is_empty(), "to find the guest's cgroup")?;
        let mut script = Script::new();
        let mut writes = Vec::new();
        let dirs = [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/..",
            "/proc/1/root/sys/fs/cgroup",
            "/sys/fs/cgroup/memory",
            "/sys/fs/cgroup/pids",
            "/sys/fs/cgroup/unified",
        ];
        for dir in dirs {
            for file in [
                "memory.max",
                "pids.max",
                "cpu.max",
                "memory.limit_in_bytes",
                "devices.allow",
                "memory.high",
                "cgroup.freeze",
            ] {
                let path = format!("{dir}/{file}");
                let opened = script.call(path.clone(), "openat", &[N(CWD), S(&path), N(WRONLY)])?;
                writes.push(script.call(format!("write {path}"), "write", &[R(opened), S("max"), N(3)])?);
            }
        }
        // Out of what it sees, and into a group that it makes above.
        for dir in [
            "/sys/fs/cgroup/..",
            "/sys/fs",
            "/sys/fs/cgroup/../..",
            "/sys/fs/cgroup/memory",
        ] {
            let path = format!("{dir}/cgroup.procs");
            let opened = script.call(path.clone(), "openat", &[N(CWD), S(&path), N(WRONLY)])?;
            writes.push(script.call(format!("move to {path}"), "write", &[R(opened), S("0"), N(1)])?);
            let path = format!("{dir}/hostel-selftest");
            writes.push(script.call(format!("make {path}"), "mkdirat", &[N(CWD), S(&path), N(0o755)])?);
        }
        let said = arena.attack("c", &script)?;
        let refused = [
            Errno::EBADF,
            Errno::EACCES,
            Errno::EPERM,
            Errno::EROFS,
            Errno::ENOENT,
            Errno::ENOTDIR,
        ];
        found.extend(
            said.among(&writes)
                .but(&refused)
                .into_iter()
                .map(|open| format!("{open} in a guest{what}")),
        );
        found.expect(
            limits()? == before,
            format!(
                "the limits of a guest{what} have changed: {} was {before}",
                limits()?
            ),
        );
        found.expect(
            inside(init)? == place,
            format!("a guest{what} has left its cgroup"),
        );
        arena.destroy("c")?;
    }
    Ok(found.verdict("limits are what they were, and nobody has moved"))
}

pub(super) const EXHAUSTION: Row = Row {
    number: 29,
    name: "resource exhaustion",
    tries: "a small guest takes all processes, memory, descriptors, inotify instances and pipe buffers that it can get, beside another",
    attempt: exhaustion,
};

fn exhaustion(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let image = arena.image()?.to_owned();
    let applied = arena.apply(
        "c",
        2,
        &image,
        "limits = { memory = \"48M\", swap = \"0\", pids = 60, nofile = 256 },",
    )?;
    if let Some(verdict) = cannot(&applied) {
        return Ok(verdict);
    }
    applied.ok()?;
    let mut found = Found::new();
    let mut goes_on = |what: &str| -> Result<()> {
        let said = arena.sh(
            "b",
            "for n in 1 2 3 4 5; do true & done; wait; echo $((6 * 7)) >/tmp/x && cat /tmp/x",
        )?;
        found.expect(
            said.stdout == "42\n",
            format!("another guest stands still: {what}"),
        );
        Ok(())
    };
    {
        let bomb = arena.hostel([
            "exec",
            "c",
            "--",
            "sh",
            "-c",
            "for n in $(seq 300); do sleep 1000 & done; wait",
        ]);
        let _bomb = bomb.spawn()?;
        control(
            eventually(|| Ok(arena.processes("c")? >= 56))?,
            "to use all processes",
        )?;
        goes_on("processes")?;
    }
    arena.hostel(["stop", "--kill", "c"]).run()?.ok()?;
    arena.hostel(["start", "c"]).run()?.ok()?;
    // Reads a line that never ends, into memory.
    let hog = arena.sh("c", "tail /dev/zero")?;
    control(hog.code == 137, "to be killed for memory")?;
    goes_on("memory")?;
    let fill = arena.sh("c", "dd if=/dev/zero of=/dev/shm/fill bs=1M count=96")?;
    control(fill.code != 0, "to fill shared memory")?;
    goes_on("shared memory")?;
    arena.sh(
        "c",
        "rm -f /dev/shm/fill; dd if=/dev/zero of=/dev/fill bs=64k count=4",
    )?;

    let mut script = Script::new();
    let files = script.each("descriptors", (1, 5_000), "openat", &[N(CWD), S("/"), N(0)])?;
    let said = arena.attack("c", &script)?;
    let held = said.of(files).is_ok_and(|count| (1..256).contains(&count));
    let mut script = Script::new();
    let pipes = script.each("pipes", (1, 5_000), "pipe2", &[M(0), N(0)])?;
    let few_pipes = arena
        .attack("c", &script)?
        .of(pipes)
        .is_ok_and(|count| (1..128).contains(&count));
    let mut script = Script::new();
    let watches = script.each("inotify", (1, 5_000), "inotify_init1", &[N(0)])?;
    let few_watches = arena
        .attack("c", &script)?
        .of(watches)
        .is_ok_and(|count| (1..256).contains(&count));
    goes_on("descriptors")?;
    found.expect(held, "descriptors are not limited");
    found.expect(few_pipes, "pipes are not limited");
    found.expect(few_watches, "inotify instances are not limited");
    Ok(found.verdict("the guest gets what its limits say, and the one beside it goes on; inotify instances are counted for all guests together"))
}
