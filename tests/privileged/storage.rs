//! Drivers of guests' files: the same for each of them, on file systems that are made for it. Clones and conversions.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::support::{Place, World, same, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs")] within 180 => guests_and_clones_on_btrfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs")] within 180 => guests_and_clones_by_reflink_on_btrfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("xfs")] within 180 => guests_and_clones_by_reflink_on_xfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4")] within 180 => guests_and_clones_by_overlay_on_ext4,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("xfs")] within 180 => guests_and_clones_by_overlay_on_xfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs")] within 180 => guests_and_clones_by_overlay_on_btrfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4")] within 180 => guests_and_clones_by_dir_on_ext4,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs")] within 180 => snapshots_of_every_driver,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4")] => what_a_file_system_cannot_do_is_refused,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs")] within 180 => a_guest_moves_between_drivers,
    [Root, Cgroup2, Bpf, Busybox] => a_script_clones_snapshots_and_converts,
    [Root, Cgroup2, Bpf, Busybox] => layers_of_a_guest_with_the_hosts_ids,
    [Root, Cgroup2, Bpf, Busybox] => an_image_that_is_a_layer_stays,
    [Root, Cgroup2, Bpf, Busybox] => overlay_guests_of_one_image_share_its_pages,
    [Root, Cgroup2, Bpf, Busybox] => clones_of_clones_are_never_too_deep,
    [Root, Cgroup2, Bpf, Busybox] => the_marks_of_a_layer_are_not_the_guests_to_make,
    [Root, Cgroup2, Bpf, Busybox] => snapshot_hooks_run_around_a_live_clone,
    [Root, Cgroup2, Bpf, Busybox] => a_hostile_tree_is_cloned_within_itself,
    [Root, Cgroup2, Bpf, Busybox, Tool("ssh-keygen")] => a_clone_has_an_identity_of_its_own,
    [Root, Cgroup2, Bpf, Busybox] => a_plain_guest_from_before_there_were_drivers,
}

/// What every driver must do.
fn guests_and_clones(world: &World, kind: &str, storage: &str) {
    let place = Place::on(world, kind);
    place.apply("web", 0, &format!("storage = \"{storage}\", files = {{ [\"/etc/motd\"] = \"hello\\n\" }}"));
    place.sh(
        "web",
        "mkdir -p /srv/a /srv/old && echo data >/srv/a/data && ln /srv/a/data /srv/a/twin && ln -s data /srv/a/link && \
         chown 1000:1000 /srv/a/data && chmod 4750 /srv/a/data && mkfifo /srv/a/pipe && \
         dd if=/dev/zero of=/srv/a/holes bs=1 count=1 seek=3000000 2>/dev/null && \
         rm /bin/vi && mv /srv/old /srv/new && rm -rf /home && mkdir /home && touch /home/fresh",
    );
    // Of a guest that runs: it goes on afterwards.
    let before = place.fingerprint("web");
    place.ok(&["clone", "web", "live", "--xid", &world.xid(1).to_string()]).stdout("cloned live\n").stderr("");
    place.ok(&["ls"]).stdout_has("live");
    same(&place.fingerprint("web"), &before, "the source changed");
    place.ok(&["start", "live"]);
    let names = "test ! -e /bin/vi && test -d /srv/new && test -e /home/fresh && test ! -e /srv/old";
    place.sh("live", names);
    assert_eq!(place.sh("live", "cat /srv/a/twin; stat -c '%a %u %h' /srv/a/data; readlink /srv/a/link; test -p /srv/a/pipe; cat /etc/hostname"),
        "data\n4750 1000 2\ndata\nlive\n");
    // Of one that is stopped, several at once.
    place.ok(&["stop", "web"]);
    place.ok(&["clone", "web", "c1", "--count", "2", "--start"]).stdout("cloned and started c1\ncloned and started c2\n");
    place.ok(&["start", "web"]);
    same(&place.fingerprint("web"), &before, "the source changed");
    for clone in ["c1", "c2"] {
        place.sh(clone, names);
        place.sh(clone, "echo other >/srv/a/data; rm -r /srv/new; echo x >>/etc/motd; chmod 600 /etc/passwd; rm /bin/ls; mkdir /srv/new");
    }
    same(&place.fingerprint("web"), &before, "a write to a clone reached its source");
    assert_eq!(place.sh("live", "cat /srv/a/data /etc/motd"), "data\nhello\n");
    // And the other way round.
    let clone = place.fingerprint("c1");
    place.sh("web", "echo new >/srv/a/data; rm -r /var/spool /srv/a; chmod 700 /opt");
    same(&place.fingerprint("c1"), &clone, "a write to the source reached its clone");
    // Files of the recipe change while it runs.
    place.apply("web", 0, &format!("storage = \"{storage}\", files = {{ [\"/etc/motd\"] = {{ content = \"again\\n\", mode = \"0640\", uid = 7, gid = 8 }} }}"));
    assert_eq!(place.sh("web", "cat /etc/motd; stat -c '%a %u %g' /etc/motd"), "again\n640 7 8\n");
    place.ok(&["logs", "web"]);
    place.ok(&["restart", "web"]);
    assert_eq!(place.sh("web", "cat /etc/motd; stat -c '%a %u %g' /etc/motd; test ! -e /srv/a"), "again\n640 7 8\n");
    // What is destroyed takes nothing from those that are left.
    place.ok(&["destroy", "--force", "web", "c2"]);
    same(&place.fingerprint("c1"), &clone, "it changed");
    place.ok(&["restart", "live"]);
    assert_eq!(place.sh("live", "cat /srv/a/data"), "data\n");
    place.destroy(&["live", "c1"]);
}

