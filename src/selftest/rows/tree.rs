//! Hostile trees: links where hostel mounts and writes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::error::Result;
use crate::selftest::arena::Arena;
use crate::selftest::canary::Canary;
use crate::selftest::{Found, Row, Verdict, control};

/// What the kernel runs and what it says; none of it may be written by hostel on behalf of a tree.
fn host_facts() -> Vec<Option<Vec<u8>>> {
    let files = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/etc/passwd",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
    ];
    files.iter().map(|path| fs::read(path).ok()).collect()
}

/// Replaces a directory or file of the tree by a link.
pub(super) fn replace(root: &Path, name: &str, target: impl AsRef<Path>) -> std::io::Result<()> {
    let path = root.join(name);
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path)?,
        Ok(_) => fs::remove_file(&path)?,
        Err(_) => {}
    }
    symlink(target, path)
}

pub(super) const MASK: Row = Row {
    number: 3,
    name: "mask source is a link",
    tries: "an image whose /dev/null and other devices are links to core_pattern and to files of the host",
    attempt: mask,
};

fn mask(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let before = host_facts();
    let image = arena.hostile(|root| {
        for name in ["null", "zero", "full", "random", "urandom", "tty"] {
            replace(root, &format!("dev/{name}"), "/proc/sys/kernel/core_pattern")?;
        }
        for name in ["kcore", "keys", "kallsyms", "sys", "bus", "acpi"] {
            replace(root, &format!("proc/{name}"), canary.path().join("secret"))?;
        }
        Ok(())
    })?;
    arena.apply("c", 2, &image, "")?.ok()?;
    let mut found = Found::new();
    // Devices are the guest's own, and what is written to them is lost.
    let said = arena.sh(
        "c",
        "for d in null zero full; do echo hostel-selftest >/dev/$d; test -c /dev/$d || echo no $d; done",
    )?;
    found.expect(
        said.stdout.is_empty(),
        format!("not a device: {}", said.stdout.trim()),
    );
    found.expect(host_facts() == before, "a file of the host has changed");
    found.extend(canary.changes()?);
    Ok(found.verdict("the links are not used: devices and masks are hostel's own"))
}

pub(super) const CONSOLE: Row = Row {
    number: 4,
    name: "console source is swapped",
    tries: "an image whose /dev/pts, /dev/ptmx and /dev/console are links to the host, started with an init and entered",
    attempt: console,
};

fn console(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let before = host_facts();
    let image = arena.hostile(|root| {
        replace(root, "dev/pts", canary.path())?;
        replace(root, "dev/ptmx", canary.path().join("null"))?;
        replace(root, "dev/console", canary.path().join("secret"))?;
        replace(root, "dev/tty", "/proc/sys/kernel/core_pattern")
    })?;
    let mut found = Found::new();
    for init in ["", "init = \"/sbin/init\","] {
        arena.apply("c", 2, &image, init)?.ok()?;
        let said = arena.hostel([
            "exec",
            "-t",
            "c",
            "--",
            "sh",
            "-c",
            "echo on $(tty); ls -ld /dev/console /dev/pts /dev/ptmx",
        ]);
        let said = said.run()?.ok()?.stdout;
        control(said.contains("on /dev/pts/"), "a terminal in the guest")?;
        found.expect(
            !said.contains("canary"),
            format!("a link of the image is used: {said}"),
        );
        arena.destroy("c")?;
    }
    found.expect(host_facts() == before, "a file of the host has changed");
    found.extend(canary.changes()?);
    Ok(found.verdict("terminals are the guest's own"))
}

pub(super) const TARGET: Row = Row {
    number: 8,
    name: "mount target is a link",
    tries: "an image whose /opt is a link to / or to the host, with mounts below it",
    attempt: target,
};

