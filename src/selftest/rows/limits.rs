//! What a guest may use, and that it stays that.

use std::fs;

use nix::errno::Errno;

use crate::error::{Context as _, Result};
use crate::selftest::arena::Arena;
use crate::selftest::command::Output;
use crate::selftest::script::Arg::{N, R, S};
use crate::selftest::script::Script;
use crate::selftest::{Found, Row, Verdict, control};

const CWD: i64 = -100;
const WRONLY: i64 = 1;

/// What every row here needs: a host that can hold a guest to a number of processes and an amount of memory.
pub(super) fn cannot(applied: &Output) -> Option<Verdict> {
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