fn guests_and_clones_on_btrfs(world: &World) {
    guests_and_clones(world, "btrfs", "btrfs");
}

fn guests_and_clones_by_reflink_on_btrfs(world: &World) {
    guests_and_clones(world, "btrfs", "reflink");
}

fn guests_and_clones_by_reflink_on_xfs(world: &World) {
    guests_and_clones(world, "xfs", "reflink");
}

fn guests_and_clones_by_overlay_on_ext4(world: &World) {
    guests_and_clones(world, "ext4", "overlay");
}

fn guests_and_clones_by_overlay_on_xfs(world: &World) {
    guests_and_clones(world, "xfs", "overlay");
}

fn guests_and_clones_by_overlay_on_btrfs(world: &World) {
    guests_and_clones(world, "btrfs", "overlay");
}

fn guests_and_clones_by_dir_on_ext4(world: &World) {
    guests_and_clones(world, "ext4", "dir");
}

fn snapshots_of_every_driver(world: &World) {
    let place = Place::on(world, "btrfs");
    for (number, storage) in (0..).zip(["btrfs", "reflink", "overlay", "dir"]) {
        place.apply("web", number, &format!("storage = \"{storage}\""));
        place.sh("web", "echo one >/srv/data; rm /bin/vi");
        let first = place.fingerprint("web");
        place.ok(&["snapshot", "web", "--name", "first"]).stdout("took first of web\n").stderr("");
        place.run(&["snapshot", "web", "--name", "first"]).code(1).stderr_has("`web` has a snapshot `first` already");
        place.sh("web", "echo two >/srv/data; rm -r /etc/rc; mkdir /srv/more");
        let second = place.fingerprint("web");
        place.run(&["rollback", "web", "first"]).code(1).stderr_has("guest `web` runs");
        place.ok(&["stop", "web"]);
        place.ok(&["snapshot", "web", "-n", "second"]);
        place.run(&["rollback", "web", "third"]).code(1).stderr_has("`web` has no snapshot `third`");
        for (label, expected) in [("first", &first), ("second", &second), ("first", &first), ("first", &first)] {
            place.ok(&["rollback", "web", label]).stdout(&format!("web is as in {label}\n"));
            place.ok(&["start", "web"]);
            same(&place.fingerprint("web"), expected, &format!("{storage} {label}"));
            place.sh("web", "echo three >/srv/data; rm -r /srv/data /bin/sed");
            place.ok(&["stop", "web"]);
        }
        // A clone and a conversion leave snapshots alone, and they it.
        place.ok(&["clone", "web", "web2"]);
        place.ok(&["convert", "web", "--to", if storage == "dir" { "overlay" } else { "dir" }]);
        place.ok(&["rollback", "web", "second"]);
        place.ok(&["start", "web"]);
        same(&place.fingerprint("web"), &second, storage);
        let list = place.ok(&["snapshots", "web", "--json"]);
        let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
        assert_eq!((&list[0]["label"], &list[1]["label"]), (&"first".into(), &"second".into()), "{list}");
        assert_eq!(list[0]["storage"], storage);
        let kept = place.ok(&["snapshot", "web", "--name", "last", "--keep", "2"]);
        kept.stdout("took last of web\nremoved first of web\n");
        place.ok(&["snapshots", "web", "--remove", "second"]).stdout("removed second of web\n");
        place.ok(&["snapshots", "web"]).stdout_has("last");
        place.ok(&["gc"]);
        place.ok(&["start", "web2"]);
        place.sh("web2", "test ! -e /srv/data");
        place.destroy(&["web", "web2"]);
    }
}

