//! Volumes: data with a name that guests share, with limits and snapshots of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::{DUMP, FILL, Place, World, same, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox] => two_guests_see_the_same_owners,
    [Root, Cgroup2, Bpf, Busybox] => nothing_on_a_volume_gains_a_right,
    [Root, Cgroup2, Bpf, Busybox] => a_volume_outlives_its_guests,
    [Root, Cgroup2, Bpf, Busybox] => a_recipe_makes_and_changes_volumes,
    [Root, Cgroup2, Bpf, Busybox] => what_is_in_use_is_neither_removed_nor_rolled_back,
    [Root, Cgroup2, Bpf, Busybox] => a_clone_of_a_guest_has_the_same_volume,
    [Root, Cgroup2, Bpf, Busybox] => hooks_run_around_a_snapshot_of_a_volume,
    [Root, Cgroup2, Bpf, Busybox] => a_script_works_with_volumes,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4"), Tool("resize2fs"), Tool("curl")] => the_example_serves_what_the_other_guest_wrote,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] => a_hostile_volume_leads_nowhere,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs"), Tool("python3")] within 180 => a_volume_on_btrfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("xfs"), Tool("python3")] within 180 => a_volume_on_xfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4"), Tool("python3")] within 180 => a_volume_on_ext4,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4"), Tool("resize2fs")] within 180 => a_full_volume_in_an_image,
    [Root, Cgroup2, Bpf, Busybox, ProjectQuota("ext4")] within 180 => a_full_volume_by_project_quota,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs"), Tool("btrfs")] within 180 => a_full_volume_on_btrfs,
}

const MOUNT: &str = "mounts = { { source = \"volume:data\", target = \"/data\" } }";

fn shell(place: &Place, guest: &str, user: &str, script: &str) -> crate::support::Output {
    place.run(&["exec", guest, "-T", "--user", user, "--", "sh", "-ec", script])
}

fn data(place: &Place) -> std::path::PathBuf {
    place.root.join("volumes/data/rootfs")
}

/// No trace of a volume but its data.
fn removed(place: &Place) {
    for dir in ["volumes", "volume-number", "tmp"] {
        let left: Vec<_> = fs::read_dir(place.root.join(dir)).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(!place.root.join("lock/volume:data").exists());
}

fn two_guests_see_the_same_owners(world: &World) {
    let place = Place::here(world);
    place.ok(&["volume", "create", "data"]).stdout("made data\n").stderr("");
    place.apply("a", 0, MOUNT);
    place.apply("b", 1, MOUNT);
    place.apply("c", 2, "mounts = { { source = \"volume:data\", target = \"/ro\", readonly = true } }");
    shell(&place, "a", "0", "mkdir -m 1777 /data/shared; chown 7:8 /data/shared").code(0);
    shell(&place, "a", "33:34", "echo a >/data/shared/a; stat -c %u:%g /data/shared/a").code(0).stdout("33:34\n");
    shell(&place, "b", "33:34", "echo b >>/data/shared/a; stat -c %u:%g /data/shared /data/shared/a; cat /data/shared/a")
        .code(0)
        .stdout("7:8\n33:34\na\nb\n");
    // Each other user is another, in either.
    assert_ne!(shell(&place, "b", "35:35", "echo x >>/data/shared/a").status, 0);
    shell(&place, "b", "0", "chown 65533:1 /data/shared/a; ls /data/shared >/dev/null").code(0);
    shell(&place, "a", "0", "stat -c %u:%g /data/shared/a").code(0).stdout("65533:1\n");
    shell(&place, "c", "0", "cat /ro/shared/a; touch /ro/x").code(1).stdout("a\nb\n").stderr_has("Read-only file system");
    // On disk they are what the guests see, whatever their ranges on the host.
    let meta = fs::metadata(data(&place).join("shared/a")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (65533, 1));
    place.ok(&["volume", "ls"]).stdout_has("a b c");
    let shown = place.ok(&["volume", "show", "data", "--json"]).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["users"][2], serde_json::json!({ "guest": "c", "target": "/ro", "readonly": true, "running": true }));
    place.run(&["audit", "a"]).stdout_has("`volume:data` on `/data` is writable, shared with b, c");
    // What the host itself has in its tree of mounts has nothing of it.
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains("volumes/data"));
    place.destroy(&["a", "b", "c"]);
    place.ok(&["volume", "rm", "data"]).stdout("removed data\n").stderr("");
    removed(&place);
}

