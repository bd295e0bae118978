//! What the kernel offers to root: file handles, devices, helper programs, cgroups of version 1, and all the rest that a
//! server has no use for.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::error::{Context as _, Result};
use crate::selftest::arena::Arena;
use crate::selftest::script::Arg::{B, M, N, R, S};
use crate::selftest::script::{Said, Script};
use crate::selftest::{Found, Row, Verdict, control};

/// `AT_FDCWD` and the flags of `open(2)` that are the same everywhere.
const CWD: i64 = -100;
const RDONLY: i64 = 0;
const WRONLY: i64 = 1;

pub(super) const HANDLES: Row = Row {
    number: 17,
    name: "open_by_handle_at",
    tries: "a file handle of the guest's own file system is made and opened, which reaches files outside of the guest",
    attempt: handles,
};

fn handles(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let of = |path: &str| -> Result<(Script, Said, Said)> {
        let mut script = Script::new();
        // struct file_handle: the room that it has.
        script.write(0, &128u32.to_ne_bytes());
        let made = script.call(
            "make a handle",
            "name_to_handle_at",
            &[N(CWD), S(path), M(0), M(512), N(0)],
        )?;
        let mount = script.call("open the mount", "openat", &[N(CWD), S(path), N(RDONLY)])?;
        let opened = script.call(
            "open the handle",
            "open_by_handle_at",
            &[R(mount), M(0), N(RDONLY)],
        )?;
        Ok((script, made, opened))
    };
    let (script, _, opened) = of(&arena.rootfs("a").to_string_lossy())?;
    control(arena.outside(&script)?.of(opened).is_ok(), "open_by_handle_at")?;
    let (script, made, opened) = of("/")?;
    let said = arena.attack("a", &script)?;
    control(said.of(made).is_ok(), "name_to_handle_at")?;
    let mut found = Found::new();
    let answer = said.of(opened);
    found.expect(
        answer == Err(Errno::EPERM),
        format!("a handle is opened: {answer:?}"),
    );
    Ok(found.verdict("a handle can be made and not opened"))
}

pub(super) const DEVICES: Row = Row {
    number: 18,
    name: "raw devices",
    tries: "device files are made in the guest, and opened on its root and on a volume, where the host has put them",
    attempt: devices,
};

/// Device files that lead out: name, type, major and minor number.
fn doors() -> Vec<(String, SFlag, u64, u64)> {
    let (block, char) = (SFlag::S_IFBLK, SFlag::S_IFCHR);
    let mut all = vec![
        ("null".to_owned(), char, 1, 3),
        ("mem".to_owned(), char, 1, 1),
        ("port".to_owned(), char, 1, 4),
        ("kmsg".to_owned(), char, 1, 11),
        ("fuse".to_owned(), char, 10, 229),
        ("tun".to_owned(), char, 10, 200),
        ("loop-control".to_owned(), char, 10, 237),
    ];
    // The host's disks: `major minor blocks name` after two lines of heading.
    let partitions = fs::read_to_string("/proc/partitions").unwrap_or_default();
    for line in partitions.lines().skip(2).take(4) {
        let mut words = line.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok());
        if let (Some(major), Some(minor)) = (number(), number()) {
            all.push((format!("disk-{major}-{minor}"), block, major, minor));
        }
    }
    all
}

fn devices(arena: &Arena<'_>) -> Result<Verdict> {
    let doors = doors();
    let volume = arena.directory("volume")?;
    let make = |dir: &Path| -> Result<()> {
        for (name, kind, major, minor) in &doors {
            mknod(
                &dir.join(name),
                *kind,
                Mode::from_bits_truncate(0o666),
                makedev(*major, *minor),
            )
            .context(|| format!("make the device `{name}` in `{}`", dir.display()))?;
        }
        Ok(())
    };
    make(&volume)?;
    let null = volume.join("null").to_string_lossy().into_owned();
    let mut outside = Script::new();
    let opened = outside.call("open null", "openat", &[N(CWD), S(&null), N(RDONLY)])?;
    if arena.outside(&outside)?.of(opened) == Err(Errno::EACCES) {
        return Ok(Verdict::Skipped(
            "the state directory's file system allows no device to anybody".into(),
        ));
    }
    let mount = format!(
        "mounts = {{ {{ source = \"{}\", target = \"/volume\" }}, {{ source = \"{}\", target = \"/plain\", idmap = false }} }},",
        volume.display(),
        volume.display()
    );
    arena.guest("c", 2, &mount)?;
    // Before it runs again: a layer is not changed below a mount of it.
    arena.hostel(["stop", "--kill", "c"]).run()?.ok()?;
    let planted = arena.rootfs("c").join("mnt");
    fs::create_dir_all(&planted).context(|| format!("make `{}`", planted.display()))?;
    make(&planted)?;
    arena.hostel(["start", "c"]).run()?.ok()?;
    let mut script = Script::new();
    for (name, kind, major, minor) in &doors {
        let (mode, device) = (
            i64::from(kind.bits() | 0o600),
            i64::try_from(makedev(*major, *minor)).unwrap_or(0),
        );
        for dir in ["/mnt", "/dev", "/volume", "/dev/shm"] {
            let path = format!("{dir}/made-{name}");
            script.call(
                format!("make {path}"),
                "mknodat",
                &[N(CWD), S(&path), N(mode), N(device)],
            )?;
        }
        for dir in ["/mnt", "/volume", "/plain"] {
            let path = format!("{dir}/{name}");
            script.call(format!("open {path}"), "openat", &[N(CWD), S(&path), N(RDONLY)])?;
        }
    }
    let mut found = Found::new();
    found.extend(arena.attack("c", &script)?.but(&[Errno::EPERM, Errno::EACCES]));
    Ok(found.verdict(format!("{} devices can neither be made nor opened", doors.len())))
}