fn what_a_file_system_cannot_do_is_refused(world: &World) {
    let place = Place::on(world, "ext4");
    for (storage, why) in [
        ("btrfs", "this file system has no subvolumes"),
        ("reflink", "this file system cannot share extents between files"),
    ] {
        let text = format!("guest \"web\" {{ image = \"busybox\", storage = \"{storage}\" }}\n");
        let file = world.file("web.lua", &text);
        let refused = place.run(&["apply", file.to_str().unwrap()]).code(1);
        let expected = format!("storage = \"{storage}\" in `{}`: {why}", place.root.display());
        assert!(refused.stderr.contains(&expected), "{refused}");
        assert!(refused.stderr.contains("leave `storage` out"), "{refused}");
        place.ok(&["ls", "--quiet"]).stdout("");
    }
    place.apply("web", 0, "");
    place.ok(&["stop", "web"]);
    place.run(&["convert", "web", "--to", "btrfs"]).code(1).stderr_has("has no subvolumes");
    place.ok(&["start", "web"]);
    let runs = place.run(&["convert", "web", "--to", "overlay"]).code(1);
    assert!(runs.stderr.contains("guest `web` runs"), "{runs}");
    place.run(&["clone", "web", "web"]).stderr_has("cannot be a clone of itself");
    place.run(&["clone", "wed", "x"]).code(1).stderr_has("did you mean `web`?");
    place.ok(&["clone", "web", "x"]);
    place.run(&["clone", "web", "x"]).code(1).stderr_has("guest `x` is there already");
    place.destroy(&["web", "x"]);
}

fn a_guest_moves_between_drivers(world: &World) {
    let place = Place::on(world, "btrfs");
    place.apply("web", 0, "storage = \"dir\"");
    place.sh("web", "echo data >/srv/data; ln /srv/data /srv/twin; rm /bin/vi; chown 5:6 /srv/data; chmod 6755 /srv/data");
    let before = place.fingerprint("web");
    for storage in ["overlay", "btrfs", "dir", "reflink", "btrfs", "overlay", "reflink", "overlay", "dir"] {
        place.ok(&["stop", "web"]);
        place.ok(&["convert", "web", "--to", storage]).stdout(&format!("converted web to {storage}\n"));
        place.ok(&["convert", "web", "--to", storage]).stdout(&format!("web is {storage} already\n"));
        assert_eq!(place.root.join("guests/web/rootfs").exists(), storage != "overlay");
        place.ok(&["start", "web"]);
        same(&place.fingerprint("web"), &before, storage);
    }
    // The recipe does it too, by a restart.
    place.apply("web", 0, "storage = \"overlay\"");
    assert!(!place.root.join("guests/web/rootfs").exists());
    same(&place.fingerprint("web"), &before, "it changed");
    place.destroy(&["web"]);
}