/// A set-user-ID program, or a device, that one guest makes, is nothing to the other's users.
fn nothing_on_a_volume_gains_a_right(world: &World) {
    let place = Place::here(world);
    place.ok(&["volume", "create", "data"]);
    place.apply("a", 0, MOUNT);
    place.apply("b", 1, MOUNT);
    shell(&place, "a", "0", "cp /bin/busybox /data/busybox; chmod 4755 /data/busybox").code(0);
    for guest in ["a", "b"] {
        shell(&place, guest, "33:33", "/data/busybox id -u").code(0).stdout("33\n");
        let made = shell(&place, guest, "0", "mknod /data/sda b 8 0");
        assert_ne!(made.status, 0, "{made}");
    }
    // One that the host's root put there does not open.
    tool("mknod", [data(&place).join("null").as_os_str(), "c".as_ref(), "1".as_ref(), "3".as_ref()]).ok();
    fs::set_permissions(data(&place).join("null"), fs::Permissions::from_mode(0o666)).unwrap();
    let opened = shell(&place, "a", "0", "echo x >/data/null");
    assert_ne!(opened.status, 0);
    opened.stderr_has("Permission denied");
    place.destroy(&["a", "b"]);
    place.ok(&["volume", "rm", "data"]);
    removed(&place);
}

fn a_volume_outlives_its_guests(world: &World) {
    let place = Place::here(world);
    place.apply("a", 0, &format!("volumes = {{ data = {{}} }}, {MOUNT}"));
    place.sh("a", "echo kept >/data/file");
    place.destroy(&["a"]);
    place.ok(&["volume", "ls", "--unused", "--quiet"]).stdout("data\n");
    assert_eq!(fs::read_to_string(data(&place).join("file")).unwrap(), "kept\n");
    // Another guest, with other ids on the host, has it as it was.
    place.apply("b", 1, MOUNT);
    assert_eq!(place.sh("b", "cat /data/file; stat -c %u /data/file"), "kept\n0\n");
    // One that is no longer mounted there.
    place.apply("b", 1, "hostname = \"b\"");
    place.ok(&["volume", "rm", "data"]);
    // Without it a guest does not start.
    place.run(&["volume", "show", "data"]).code(1).stderr_has("there is no volume `data`");
    let text = format!("guest \"c\" {{ image = \"busybox\", xid = {}, {MOUNT} }}\n", world.xid(2));
    let file = world.file("c.lua", &text);
    let out = place.run(&["apply", file.to_str().unwrap()]).code(1);
    out.stderr_has("there is no volume `data`").stderr_has("`hostel volume create data` makes it");
    place.ok(&["ls", "--quiet", "--running"]).stdout("b\n");
    place.destroy(&["b", "c"]);
    removed(&place);
}

fn a_recipe_makes_and_changes_volumes(world: &World) {
    let place = Place::here(world);
    let recipe = |volume: &str| {
        let text = format!(
            "local t = template \"t\" {{ image = \"busybox\", volumes = {{ data = {volume} }}, {MOUNT} }}\n\
             guest \"a\" {{ from = t, xid = {} }}\nguest \"b\" {{ from = t, xid = {} }}\n",
            world.xid(0),
            world.xid(1)
        );
        world.file("two.lua", &text).to_str().unwrap().to_owned()
    };
    let file = recipe("{ size = \"16M\", storage = \"image\" }");
    place.run(&["plan", &file]).code(2);
    place.ok(&["volume", "ls", "--quiet"]).stdout("");
    place.ok(&["apply", &file]);
    place.run(&["plan", &file]).code(0);
    place.sh("a", "echo one >/data/file");
    // Whoever changes it by hand differs from the recipe.
    place.ok(&["stop", "--all"]);
    place.ok(&["volume", "set", "data", "--size", "20M"]);
    place.run(&["plan", &file]).code(2).stdout_has("volumes.data.size").stdout_has("16M");
    place.ok(&["apply", &file]);
    place.run(&["plan", &file]).code(0);
    assert_eq!(place.sh("a", "cat /data/file"), "one\n");
    // That it grows while it is mounted is asked for, and needs CAP_SYS_RESOURCE.
    let file = recipe("{ size = \"24M\", storage = \"image\" }");
    place.run(&["plan", &file]).code(2).stdout_has("volumes.data.size");
    // Another storage needs it unmounted everywhere.
    let file = recipe("{ storage = \"dir\" }");
    let out = place.run(&["apply", &file, "--jobs", "1"]).code(1);
    out.stderr_has("volume `data` is mounted by b, running");
    place.ok(&["stop", "--all"]);
    place.ok(&["apply", &file]);
    place.run(&["plan", &file]).code(0);
    assert_eq!(place.sh("b", "cat /data/file"), "one\n");
    place.destroy(&["a", "b"]);
    place.ok(&["volume", "rm", "data"]);
    removed(&place);
}