pub(super) const HELPERS: Row = Row {
    number: 19,
    name: "usermode helpers",
    tries: "the files that name programs which the kernel runs on the host, or that make it act, are opened for writing",
    attempt: helpers,
};

/// None is written to, so to open one is harmless.
const HELPER_FILES: [&str; 17] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/core_pipe_limit",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/poweroff_cmd",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/usermodehelper/bset",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/ksm/run",
    "/sys/power/state",
    "/sys/fs/cgroup/release_agent",
    "/sys/module/kernel/parameters/panic",
];

fn helpers(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let mut script = Script::new();
    let mut opened = Vec::new();
    for path in HELPER_FILES {
        opened.push(script.call(
            format!("write to {path}"),
            "openat",
            &[N(CWD), S(path), N(WRONLY)],
        )?);
    }
    script.call(
        "mount binfmt_misc",
        "mount",
        &[S("none"), S("/mnt"), S("binfmt_misc"), N(0), N(0)],
    )?;
    let facts = || ["core_pattern", "modprobe"].map(|name| fs::read(format!("/proc/sys/kernel/{name}")).ok());
    let before = facts();
    // The mount is of the guest's script alone: this is the host.
    let mut outside = Script::new();
    for path in HELPER_FILES {
        outside.call(path, "openat", &[N(CWD), S(path), N(WRONLY)])?;
    }
    let answers = arena.outside(&outside)?;
    let there = opened.iter().filter(|said| answers.of(**said).is_ok()).count();
    control(there > 3, "to open /proc/sys for writing")?;
    let mut found = Found::new();
    found.extend(arena.attack("a", &script)?.but(&[
        Errno::EROFS,
        Errno::EACCES,
        Errno::EPERM,
        Errno::ENOENT,
    ]));
    found.expect(facts() == before, "a helper of the host has changed");
    Ok(found.verdict(format!(
        "none of {there} files that root of this host can write to"
    )))
}

/// `CLONE_NEW*` of `unshare(2)`.
const NEWNS: i64 = 0x2_0000;
const NEWCGROUP: i64 = 0x200_0000;
const NEWUSER: i64 = 0x1000_0000;

pub(super) const RELEASE_AGENT: Row = Row {
    number: 20,
    name: "cgroup v1 release_agent",
    tries: "cgroup file systems are mounted and release_agent is written, also in a guest that may make namespaces",
    attempt: release_agent,
};

fn release_agent(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let mut script = Script::new();
    let kinds = [
        ("cgroup", "memory"),
        ("cgroup", "none,name=hostel-selftest"),
        ("cgroup2", ""),
    ];
    for (kind, options) in kinds {
        let words = [S("none"), S("/mnt"), S(kind), N(0), S(options)];
        script.call(format!("mount {kind} {options}"), "mount", &words)?;
        script.call(format!("fsopen {kind}"), "fsopen", &[S(kind), N(0)])?;
    }
    script.call("unshare a cgroup namespace", "unshare", &[N(NEWCGROUP)])?;
    script.call("unshare all", "unshare", &[N(NEWUSER | NEWNS | NEWCGROUP)])?;
    for path in [
        "/sys/fs/cgroup/release_agent",
        "/sys/fs/cgroup/memory/release_agent",
    ] {
        script.call(
            format!("write to {path}"),
            "openat",
            &[N(CWD), S(path), N(WRONLY)],
        )?;
    }
    let mut found = Found::new();
    found.extend(arena.attack("a", &script)?.but(&[Errno::EPERM, Errno::ENOENT]));

    // CVE-2022-0492: with namespaces of its own, a process could mount one and write there.
    arena.guest("c", 2, "allow = { \"nested\" },")?;
    let mut script = Script::new();
    let mut writes = Vec::new();
    let unshared = script.call("unshare", "unshare", &[N(NEWUSER | NEWNS | NEWCGROUP)])?;
    for (kind, options) in kinds {
        script.call(
            "mount",
            "mount",
            &[S("none"), S("/mnt"), S(kind), N(0), S(options)],
        )?;
        let agent = script.call("open", "openat", &[N(CWD), S("/mnt/release_agent"), N(WRONLY)])?;
        writes.push(script.call("write", "write", &[R(agent), S("/attack"), N(7)])?);
    }
    let said = arena.attack("c", &script)?;
    control(
        said.of(unshared).is_ok(),
        "unshare in a guest that allows `nested`",
    )?;
    let is_written = writes.iter().any(|said_of| said.of(*said_of).is_ok());
    found.expect(
        !is_written,
        "release_agent is written in a guest that allows `nested`",
    );
    Ok(found.verdict("cgroups cannot be mounted, and release_agent is never written"))
}