fn a_script_clones_snapshots_and_converts(world: &World) {
    let place = Place::here(world);
    place.apply("web", 0, "storage = \"dir\"");
    let script = r#"
local hostel = require "hostel"
local g = assert(hostel.guest "web")
local inside = function(guest, script) assert(assert(guest:exec { "sh", "-ec", script }).code == 0) end
inside(g, "echo one >/srv/data")
print(g:snapshot { name = "first" })
inside(g, "echo two >/srv/data")
print(g:rollback "first")
g:stop()
print(g:rollback "first", g:rollback "none")
local label = g:snapshot { keep = 1 }
for _, s in ipairs(g:snapshots()) do print(s.label == label, s.storage, s.size > 0, #s.created > 19) end
print(g:remove_snapshot(label), g:remove_snapshot(label))
print(g:convert "overlay", g:convert "overlay")
local copy = g:clone("copy", { hostname = "copy.example.net", storage = "dir" })
print(copy.name, copy.xid > 1, copy:start())
copy:exec { "sh", "-ec", "cat /srv/data; hostname" }
print(pcall(g.clone, g, "copy"))
copy:destroy { force = true }
"#;
    let file = world.file("script.lua", script);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let out = place.ok(&["run", file.to_str().unwrap()]).stdout;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "first\tnil");
    assert!(lines[1].starts_with("nil") && lines[1].contains("guest `web` runs"), "{out}");
    assert!(lines[2].starts_with("true\tnil") && lines[2].contains("has no snapshot `none`"), "{out}");
    assert_eq!(lines[3], "true\tdir\ttrue\ttrue", "{out}");
    assert!(lines[4].starts_with("true\tnil"), "{out}");
    assert_eq!(&lines[5..9], ["true\tfalse\tnil", "copy\ttrue\ttrue\tnil", "one", "copy.example.net"], "{out}");
    assert!(lines[9].starts_with("false") && lines[9].contains("guest `copy` is there already"), "{out}");
    place.destroy(&["web"]);
}

/// It has no user namespace: nothing is mapped.
fn layers_of_a_guest_with_the_hosts_ids(world: &World) {
    let place = Place::here(world);
    place.apply("web", 0, "storage = \"overlay\", userns = false, files = { [\"/etc/motd\"] = \"a\" }");
    let owners = "echo x >/srv/own; chown 7:8 /etc/passwd; stat -c '%u %g' /bin/busybox /srv/own /etc/passwd /etc/motd";
    assert_eq!(place.sh("web", owners), "0 0\n0 0\n7 8\n0 0\n");
    place.apply("web", 0, "storage = \"overlay\", userns = false, files = { [\"/etc/motd\"] = \"b\" }");
    assert_eq!(place.sh("web", "cat /etc/motd; stat -c '%u %g' /etc/motd"), "b0 0\n");
    place.destroy(&["web"]);
}

fn an_image_that_is_a_layer_stays(world: &World) {
    let place = Place::here(world);
    place.apply("web", 0, "storage = \"overlay\"");
    place.ok(&["stop", "web"]);
    place.ok(&["clone", "web", "web2"]);
    place.ok(&["images", "--prune"]).stdout("");
    let images = place.ok(&["images"]);
    assert!(images.stdout.contains("web web2"), "{images}");
    place.ok(&["destroy", "web"]);
    place.ok(&["images", "--prune"]).stdout("");
    place.ok(&["start", "web2"]);
    place.sh("web2", "true");
    place.destroy(&["web2"]);
    place.ok(&["images", "--prune"]).stdout_has("removed busybox-");
}

