//! Host data in a guest: whose it is there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use hostel::selftest::ATTACKER;

use crate::life::{destroy, recipe, running};
use crate::support::{World, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => the_owner_of_a_mount_is_a_user_of_the_guest,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => an_owner_can_be_named_on_both_sides,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => what_cannot_be_mapped_is_refused_by_name,
    [Root, Cgroup2, Bpf, Verb("context"), Busybox] => a_context_maps_owners_too,
    [Root, Cgroup2, Bpf, Verb("apply"), Busybox] => what_is_not_id_mapped_has_its_attributes,
}

fn ids(path: &std::path::Path) -> (u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn the_owner_of_a_mount_is_a_user_of_the_guest(world: &World) {
    let shared = world.dir.join("shared");
    fs::create_dir(&shared).unwrap();
    chown(&shared, Some(1234), Some(2345)).unwrap();
    fs::write(shared.join("theirs"), "x").unwrap();
    let mounts = format!("mounts = {{ {{ source = \"{}\", target = \"/data\", owner = 33 }} }},", shared.display());
    running(world, "web", 0, &mounts);
    let sh = |user: &str, script: &str| world.hostel(["exec", "--user", user, "web", "--", "sh", "-c", script]).run();
    sh("0", "stat -c %u:%g /data /data/theirs").code(0).stdout("33:33\n65534:65534\n");
    // What the user of the guest writes is the host user's.
    sh("33:33", "echo hello >/data/mine && stat -c %u:%g /data/mine").code(0).stdout("33:33\n");
    assert_eq!(ids(&shared.join("mine")), (1234, 2345));
    assert_eq!(fs::read_to_string(shared.join("mine")).unwrap(), "hello\n");
    // Nobody else of the guest is anybody there, its root neither.
    let refused = sh("0", "touch /data/roots");
    assert_ne!(refused.status, 0, "{refused}");
    refused.stderr_has("Value too large");
    assert!(!shared.join("roots").exists());
    assert_ne!(sh("0", "cat /data/theirs >/dev/null && echo y >/data/theirs").status, 0);
    assert_eq!(fs::read_to_string(shared.join("theirs")).unwrap(), "x");
    destroy(world, "web");
}

fn an_owner_can_be_named_on_both_sides(world: &World) {
    let shared = world.dir.join("shared");
    fs::create_dir(&shared).unwrap();
    for (name, id) in [("a", 5000), ("b", 6000)] {
        fs::write(shared.join(name), "x").unwrap();
        chown(shared.join(name), Some(id), Some(id + 1)).unwrap();
    }
    let owner = "owner = { uid = 1000, gid = 100, host_uid = 6000, host_gid = 6001 }, readonly = true";
    let mounts = format!("mounts = {{ {{ source = \"{}\", target = \"/data\", {owner} }} }},", shared.display());
    running(world, "web", 0, &mounts);
    let sh = |script: &str| world.hostel(["exec", "web", "--", "sh", "-c", script]).run();
    sh("stat -c %u:%g /data/a /data/b").code(0).stdout("65534:65534\n1000:100\n");
    sh("touch /data/b").code(1).stderr_has("Read-only file system");
    destroy(world, "web");
}

fn what_cannot_be_mapped_is_refused_by_name(world: &World) {
    // A sysfs is nobody's to map.
    let recipe = recipe(world, "web", 0, "mounts = { { source = \"/sys/kernel\", target = \"/data\", owner = 33, readonly = true } },");
    let out = world.hostel(["apply".as_ref(), recipe.as_os_str()]).run().code(1);
    out.stderr_has("show the owner of `/sys/kernel` as user 33").stderr_has("cannot be id-mapped");
    world.hostel(["ls", "--quiet", "--running"]).ok().stdout("");
    destroy(world, "web");
}

fn a_context_maps_owners_too(world: &World) {
    let shared = world.dir.join("shared");
    fs::create_dir(&shared).unwrap();
    chown(&shared, Some(1234), Some(2345)).unwrap();
    let root = world.dir.join("root");
    for dir in ["bin", "data", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let mount = format!("{}:/data:owner=33", shared.display());
    let root = root.to_str().unwrap();
    for isolate in ["mount", "all"] {
        let argv = ["context", "--isolate", isolate, "--chroot", root, "--mount", &mount, "--", "/bin/busybox", "stat", "-c", "%u:%g", "/data"];
        world.hostel(argv).ok().stdout("33:33\n");
    }
}

/// A file system of the host's on which everything works, until it is dropped.
struct Whole<'a>(&'a Path);

impl<'a> Whole<'a> {
    fn mount(at: &'a Path) -> Self {
        fs::create_dir(at).unwrap();
        tool("mount", ["-t", "tmpfs", "-o", "mode=0777,dev,suid,exec", "none", at.to_str().unwrap()]).ok();
        Self(at)
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        let _ = nix::mount::umount(self.0);
    }
}

/// No map of owners puts them on a second time: there is nothing but what the mount was opened with.
fn what_is_not_id_mapped_has_its_attributes(world: &World) {
    let shared = world.dir.join("shared");
    let _whole = Whole::mount(&shared);
    tool("mknod", ["-m", "666", shared.join("null").to_str().unwrap(), "c", "1", "3"]).ok();
    let program = shared.join("su");
    fs::write(&program, ATTACKER).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    tool("sh", ["-c", "exec 3<$0", shared.join("null").to_str().unwrap()]).ok();
    let mounts = |how: &str| {
        format!("mounts = {{ {{ source = \"{}\", target = \"/data\", idmap = false, {how} }} }},", shared.display())
    };
    let exec = |argv: &[&str]| world.hostel(["exec", "web", "--"].iter().chain(argv));

    running(world, "web", 0, &mounts("readonly = true"));
    exec(&["touch", "/data/new"]).run().code(1).stderr_has("Read-only file system");
    // The filter of devices lets this one pass.
    exec(&["sh", "-c", "exec 3</data/null"]).run().code(1).stderr_has("Permission denied");
    exec(&["sh", "-c", "exec 3</dev/null"]).ok();
    destroy(world, "web");

    running(world, "web", 0, &mounts("noexec = true"));
    exec(&["touch", "/data/new"]).ok();
    exec(&["/data/su"]).run().code(126).stderr_has("EACCES");
    destroy(world, "web");

    // Only where its ids are the host's would a set-user-ID program of the host's root be that of anybody.
    running(world, "web", 0, &format!("userns = false, {}", mounts("")));
    let script = format!("{}\n", nix::libc::SYS_geteuid);
    let whose = world.hostel(["exec", "--user", "1234:1234", "web", "--", "/data/su"]).stdin(script).ok();
    whose.stdout("= 1234\nend\n");
    destroy(world, "web");
}