pub(super) const SURFACE: Row = Row {
    number: 22,
    name: "kernel attack surface",
    tries: "system calls and socket families that a server has no use for",
    attempt: surface,
};

fn surface(arena: &Arena<'_>) -> Result<Verdict> {
    arena.standing()?;
    let mut script = Script::new();
    let user = script.call("unshare a user namespace", "unshare", &[N(NEWUSER)])?;
    let key = script.call("keyctl", "keyctl", &[N(0), N(-1), N(1)])?;
    let traced = script.call("ptrace", "ptrace", &[N(0)])?;
    let zeroes = [0u8; 128];
    let calls: [(&str, &[crate::selftest::script::Arg<'_>]); 30] = [
        ("add_key", &[S("user"), S("k"), S("v"), N(1), N(-1)]),
        ("request_key", &[S("user"), S("k"), N(0), N(-1)]),
        ("bpf", &[N(0), M(0), N(0)]),
        ("io_uring_setup", &[N(4), B(&zeroes)]),
        ("io_uring_enter", &[N(-1), N(0), N(0), N(0)]),
        ("userfaultfd", &[N(0)]),
        ("perf_event_open", &[B(&zeroes), N(0), N(-1), N(-1), N(0)]),
        ("kexec_load", &[N(0), N(1), N(0), N(0)]),
        ("kexec_file_load", &[N(-1), N(-1), N(0), N(0), N(0)]),
        ("init_module", &[M(0), N(0), S("")]),
        ("finit_module", &[N(-1), S(""), N(0)]),
        ("delete_module", &[S("hostel-selftest"), N(0)]),
        ("process_vm_readv", &[N(1), N(0), N(0), N(0), N(0), N(0)]),
        ("process_vm_writev", &[N(1), N(0), N(0), N(0), N(0), N(0)]),
        ("pidfd_getfd", &[N(-1), N(0), N(0)]),
        ("kcmp", &[N(1), N(1), N(0), N(0), N(0)]),
        ("mount", &[S("none"), S("/mnt"), S("tmpfs"), N(0), N(0)]),
        ("umount2", &[S("/proc"), N(2)]),
        ("fsopen", &[S("tmpfs"), N(0)]),
        ("open_tree", &[N(CWD), S("/"), N(1)]),
        ("move_mount", &[N(-1), S(""), N(-1), S(""), N(4)]),
        ("mount_setattr", &[N(-1), S(""), N(0), M(0), N(32)]),
        ("pivot_root", &[S("/"), S("/")]),
        ("setns", &[N(-1), N(0)]),
        ("swapon", &[S("/hostel-selftest"), N(0)]),
        ("acct", &[S("/hostel-selftest")]),
        ("syslog", &[N(10), N(0), N(0)]),
        ("clock_settime", &[N(0), N(0)]),
        ("fanotify_init", &[N(0), N(0)]),
        ("quotactl", &[N(0), N(0), N(0), N(0)]),
    ];
    for (name, words) in calls {
        script.call(name, name, words)?;
    }
    // AF_ALG, AF_RXRPC, AF_VSOCK, AF_KEY, AF_PACKET, AF_TIPC, AF_CAN, AF_QIPCRTR, AF_XDP, AF_BLUETOOTH.
    for family in [38, 33, 40, 15, 17, 30, 29, 42, 44, 31] {
        script.call(
            format!("socket of family {family}"),
            "socket",
            &[N(family), N(2), N(0)],
        )?;
    }
    // Raw, and netlink of sock_diag, xfrm, netfilter, generic.
    for (family, kind, protocol) in [
        (2, 3, 1),
        (10, 3, 58),
        (16, 3, 4),
        (16, 3, 6),
        (16, 3, 12),
        (16, 3, 16),
    ] {
        let label = format!("socket {family}, {kind}, {protocol}");
        script.call(label, "socket", &[N(family), N(kind), N(protocol)])?;
    }
    let mut found = Found::new();
    found.extend(arena.attack("a", &script)?.but(&[Errno::EPERM, Errno::ENOSYS]));
    // The same calls where the recipe allows three of them: they are what they are believed to be.
    arena.guest("c", 2, "allow = { \"nested\", \"keyring\", \"ptrace\" },")?;
    let loose = arena.attack("c", &script)?;
    let works = [user, key, traced].iter().all(|said| loose.of(*said).is_ok());
    control(works, "what `allow` opens")?;
    let filtered = arena
        .sh("a", "grep -E '^Seccomp:' /proc/1/status /proc/self/status")?
        .stdout;
    let modes = filtered.lines().filter(|line| line.ends_with("\t2")).count();
    found.expect(modes == 2, "the guest's processes are not filtered");
    Ok(found.verdict("49 calls and families are refused"))
}