/// One inode on the lower file system: what one guest has read is in memory for the other.
fn overlay_guests_of_one_image_share_its_pages(world: &World) {
    let place = Place::here(world);
    place.apply("web", 0, "storage = \"overlay\"");
    place.apply("db", 1, "storage = \"overlay\"");
    let inode = |guest: &str| place.sh(guest, "stat -c %i /bin/busybox").trim().to_owned();
    let image = fs::read_dir(place.root.join("images")).unwrap().flatten();
    let image = image.map(|entry| entry.path()).find(|path| path.join("rootfs").exists()).unwrap();
    let wanted = fs::metadata(image.join("rootfs/bin/busybox")).unwrap().ino().to_string();
    assert_eq!((inode("web"), inode("db")), (wanted.clone(), wanted));
    // A start writes a few small files and nothing else.
    let du = tool("du", ["-sk", place.root.join("layers").to_str().unwrap()]).ok();
    let kib: u64 = du.stdout.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 400, "{kib} KiB of layers for two guests");
    place.destroy(&["web", "db"]);
}

fn clones_of_clones_are_never_too_deep(world: &World) {
    let place = Place::here(world);
    place.apply("web", 0, "storage = \"overlay\"");
    place.sh("web", "echo 0 >/srv/count");
    place.ok(&["stop", "web"]);
    for n in 1..=16 {
        // Each has written to its layer, so each clone freezes one.
        place.ok(&["clone", "web", "next"]);
        place.ok(&["start", "next"]);
        place.sh("next", &format!("test \"$(cat /srv/count)\" = {} && echo {n} >/srv/count", n - 1));
        place.ok(&["stop", "next"]);
        place.ok(&["destroy", "web"]);
        place.ok(&["clone", "next", "web"]);
        place.ok(&["destroy", "next"]);
    }
    assert!(place.layers() <= 14, "{} layers", place.layers());
    place.ok(&["start", "web"]);
    assert_eq!(place.sh("web", "cat /srv/count"), "16\n");
    place.destroy(&["web"]);
}