fn what_is_in_use_is_neither_removed_nor_rolled_back(world: &World) {
    let place = Place::here(world);
    place.ok(&["volume", "create", "data"]);
    place.apply("a", 0, MOUNT);
    place.apply("b", 1, MOUNT);
    place.sh("a", "echo one >/data/file");
    place.ok(&["volume", "snapshot", "data", "--name", "one"]).stdout("took one of data\n");
    place.sh("b", "echo two >/data/file");
    place.run(&["volume", "rm", "data"]).code(1).stderr_has("volume `data` is among the mounts of `a`, `b`");
    place.run(&["volume", "rollback", "data", "one"]).code(1).stderr_has("volume `data` is mounted by a, b, running");
    place.ok(&["stop", "a"]);
    place.run(&["volume", "rollback", "data", "one"]).code(1).stderr_has("volume `data` is mounted by b, running");
    place.run(&["volume", "rollback", "data", "two"]).code(1).stderr_has("volume `data` is mounted by b, running");
    place.ok(&["stop", "b"]);
    place.run(&["volume", "rollback", "data", "two"]).code(1).stderr_has("`data` has no snapshot `two`");
    place.ok(&["volume", "rollback", "data", "one"]).stdout("data is as in one\n");
    place.ok(&["start", "a"]);
    assert_eq!(place.sh("a", "cat /data/file"), "one\n");
    place.run(&["volume", "rm", "data"]).code(1);
    place.destroy(&["a", "b"]);
    place.run(&["volume", "create", "data"]).code(1).stderr_has("volume `data` is there already");
    place.ok(&["volume", "snapshots", "data", "--remove", "one"]).stdout("removed one of data\n");
    place.ok(&["volume", "rm", "data"]);
    removed(&place);
}

fn a_clone_of_a_guest_has_the_same_volume(world: &World) {
    let place = Place::here(world);
    place.apply("a", 0, &format!("volumes = {{ data = {{}} }}, {MOUNT}"));
    place.sh("a", "echo one >/data/file");
    place.ok(&["clone", "a", "b", "--start"]);
    place.sh("b", "echo two >>/data/file");
    assert_eq!(place.sh("a", "cat /data/file"), "one\ntwo\n");
    // An archive has neither the data nor, unless it is believed, the mount.
    let archive = world.dir.join("a.tar");
    let archive = archive.to_str().unwrap();
    place.ok(&["export", "a", "-o", archive]).stderr_has("what is in the volumes of `a` is not in the archive (data)");
    let listed = tool("tar", ["-tf", archive]).ok().stdout;
    assert!(!listed.contains("data/file"), "{listed}");
    place.ok(&["import", archive, "--name", "c"]).stderr_has("volumes, mounts");
    place.ok(&["start", "c"]);
    place.sh("c", "test ! -e /data/file");
    place.run(&["volume", "import", archive]).code(1).stderr_has("is no archive of a volume");
    place.destroy(&["a", "b", "c"]);
    place.ok(&["volume", "rm", "data"]);
    removed(&place);
}

fn hooks_run_around_a_snapshot_of_a_volume(world: &World) {
    let place = Place::here(world);
    let log = world.dir.join("hooks");
    let hook = |word: &str| format!("{word} = function(h) h:exec {{ \"sh\", \"-c\", \"echo {word} >>{}\" }} end", log.display());
    let hooks = format!("hooks = {{ {}, {} }}", hook("pre_snapshot"), hook("post_snapshot"));
    place.ok(&["volume", "create", "data", "--storage", "dir"]);
    place.apply("a", 0, &format!("{MOUNT}, {hooks}"));
    place.ok(&["volume", "snapshot", "data", "--name", "one"]);
    assert_eq!(fs::read_to_string(&log).unwrap(), "pre_snapshot\npost_snapshot\n");
    // Nobody is stopped who does not run.
    place.ok(&["stop", "a"]);
    place.ok(&["volume", "snapshot", "data", "--name", "two"]);
    assert_eq!(fs::read_to_string(&log).unwrap(), "pre_snapshot\npost_snapshot\n");
    place.destroy(&["a"]);
    place.ok(&["volume", "rm", "data"]);
    removed(&place);
}