fn target(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let volume = arena.directory("volume")?;
    fs::write(volume.join("marker"), "").map_err(|err| crate::Error::io("write a marker", err))?;
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let before = mounts();
    let mut found = Found::new();
    let up = format!("../../../../../../../../../../..{}", canary.path().display());
    for to in [
        "/",
        canary.path().to_str().unwrap_or_default(),
        &up,
        "/proc/1/root",
        "/proc/self/cwd",
    ] {
        let image = arena.hostile(|root| {
            fs::create_dir(root.join("sub"))?;
            replace(root, "opt", to)
        })?;
        let mount = format!(
            "mounts = {{ {{ source = \"{}\", target = \"/opt/sub\" }} }},",
            volume.display()
        );
        let applied = arena.apply("c", 2, &image, &mount)?;
        if applied.code == 0 {
            let seen = arena.sh("c", "test -e /sub/marker || test -e /opt/sub/marker")?;
            found.expect(
                seen.code == 0,
                format!("the mount is not in the guest whose /opt is `{to}`"),
            );
        }
        if to == "/" {
            control(applied.code == 0, "a link to the guest's own root")?;
        }
        found.expect(
            mounts() == before,
            format!("something is mounted on the host by a link to `{to}`"),
        );
        arena.destroy("c")?;
    }
    found.extend(canary.changes()?);
    Ok(found.verdict("a mount lands inside or is refused"))
}

pub(super) const DEV: Row = Row {
    number: 10,
    name: "/dev of the image is a link",
    tries: "images whose /dev is a link to the host, to / or a file",
    attempt: dev,
};

fn dev(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let mut found = Found::new();
    let up = format!("../../../../../../../../../../..{}", canary.path().display());
    for to in [
        canary.path().to_str().unwrap_or_default(),
        &up,
        "/",
        "/proc/1/root/dev",
        "etc",
    ] {
        let image = arena.hostile(|root| replace(root, "dev", to))?;
        let applied = arena.apply("c", 2, &image, "")?;
        found.expect(
            applied.code != 0,
            format!("a guest starts whose /dev is a link to `{to}`"),
        );
        arena.destroy("c")?;
    }
    control(
        arena.apply("c", 2, arena.image()?, "")?.code == 0,
        "the plain image",
    )?;
    found.extend(canary.changes()?);
    Ok(found.verdict("5 links are refused"))
}

pub(super) const TOOLS: Row = Row {
    number: 30,
    name: "host-side tools on guest paths",
    tries: "guests whose /etc, /var/run and /run lead out are started, stopped, cloned, looked at and destroyed",
    attempt: tools,
};

/// Every command that works on a guest's files or looks at them.
fn life(arena: &Arena<'_>, image: &Path, canary: &Canary, found: &mut Found, what: &str) -> Result<()> {
    // Any of these may be refused: what counts is what they touch.
    arena.apply(
        "c",
        2,
        image,
        "files = { [\"/etc/motd\"] = \"of the recipe\\n\" },",
    )?;
    for argv in [
        &["exec", "c", "--", "id"][..],
        &["exec", "--user", "nobody", "c", "--", "id"],
        &["status", "c"],
        &["logs", "c"],
        &["restart", "c"],
        &["stop", "c"],
        &["start", "c"],
        &["ls"],
        &["gc"],
    ] {
        arena.hostel(argv).run()?;
    }
    let clone = arena.recipe("d", 3, "clone:c", "")?;
    arena.hostel(["apply".as_ref(), clone.as_os_str()]).run()?;
    arena.destroy("d")?;
    arena.destroy("c")?;
    found.extend(
        canary
            .changes()?
            .into_iter()
            .map(|change| format!("{change} by {what}")),
    );
    Ok(())
}

fn tools(arena: &Arena<'_>) -> Result<Verdict> {
    let canary = arena.canary()?;
    let before = host_facts();
    let mut found = Found::new();
    let absolute = canary.path().to_str().unwrap_or_default().to_owned();
    let up = format!("../../../../../../../../../../..{absolute}");
    for to in [absolute.as_str(), &up, "/", "/proc/1/root/etc", "var"] {
        let image = arena.hostile(|root| {
            replace(root, "etc", to)?;
            replace(root, "run", to)?;
            replace(root, "var/run", "/etc")?;
            replace(root, "var/log", to)
        })?;
        life(
            arena,
            &image,
            &canary,
            &mut found,
            &format!("/etc as a link to `{to}`"),
        )?;
    }
    for name in ["passwd", "hostname", "hosts", "resolv.conf", "motd", "group"] {
        let image =
            arena.hostile(|root| replace(root, &format!("etc/{name}"), canary.path().join("secret")))?;
        life(
            arena,
            &image,
            &canary,
            &mut found,
            &format!("/etc/{name} as a link"),
        )?;
    }
    found.expect(host_facts() == before, "a file of the host has changed");
    Ok(found.verdict("11 trees were started, stopped, cloned and destroyed; the host is as it was"))
}
