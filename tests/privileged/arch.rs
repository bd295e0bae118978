//! Guests whose programs are for another processor than the host's.

use std::collections::BTreeSet;
use std::fs;

use hostel::guest::Arch;

use crate::debian_services::build;
use crate::life::destroy;
use crate::support::{Need, World, tests};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Debian, Tool("qemu-aarch64-static")] within 600 => a_debian_of_another_processor_runs,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => what_cannot_be_emulated_is_refused,
}

/// One that the host is not.
pub(crate) fn foreign() -> Arch {
    if Arch::native() == Some(Arch::Arm64) { Arch::Amd64 } else { Arch::Arm64 }
}

/// What the host has told its kernel of programs that are not its own.
fn of_host() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc/sys/fs/binfmt_misc").map(|entries| {
        entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let text = fs::read_to_string(&path).unwrap_or_default();
                format!("{} {text}", path.display())
            })
            .collect()
    });
    entries.unwrap_or_default()
}

fn a_debian_of_another_processor_runs(world: &World) {
    let before = of_host();
    let arch = foreign();
    let machine = if arch == Arch::Arm64 { "aarch64" } else { "x86_64" };
    let shared = Need::LandlockScopes.probe().is_err();
    let (xid, address) = (world.xid(0), world.address(1));
    let text = format!(
        "guest \"strange\" {{ image = \"debian:bookworm\", arch = \"{arch}\", xid = {xid},\n  \
         net = {{ mode = \"bind\", address = \"{address}\", shared_abstract_sockets = {shared} }},\n  \
         services = {{ clock = {{ exec = {{ \"sleep\", \"1000000\" }} }} }} }}\n"
    );
    let recipe = world.file("strange.lua", &text);
    build(world, &recipe);
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).deadline(120).ok();
    let sh = |script: &str| {
        let run = world.hostel(["exec", "strange", "--", "sh", "-c", script]);
        run.deadline(120).ok().stdout
    };
    assert_eq!(sh("uname -m; dpkg --print-architecture"), format!("{machine}\n{arch}\n"));
    assert_eq!(sh("exec 2>/dev/null; perl -e 'print \"$0 @ARGV\\n\"' a 'b c'"), "-e a b c\n");
    // The program that runs them is the host's: it is read, and neither written nor replaced. (Of itself, a program sees
    // what is emulated.)
    let tries = "for try in 'true >>/proc/1/exe' \
                 'sleep 100 >/dev/null & p=$!; (true >>/proc/$p/exe); s=$?; kill $p; [ $s = 0 ]' \
                 'echo -1 >/proc/sys/fs/binfmt_misc/status' 'echo : >/proc/sys/fs/binfmt_misc/register' \
                 'umount /proc/sys/fs/binfmt_misc' 'mount -t binfmt_misc none /mnt'; do \
                 (eval \"$try\") 2>/dev/null && echo \"$try\"; done; true";
    assert_eq!(sh(tries), "");
    // What a program's owner grants counts as it does for the processor's own.
    sh("cp /usr/bin/id /usr/local/bin/as-root; chmod u+s /usr/local/bin/as-root");
    let id = ["exec", "--user", "www-data", "strange", "--", "/usr/local/bin/as-root", "-u"];
    let grants = Need::Kernel(6, 7).probe().is_ok();
    world.hostel(id).deadline(60).ok().stdout(if grants { "0\n" } else { "33\n" });
    // A guest beside it, and the host, know nothing of it.
    assert_eq!(of_host(), before);
    world
        .hostel(["audit", "strange"])
        .run()
        .stdout_has(&format!("programs for {arch}, emulated where the host is another"));
    world.hostel(["plan".as_ref(), recipe.as_os_str()]).ok();
    world
        .hostel(["restart", "strange"])
        .deadline(120)
        .ok();
    assert_eq!(sh("uname -m"), format!("{machine}\n"));
    destroy(world, "strange");

    // Without the word it is no program of this host's.
    if before.is_empty() {
        let root = fs::read_dir(world.root.join("images")).unwrap().map(|entry| entry.unwrap().path());
        let mut images = root.filter(|path| path.to_string_lossy().contains(&format!("-{arch}-")));
        let image = images.next().expect("its image");
        let text = format!(
            "guest \"plain\" {{ image = \"dir:{}\", init = \"/bin/sleep\", xid = {} }}\n",
            image.join("rootfs").display(),
            world.xid(1)
        );
        let plain = world.file("plain.lua", &text);
        world
            .hostel(["apply".as_ref(), plain.as_os_str()])
            .deadline(120)
            .run()
            .code(1)
            .stderr_has("ENOEXEC")
            .stderr_has("one for another processor needs `arch`");
        destroy(world, "plain");
    }
}

fn what_cannot_be_emulated_is_refused(world: &World) {
    for (guest, what) in [
        ("image = \"debian:bookworm\", arch = \"aarch64\"", "arm64"),
        ("image = \"busybox\", arch = \"arm64\"", "`busybox` is made of the host's own"),
        (
            "image = \"debian:bookworm\", arch = \"arm64\", userns = false",
            "its root could write over the emulator",
        ),
    ] {
        let recipe = world.file("bad.lua", &format!("guest \"bad\" {{ {guest} }}\n"));
        world
            .hostel(["check".as_ref(), recipe.as_os_str()])
            .run()
            .code(1)
            .stderr_has("bad.lua:1:")
            .stderr_has(what);
    }
    assert!(!world.root.join("guests/bad").exists());
}