fn a_script_works_with_volumes(world: &World) {
    let place = Place::here(world);
    let script = r#"
local hostel = require "hostel"
local function said(value, why) return value == nil and why.message or value end
print(said(hostel.volume "data"))
local v = hostel.create_volume("data", { storage = "dir" })
local ok, problem = pcall(hostel.create_volume, "data")
print(v, v.name, ok, problem.kind)
print(hostel.apply("a.lua")[1].verb)
local g = assert(hostel.guest "a")
local inside = function(script) assert(assert(g:exec { "sh", "-ec", script }).code == 0) end
inside "echo one >/data/file"
print(said(v:snapshot { name = "first", keep = 2 }))
inside "echo two >/data/file"
local status = v:status()
print(status.storage, status.snapshots, status.users[1].guest, status.users[1].running)
print(said(v:rollback "first"))
print(said(v:remove()))
g:stop()
print(said(v:rollback "none"))
print(said(v:rollback "first"))
print(said(v:clone "copy"), #v:snapshots(), v:export("v.tar", { force = true }) > 0)
print(said(hostel.import_volume("v.tar", { name = "third" })), select(2, hostel.import_volume "none.tar").kind)
for _, other in ipairs(hostel.volumes()) do print(other) end
print(said(v:set { storage = "dir", size = "max" }), said(v:remove_snapshot "first"), said(v:remove_snapshot "first"))
g:destroy()
for _, other in ipairs(hostel.volumes()) do print(said(other:remove())) end
print(said(v:status()))
"#;
    world.file("a.lua", &format!("guest \"a\" {{ image = \"busybox\", xid = {}, {MOUNT} }}\n", world.xid(0)));
    let file = world.file("script.lua", script);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let out = world.hostel(["run".as_ref(), file.as_os_str()]).dir(&world.dir).deadline(60).ok();
    let expected = [
        "there is no volume `data`",
        "volume \"data\"\tdata\tfalse\texists",
        "create",
        "first",
        "dir\t1\ta\ttrue",
        "volume `data` is mounted by a, running",
        "volume `data` is among the mounts of `a`",
        "`data` has no snapshot `none`",
        "true",
        "volume \"copy\"\t1\ttrue",
        "volume \"third\"\tnot_found",
        "volume \"copy\"",
        "volume \"data\"",
        "volume \"third\"",
        "true\ttrue\t`data` has no snapshot `first`",
        "true",
        "true",
        "true",
        "there is no volume `data`",
    ];
    assert_eq!(out.stdout.lines().collect::<Vec<_>>(), expected, "{out}");
    removed(&place);
}

fn the_example_serves_what_the_other_guest_wrote(world: &World) {
    // As the example says it, on a file system that has no quotas: the volume is an image.
    let place = Place::on(world, "ext4");
    let file = world.file("10-volumes.lua", include_str!("../../examples/10-volumes.lua"));
    let shared = format!("shared_abstract_sockets={}", crate::support::Need::LandlockScopes.probe().is_err());
    place.ok(&["apply", file.to_str().unwrap(), "--set", &shared]);
    tool("curl", ["-sf", "http://127.10.0.12/index.html"]).ok().stdout("hello\n");
    let owner = shell(&place, "server", "0", "stat -c %u:%g /srv; touch /srv/x");
    owner.code(1).stdout("33:33\n").stderr_has("Read-only file system");
    place.ok(&["volume", "ls"]).stdout_has("/64M").stdout_has("server writer");
    place.destroy(&["writer", "server"]);
    place.ok(&["volume", "rm", "pages"]);
    removed(&place);
}

/// Names in a volume that lead out of it, and verbs of the host on it.
fn a_hostile_volume_leads_nowhere(world: &World) {
    let place = Place::here(world);
    let canary = world.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "canary").unwrap();
    place.ok(&["volume", "create", "data"]);
    place.apply("a", 0, MOUNT);
    let at = canary.display();
    place.sh("a", &format!("ln -s {at} /data/out; ln -s / /data/root; ln -s /proc/self/root /data/proc; mkfifo /data/pipe; echo x >/data/x; ln -s {at} /link"));
    place.ok(&["stop", "a"]);
    // A target that is a link of the guest's stays in the guest.
    let text = format!("guest \"a\" {{ image = \"busybox\", xid = {}, mounts = {{ {{ source = \"volume:data\", target = \"/link/new\" }} }} }}\n", world.xid(0));
    let file = world.file("out.lua", &text);
    place.run(&["apply", file.to_str().unwrap()]).code(1).stderr_has("open `a:/link/new`");
    place.apply("a", 0, MOUNT);
    let archive = world.dir.join("v.tar");
    let archive = archive.to_str().unwrap();
    place.ok(&["volume", "snapshot", "data", "--name", "s"]);
    place.ok(&["volume", "clone", "data", "other"]).stdout("cloned data as other\n");
    place.ok(&["volume", "export", "data", "-o", archive]);
    place.ok(&["volume", "import", archive, "--name", "third"]).stdout("imported third\n");
    place.run(&["import", archive]).code(1).stderr_has("is no archive of a guest");
    place.ok(&["stop", "a"]);
    place.ok(&["volume", "rollback", "data", "s"]);
    place.ok(&["volume", "set", "data", "--size", "32M", "--storage", "image"]);
    place.destroy(&["a"]);
    place.ok(&["volume", "rm", "data", "other", "third"]);
    assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "canary");
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
    removed(&place);
}

