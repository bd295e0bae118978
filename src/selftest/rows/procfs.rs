//! `/proc` and `/sys` of a guest: trees that lead them elsewhere, and what is hidden or read-only in them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;

use crate::error::Result;
use crate::selftest::arena::Arena;
use crate::selftest::script::Arg::{M, N, R, S};
use crate::selftest::script::Script;
use crate::selftest::{Found, Row, Verdict, control};

use super::tree::replace;

const CWD: i64 = -100;
const RDONLY: i64 = 0;
const WRONLY: i64 = 1;

pub(super) const PROCFS: Row = Row {
    number: 5,
    name: "procfs is redirected",
    tries: "images whose /proc or /sys is a link or a file, and volumes that a link of the image leads into /proc and /sys",
    attempt: procfs,
};

fn procfs(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let mut found = Found::new();
    let target = canary.path().to_owned();
    let mut refused = |what: String, image: &Path, more: &str| -> Result<()> {
        let applied = arena.apply("c", 2, image, more)?;
        let runs = arena.exec("c", &["true"])?.code == 0;
        found.expect(applied.code != 0 && !runs, format!("a guest runs with {what}"));
        arena.destroy("c")
    };
    for name in ["proc", "sys"] {
        for (what, to) in [
            ("a link to the host", target.as_path()),
            ("a link to `/`", Path::new("/")),
            ("a link up", Path::new("../../..")),
            ("a link to /tmp", Path::new("tmp")),
        ] {
            let image = arena.hostile(|root| replace(root, name, to))?;
            refused(format!("{what} as /{name}"), &image, "")?;
        }
        let image = arena.hostile(|root| {
            fs::remove_dir(root.join(name))?;
            fs::write(root.join(name), "")
        })?;
        refused(format!("a file as /{name}"), &image, "")?;
    }
    // The recipe's target is honest; where it leads is the image's.
    let volume = arena.directory("volume")?;
    for to in [
        "/proc",
        "/proc/sys",
        "/proc/self",
        "/proc/1",
        "/sys",
        "/sys/kernel",
        "/proc/sysrq-trigger",
    ] {
        let image = arena.hostile(|root| symlink(to, root.join("srv/data")))?;
        let mount = format!(
            "mounts = {{ {{ source = \"{}\", target = \"/srv/data\" }} }},",
            volume.display()
        );
        refused(format!("a volume on a link to {to}"), &image, &mount)?;
    }
    // An image that only lacks them is honest.
    let image = arena
        .hostile(|root| fs::remove_dir(root.join("proc")).and_then(|()| fs::remove_dir(root.join("sys"))))?;
    control(
        arena.apply("c", 2, &image, "")?.code == 0,
        "an image without /proc",
    )?;
    found.extend(canary.changes()?);
    Ok(found.verdict("17 trees are refused, and no guest starts unconfined"))
}

pub(super) const MASKED: Row = Row {
    number: 6,
    name: "a mask is skipped",
    tries: "every hidden path is read and every read-only one written, in a guest with hostel's init and in one with its own",
    attempt: masked,
};

const HIDDEN: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kallsyms",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/interrupts",
    "/proc/kmsg",
    "/sys/firmware",
];
const READONLY: [&str; 7] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/sys",
    "/sys/kernel",
];

fn masked(arena: &Arena<'_>) -> Result<Verdict> {
    let mut script = Script::new();
    let (mut reads, mut lists, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    for path in HIDDEN {
        let opened = script.call(
            format!("open {path}"),
            "openat",
            &[N(CWD), S(path), N(RDONLY | NONBLOCK)],
        )?;
        reads.push((
            path,
            script.call(format!("read {path}"), "read", &[R(opened), M(0), N(4096)])?,
        ));
        // Two entries of 24 bytes, `.` and `..`: an empty directory.
        lists.push((
            path,
            script.call(format!("list {path}"), "getdents64", &[R(opened), M(0), N(4096)])?,
        ));
    }
    for path in READONLY {
        // To make a file says whether it is read-only, in a directory; to open says so of a file.
        let inside = format!("{path}/hostel-selftest");
        writes.push(script.call(
            format!("make {inside}"),
            "mkdirat",
            &[N(CWD), S(&inside), N(0o755)],
        )?);
        writes.push(script.call(
            format!("write to {path}"),
            "openat",
            &[N(CWD), S(path), N(WRONLY)],
        )?);
        writes.push(script.call(format!("change {path}"), "fchmodat", &[N(CWD), S(path), N(0o777)])?);
    }
    let outside = HIDDEN.iter().filter(|path| {
        // kcore and kmsg are large or wait for more: that they can be opened is enough.
        fs::metadata(path).is_ok()
    });
    let outside = outside.count();
    control(outside > 3, "to find what is hidden")?;
    let mut found = Found::new();
    for (what, more) in [("", ""), (" with its own init", "init = \"/sbin/init\",")] {
        arena.guest("c", 2, more)?;
        let said = arena.attack("c", &script)?;
        for ((path, read), (_, list)) in reads.iter().zip(&lists) {
            let is_empty = match (said.of(*read), said.of(*list)) {
                (Ok(read), _) => read == 0,
                (Err(Errno::EISDIR), Ok(list)) => list <= 48,
                // Not there.
                (Err(Errno::EBADF), Err(Errno::EBADF)) => true,
                _ => false,
            };
            let answers = (said.of(*read), said.of(*list));
            found.expect(
                is_empty,
                format!("{path} shows something in a guest{what}: {answers:?}"),
            );
        }
        let refused = [
            Errno::EROFS,
            Errno::EACCES,
            Errno::EPERM,
            Errno::ENOENT,
            Errno::EISDIR,
            Errno::ENOTDIR,
        ];
        found.extend(
            said.among(&writes)
                .but(&refused)
                .into_iter()
                .map(|open| format!("{open} in a guest{what}")),
        );
        arena.destroy("c")?;
    }
    Ok(found.verdict(format!(
        "{outside} hidden paths show nothing, {} take no write",
        READONLY.len()
    )))
}

/// `O_NONBLOCK` of both architectures.
const NONBLOCK: i64 = 0o4000;
