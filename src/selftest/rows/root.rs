//! The guest's root directory, and the ways out of one.

use nix::errno::Errno;

use crate::error::Result;
use crate::selftest::arena::{Arena, PROGRAM};
use crate::selftest::script::Arg::{N, R, S};
use crate::selftest::script::Script;
use crate::selftest::{Found, Row, Verdict, control};

const CWD: i64 = -100;
/// `O_RDONLY`, which opens a directory too.
const RDONLY: i64 = 0;
/// `MS_MOVE` and `MS_BIND` of `mount(2)`.
const MOVE: i64 = 8192;
const BIND: i64 = 4096;

pub(super) const CHROOT: Row = Row {
    number: 27,
    name: "chroot break-outs",
    tries: "a second chroot, an old descriptor, /proc/1/root, moved mounts and another pivot_root lead to a file of the host",
    attempt: chroot,
};

fn chroot(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let canary = arena.canary()?;
    let secret = canary.path().join("secret").to_string_lossy().into_owned();
    let mut outside = Script::new();
    let opened = outside.call("open the canary", "openat", &[N(CWD), S(&secret), N(RDONLY)])?;
    control(arena.outside(&outside)?.of(opened).is_ok(), "to open the canary")?;

    let mut script = Script::new();
    let mut seen = Vec::new();
    for way in [
        "",
        "/..",
        "/proc/1/root",
        "/proc/self/root",
        "/proc/1/cwd",
        "/proc/self/task/../root/..",
    ] {
        let path = format!("{way}{secret}");
        seen.push(script.call(format!("open {path}"), "openat", &[N(CWD), S(&path), N(RDONLY)])?);
    }
    let mut denied = vec![
        script.call("pivot_root", "pivot_root", &[S("."), S(".")])?,
        script.call(
            "move a mount",
            "mount",
            &[S("/proc"), S("/mnt"), N(0), N(MOVE), N(0)],
        )?,
        script.call(
            "bind a directory",
            "mount",
            &[S("/"), S("/mnt"), N(0), N(BIND), N(0)],
        )?,
        script.call("unmount the root", "umount2", &[S("/"), N(2)])?,
    ];
    for kind in ["mnt", "user", "pid", "net"] {
        let path = format!("/proc/1/ns/{kind}");
        let space = script.call(path.clone(), "openat", &[N(CWD), S(&path), N(RDONLY)])?;
        denied.push(script.call(format!("join {path}"), "setns", &[R(space), N(0)])?);
    }
    // The classic: a root below the directory that is worked in, and up from there to where there is nothing above.
    script.call("make a directory", "mkdirat", &[N(CWD), S("/jail"), N(0o755)])?;
    let old = script.call("keep the root open", "openat", &[N(CWD), S("/"), N(RDONLY)])?;
    let jailed = script.call("chroot", "chroot", &[S("/jail")])?;
    let hidden = script.call("look", "openat", &[N(CWD), S(PROGRAM), N(RDONLY)])?;
    let back = script.call("fchdir", "fchdir", &[R(old)])?;
    script.each("climb", (1, 64), "chdir", &[S("..")])?;
    script.call("chroot to the top", "chroot", &[S(".")])?;
    let top = script.call("look again", "openat", &[N(CWD), S(PROGRAM), N(RDONLY)])?;
    seen.push(script.call(
        "open the canary from the top",
        "openat",
        &[N(CWD), S(&secret), N(RDONLY)],
    )?);
    let said = arena.attack("a", &script)?;

    // It does break out of the inner chroot: what holds is that there is nothing outside of the guest's own root.
    let breaks = said.of(jailed).is_ok() && said.of(hidden) == Err(Errno::ENOENT) && said.of(back).is_ok();
    control(breaks && said.of(top).is_ok(), "to break out of a chroot")?;
    let mut found = Found::new();
    found.extend(said.among(&seen).but(&[Errno::ENOENT, Errno::EACCES]));
    found.extend(
        said.among(&denied)
            .but(&[Errno::EPERM, Errno::EACCES, Errno::EBADF]),
    );
    found.extend(canary.changes()?);
    Ok(found.verdict("every way up ends at the guest's root"))
}