/// Everything that a volume can have, through each of its verbs, kept in each way that the file system can.
fn all_verbs(place: &Place, storages: &[&str]) {
    let dump = |place: &Place, name: &str| {
        let root = place.root.join("volumes").join(name).join("rootfs");
        tool("python3", ["-c", DUMP, root.to_str().unwrap()]).deadline(60).ok().stdout
    };
    for storage in storages {
        place.ok(&["volume", "create", "data", "--storage", storage]);
        fs::create_dir(data(place).join("srv")).unwrap();
        tool("python3", ["-c", FILL, data(place).to_str().unwrap()]).ok();
        let was = dump(place, "data");
        place.ok(&["volume", "snapshot", "data", "--name", "one"]);
        place.ok(&["volume", "clone", "data", "copy"]);
        same(&dump(place, "copy"), &was, "a clone");
        let archive = place.world.dir.join("v.tar");
        let archive = archive.to_str().unwrap();
        place.ok(&["volume", "export", "copy", "--force", "-o", archive]);
        place.ok(&["volume", "rm", "copy"]);
        place.ok(&["volume", "import", archive, "--name", "copy", "--storage", storage]);
        same(&dump(place, "copy"), &was, "what was imported");
        // Written to by a guest, and back.
        place.apply("a", 0, MOUNT);
        place.sh("a", "rm -r /data/srv/d; echo changed >/data/srv/data; chown 5 /data/srv/old");
        place.ok(&["volume", "snapshot", "data", "--name", "two"]);
        place.ok(&["stop", "a"]);
        place.ok(&["volume", "rollback", "data", "one"]);
        same(&dump(place, "data"), &was, "what was rolled back");
        place.ok(&["volume", "rollback", "data", "two"]);
        assert_eq!(fs::read_to_string(data(place).join("srv/data")).unwrap(), "changed\n");
        place.ok(&["volume", "rollback", "data", "one"]);
        for to in ["dir", storage] {
            place.ok(&["volume", "set", "data", "--storage", to]);
            same(&dump(place, "data"), &was, "what was moved");
        }
        place.ok(&["volume", "snapshot", "data", "--keep", "1"]).stdout_has("removed one of data");
        place.destroy(&["a"]);
        place.ok(&["volume", "rm", "data", "copy"]);
        removed(place);
    }
    place.run(&["volume", "create", "data", "--storage", "overlay"]).code(1).stderr_has("a volume cannot be kept as layers");
    place.run(&["volume", "create", "data", "--storage", "image"]).code(1).stderr_has("needs to know how large it is");
    removed(place);
}

fn a_volume_on_btrfs(world: &World) {
    all_verbs(&Place::on(world, "btrfs"), &["btrfs", "reflink", "dir"]);
}

fn a_volume_on_xfs(world: &World) {
    all_verbs(&Place::on(world, "xfs"), &["reflink"]);
}

fn a_volume_on_ext4(world: &World) {
    let place = Place::on(world, "ext4");
    all_verbs(&place, &["dir"]);
    // What this file system cannot do is refused, and nothing is left.
    place.run(&["volume", "create", "data", "--size", "16M", "--storage", "dir"]).code(1).stderr_has("has no project quotas");
    place.run(&["volume", "create", "data", "--storage", "btrfs"]).code(1).stderr_has("no subvolumes");
    removed(&place);
}