/// A whiteout, or an attribute that redirects a directory, would show a guest what lies below under another name.
fn the_marks_of_a_layer_are_not_the_guests_to_make(world: &World) {
    let place = Place::here(world);
    place.apply("web", 0, "storage = \"overlay\"");
    let made = place.run(&["exec", "web", "-T", "--", "mknod", "/srv/whiteout", "c", "0", "0"]);
    assert!(made.status != 0, "{made}");
    // As root of the host, in the guest's own mount: overlayfs keeps them to itself.
    let pid = place.ok(&["status", "web", "--json"]);
    let pid: serde_json::Value = serde_json::from_str(&pid.stdout).unwrap();
    let pid = pid.as_array().map_or(&pid, |all| &all[0])["pid"].as_i64().unwrap();
    let root = format!("/proc/{pid}/root");
    let layer = fs::read_dir(place.root.join("layers")).unwrap().flatten().next().unwrap().path();
    assert_eq!(fs::metadata(&layer).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(Path::new(&root).join("bin/busybox").exists());
    place.destroy(&["web"]);
}

fn snapshot_hooks_run_around_a_live_clone(world: &World) {
    let place = Place::here(world);
    let hooks = "hooks = { pre_snapshot = function(h) h:log(\"before\") end, post_snapshot = function(h) h:log(\"after\") end }";
    place.apply("web", 0, &format!("storage = \"overlay\", {hooks}"));
    let clone = place.ok(&["clone", "web", "web2"]).stdout("cloned web2\n");
    assert!(clone.stderr.contains("before") && clone.stderr.contains("after"), "{clone}");
    assert!(clone.stderr.contains("the hooks of `web` belong to its recipe"), "{clone}");
    place.ok(&["destroy", "web2"]);
    let failing = "hooks = { pre_snapshot = function(h) error(\"not now\") end }";
    place.apply("web", 0, &format!("storage = \"overlay\", {failing}"));
    place.run(&["clone", "web", "web2"]).code(1).stderr_has("not now");
    place.ok(&["ls", "--quiet"]).stdout("web\n");
    place.destroy(&["web"]);
}

/// Row 30: whatever a guest has put in the way of its clone's new identity, nothing of the host is touched.
fn a_hostile_tree_is_cloned_within_itself(world: &World) {
    let canary = world.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    for file in ["machine-id", "hostname", "hosts", "ssh_host_rsa_key", "random-seed"] {
        fs::write(canary.join(file), "host\n").unwrap();
    }
    let state = |dir: &Path| tool("sh", ["-c", "cd \"$0\" && stat -c '%n %i %Y %Z %s' . * && cat *", dir.to_str().unwrap()]).ok().stdout;
    let before = state(&canary);
    for (number, storage) in [(0, "overlay"), (1, "dir")] {
        let place = Place::here(world);
        place.apply("evil", number, &format!("storage = \"{storage}\""));
        let to = canary.display();
        place.sh(
            "evil",
            &format!(
                "rm -rf /etc/machine-id /etc/hostname /etc/hosts /etc/ssh /var/lib; ln -s {to}/machine-id /etc/machine-id; \
                 ln -s {to}/hostname /etc/hostname; ln -s ../../../../../..{to}/hosts /etc/hosts; ln -s {to} /etc/ssh; \
                 mkdir -p /var/lib; ln -s {to} /var/lib/systemd; ln -s {to} /var/lib/dbus"
            ),
        );
        place.ok(&["clone", "evil", "copy"]);
        place.ok(&["stop", "evil"]);
        place.ok(&["clone", "evil", "copy2"]);
        place.ok(&["destroy", "copy", "copy2"]);
        place.destroy(&["evil"]);
        assert_eq!(state(&canary), before, "{storage}");
    }
}

fn a_clone_has_an_identity_of_its_own(world: &World) {
    let place = Place::here(world);
    place.apply("web", 0, "hostname = \"web.example.net\"");
    place.sh(
        "web",
        "mkdir -p /etc/ssh /var/lib/dbus /var/lib/systemd; echo 0123456789abcdef0123456789abcdef >/etc/machine-id; \
         cp /etc/machine-id /var/lib/dbus/machine-id; echo seed >/var/lib/systemd/random-seed; \
         echo old >/etc/ssh/ssh_host_ed25519_key; echo old >/etc/ssh/ssh_host_ed25519_key.pub",
    );
    place.ok(&["clone", "web", "web2", "--start"]);
    let told = place.sh(
        "web2",
        "hostname; cat /etc/hostname; stat -c %s /etc/machine-id; test ! -e /var/lib/dbus/machine-id; test ! -e /var/lib/systemd/random-seed; \
         head -1 /etc/ssh/ssh_host_ed25519_key; stat -c '%a %u' /etc/ssh/ssh_host_ed25519_key; cut -d' ' -f1 /etc/ssh/ssh_host_ed25519_key.pub; \
         test ! -e /etc/ssh/ssh_host_rsa_key; grep -c web2 /etc/hosts",
    );
    assert_eq!(told, "web2\nweb2\n0\n-----BEGIN OPENSSH PRIVATE KEY-----\n600 0\nssh-ed25519\n1\n");
    assert_eq!(place.sh("web", "cat /etc/ssh/ssh_host_ed25519_key; cat /etc/hostname"), "old\nweb.example.net\n");
    place.destroy(&["web", "web2"]);
}

/// A guest without `files.json` is a plain tree, and starts as ever.
fn a_plain_guest_from_before_there_were_drivers(world: &World) {
    let place = Place::here(world);
    place.apply("web", 0, "storage = \"dir\"");
    assert!(!place.root.join("guests/web/files.json").exists());
    place.ok(&["restart", "web"]);
    place.sh("web", "true");
    // One that nobody wrote is refused by its name.
    fs::write(place.root.join("guests/web/files.json"), "{}").unwrap();
    place.ok(&["stop", "web"]);
    place.run(&["start", "web"]).code(1).stderr_has("guests/web/files.json` is not what hostel writes");
    fs::remove_file(place.root.join("guests/web/files.json")).unwrap();
    place.destroy(&["web"]);
}