/// A guest fills a volume: no space there, and the other guests and volumes write on.
fn full(place: &Place, storage: &str, shows_in_df: bool) {
    place.ok(&["volume", "create", "data", "--size", "24M", "--storage", storage]);
    place.ok(&["volume", "create", "other", "--size", "24M", "--storage", storage]);
    place.apply("a", 0, MOUNT);
    place.apply("b", 1, "mounts = { { source = \"volume:data\", target = \"/data\" }, { source = \"volume:other\", target = \"/other\" } }");
    let fill = |guest: &str, file: &str| -> u64 {
        let script = format!("dd if=/dev/zero of={file} bs=1M count=200 conv=fsync 2>/dev/null || true; sync; stat -c %s {file}");
        place.sh(guest, &script).trim().parse::<u64>().unwrap() >> 20
    };
    let size = fill("a", "/data/big");
    assert!((12..=24).contains(&size), "{size} MiB");
    let beside = shell(place, "b", "0", "dd if=/dev/zero of=/data/more bs=1M count=4 conv=fsync");
    assert_ne!(beside.status, 0, "{beside}");
    place.sh("b", "dd if=/dev/zero of=/other/mine bs=1M count=10 conv=fsync 2>/dev/null; echo x >/root/x");
    let shown = place.ok(&["volume", "show", "data", "--json"]).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["disk"]["limit"], &shown["size"]), (&(24 << 20).into(), &(24 << 20).into()), "{shown}");
    place.ok(&["volume", "ls"]).stdout_has("/24M");
    if shows_in_df {
        // What df(1) asks for. Busybox's own shows another mount of the same device, whichever comes first.
        let total: u64 = place.sh("a", "stat -f -c '%b %S' /data | awk '{ print $1 * $2 / 1024 }'").trim().parse().unwrap();
        assert!((14 << 10..=24 << 10).contains(&total), "{total} KiB");
    }
    // A snapshot, a clone and a way back: all of them within the limit.
    place.sh("a", "rm -f /data/big /data/more; echo one >/data/file; sync");
    place.ok(&["volume", "snapshot", "data", "--name", "one"]);
    place.ok(&["stop", "a", "b"]);
    place.ok(&["volume", "rollback", "data", "one"]);
    place.ok(&["volume", "clone", "data", "copy"]);
    place.ok(&["start", "a", "b"]);
    assert_eq!(place.sh("b", "cat /data/file"), "one\n");
    let size = fill("b", "/data/big");
    assert!((12..=24).contains(&size), "{size} MiB");
    place.sh("a", "rm /data/big; sync");
    let copy = place.ok(&["volume", "show", "copy", "--json"]).stdout;
    let copy: serde_json::Value = serde_json::from_str(&copy).unwrap();
    assert_eq!(copy["disk"]["limit"], 24 << 20, "{copy}");
    // More, and a limit that comes later counts what is there, while guests run.
    if storage != "image" {
        place.ok(&["volume", "set", "data", "--size", "48M"]);
        let size = fill("a", "/data/big");
        assert!((30..=48).contains(&size), "{size} MiB");
        place.ok(&["volume", "set", "data", "--size", "max"]);
        place.sh("a", "dd if=/dev/zero of=/data/more bs=1M count=20 conv=fsync 2>/dev/null; rm /data/*; sync");
    }
    place.destroy(&["a", "b"]);
    place.ok(&["volume", "rm", "data", "other", "copy"]);
    removed(place);
}

fn a_full_volume_in_an_image(world: &World) {
    full(&Place::on(world, "ext4"), "image", true);
}

fn a_full_volume_by_project_quota(world: &World) {
    let place = crate::disk::with_quota(world, "ext4");
    full(&place, "dir", true);
    // One that is made without, and has a limit later.
    place.ok(&["volume", "create", "data"]);
    place.apply("a", 0, MOUNT);
    place.sh("a", "dd if=/dev/zero of=/data/big bs=1M count=10 2>/dev/null; sync");
    place.ok(&["volume", "set", "data", "--size", "16M", "--inodes", "20"]);
    let more = shell(&place, "a", "0", "dd if=/dev/zero of=/data/more bs=1M count=10 conv=fsync");
    assert_ne!(more.status, 0, "{more}");
    let many = place.sh("a", "rm /data/more; (i=0; while : >/data/$i; do i=$((i + 1)); done) 2>/dev/null || true; ls /data | wc -l");
    assert!(many.trim().parse::<u32>().unwrap() < 20, "{many}");
    place.destroy(&["a"]);
    place.ok(&["volume", "rm", "data"]);
    removed(&place);
}

fn a_full_volume_on_btrfs(world: &World) {
    full(&crate::disk::with_quota(world, "btrfs"), "btrfs", false);
}
