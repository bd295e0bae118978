//! unify: equal files are shared, on the disk and in memory, and no guest sees anything of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostel::storage::files::{self, Access};
use hostel::storage::Layout;
use hostel::sys;
use serde_json::Value;

use crate::support::{Place, World, eventually, same, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4")] within 180 => layers_share_and_no_guest_sees_it,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("xfs")] within 180 => layers_share_on_xfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs")] within 180 => layers_share_on_btrfs,
    [Root, Cgroup2, Bpf, Busybox] => only_what_is_equal_is_shared,
    [Root, Cgroup2, Bpf, Busybox] => what_one_guest_writes_no_other_sees,
    [Root, Cgroup2, Bpf, Busybox] => a_library_is_in_memory_once,
    [Root, Cgroup2, Bpf, Busybox] => running_guests_of_layers_are_left_by_name,
    [Root, Cgroup2, Bpf, Busybox] => snapshots_and_clones_of_unified_guests,
    [Root, Cgroup2, Bpf, Busybox] => undo_gives_each_its_own,
    [Root, Cgroup2, Bpf, Busybox] => a_script_unifies,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs")] within 180 => running_trees_share_extents_on_btrfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("xfs")] within 180 => running_trees_share_extents_on_xfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("xfs")] within 180 => guests_that_have_not_run_since_are_not_looked_at,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4")] => trees_that_cannot_share_are_left_by_name,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("xfs")] => a_hostile_tree_is_unified_within_itself,
    [Root, Cgroup2, Bpf, Debian] within 500 => an_upgrade_of_one_of_ten_changes_none_of_the_nine,
}

/// What a guest sees: kind, mode, owner, number of names, size, content, attributes and time of everything.
fn seen(place: &Place<'_>, guest: &str) -> BTreeMap<PathBuf, String> {
    let layout = Layout::at(place.root.clone());
    let inside = files::open(&layout, &guest.parse().unwrap(), Access::Read).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}", inside.root().as_raw_fd()));
    let mut all = BTreeMap::new();
    look(&root, &root.join("."), &mut all);
    all
}

fn look(root: &Path, path: &Path, all: &mut BTreeMap<PathBuf, String>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let mut text = format!(
        "{:o} {}:{} {}.{}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    if meta.is_symlink() {
        write!(text, " {}", fs::read_link(path).unwrap().display()).unwrap();
    } else if meta.is_file() || meta.is_dir() {
        let file = File::open(path).unwrap();
        let mut names = sys::file::xattr_names(&file).unwrap();
        names.sort();
        for name in names {
            write!(text, " {name:?}={:?}", sys::file::xattr(&file, &name).unwrap()).unwrap();
        }
        if meta.is_file() {
            let content = fs::read(path).unwrap();
            let mut hash = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(&content, &mut hash);
            let hash = std::hash::Hasher::finish(&hash);
            write!(text, " {} {hash:x} names={}", meta.len(), meta.nlink()).unwrap();
        }
    }
    all.insert(path.strip_prefix(root).unwrap().to_owned(), text);
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            look(root, &entry.path(), all);
        }
    }
}

/// Shows what differs alone.
fn unchanged(place: &Place<'_>, guest: &str, before: &BTreeMap<PathBuf, String>) {
    let now = seen(place, guest);
    let differ: Vec<_> = before
        .iter()
        .filter(|(path, text)| now.get(*path) != Some(text))
        .map(|(path, text)| (path, text, now.get(path)))
        .chain(now.iter().filter(|(path, _)| !before.contains_key(*path)).map(|(path, text)| (path, text, None)))
        .collect();
    assert!(differ.is_empty(), "{guest}: {differ:#?}");
}

/// Without the number of names: the images of the tests are linked into the worlds of other tests.
fn unchanged_but_for_names(place: &Place<'_>, guest: &str, before: &BTreeMap<PathBuf, String>) {
    let strip = |all: BTreeMap<PathBuf, String>| -> BTreeMap<PathBuf, String> {
        all.into_iter().map(|(path, text)| (path, text.split(" names=").next().unwrap().to_owned())).collect()
    };
    let (now, before) = (strip(seen(place, guest)), strip(before.clone()));
    let differ: Vec<_> = before.iter().filter(|(path, text)| now.get(*path) != Some(text)).collect();
    assert!(differ.is_empty() && now.len() == before.len(), "{guest}: {differ:#?}");
}

fn report(place: &Place<'_>, args: &[&str]) -> Value {
    let args: Vec<&str> = ["unify", "--json"].iter().chain(args).copied().collect();
    serde_json::from_str(&place.ok(&args).stdout).unwrap()
}

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field} in {report}"))
}

/// Kibibytes of the layers and the store.
fn occupied(place: &Place<'_>) -> u64 {
    let du = tool("du", ["-sck", place.root.join("layers").to_str().unwrap(), place.root.join("store").to_str().unwrap()]).run();
    du.stdout.lines().last().unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// A tree of all kinds, the same in each guest, with something of the guest's own.
const FILL: &str = "mkdir -p /opt/lib/deep; cd /opt/lib; n=0; while [ $n -lt 24 ]; do yes $n | head -c 60000 >f$n; touch -d '2020-01-01 00:00:07' f$n; n=$((n+1)); done; \
    chmod 4755 f1; chown 7:8 f2; chmod 600 f2; ln f3 f3b; cp f4 deep/copy; ln -s f5 link; mkfifo pipe; touch -d '2021-05-05 01:01:01' f6; \
    dd if=/dev/zero of=holes bs=1 count=1 seek=9000000 2>/dev/null; echo small >small; chmod 1777 deep; rm /bin/vi; mv /srv /srv2; rm -r /home; mkdir /home; touch /home/fresh; \
    hostname >own; yes etc | head -c 90000 >/etc/left";

fn guests(place: &Place<'_>, names: &[&str], more: &str) {
    for (number, name) in (0..).zip(names) {
        place.apply(name, number, more);
        place.sh(name, FILL);
    }
}

fn layers_share(world: &World, kind: &str) {
    let place = Place::on(world, kind);
    let names = ["a", "b", "c", "d"];
    guests(&place, &names, "storage = \"overlay\"");
    place.ok(&["stop", "a", "b", "c", "d"]);
    let before: Vec<_> = names.iter().map(|name| seen(&place, name)).collect();
    let whole = occupied(&place);
    let dry = report(&place, &["--dry-run"]);
    assert!(!place.root.join("store").exists() && occupied(&place) == whole, "{dry}");
    let done = report(&place, &["--jobs", "3"]);
    assert_eq!((&dry["files"], &dry["saved"]), (&done["files"], &done["saved"]), "{dry} {done}");
    // Three times 25 files of 60,000 bytes and more.
    assert!(number(&done, "files") >= 75 && number(&done, "saved") >= 4_400_000, "{done}");
    let shared = occupied(&place);
    assert!(shared * 5 / 2 < whole, "{whole} KiB before, {shared} after");
    for (name, before) in names.iter().zip(&before) {
        unchanged(&place, name, before);
    }
    // Nothing is read again, and nothing done.
    let again = report(&place, &[]);
    assert_eq!((number(&again, "read"), number(&again, "saved")), (0, 0), "{again}");
    place.ok(&["start", "a", "b"]);
    assert_eq!(place.sh("a", "cat /etc/hostname /opt/lib/own; ls -a / | grep '^[.][0-9a-f]' || echo hidden"), "a\na\nhidden\n");
    place.sh("a", "/opt/lib/../../bin/busybox true; test -u /opt/lib/f1; test \"$(stat -c %h /opt/lib/f3)\" = 2");
    place.ok(&["stop", "a", "b"]);
    place.destroy(&names);
    assert_eq!(fs::read_dir(stored(&place)).unwrap().count(), 0, "the store has what nobody has");
}

/// Where the store has its files.
fn stored(place: &Place<'_>) -> PathBuf {
    fs::read_dir(place.root.join("store/root")).unwrap().flatten().next().unwrap().path()
}

fn layers_share_and_no_guest_sees_it(world: &World) {
    layers_share(world, "ext4");
}

fn layers_share_on_xfs(world: &World) {
    layers_share(world, "xfs");
}

fn layers_share_on_btrfs(world: &World) {
    layers_share(world, "btrfs");
}

/// Where overlayfs finds the content of a file of a stopped guest, by the marks of its layers; `None` for one that has
/// it itself.
fn redirect(place: &Place<'_>, guest: &str, path: &str) -> Option<String> {
    let list = fs::read_to_string(place.root.join(format!("guests/{guest}/files.json"))).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    for below in list["below"].as_array().unwrap() {
        let Some(id) = below.as_str().unwrap().strip_prefix("unified:") else { continue };
        let Ok(file) = File::open(place.root.join("layers").join(id).join("root").join(path)) else { continue };
        if let Ok(to) = sys::file::xattr(&file, c"trusted.overlay.redirect") {
            return Some(String::from_utf8(to).unwrap());
        }
    }
    None
}

fn only_what_is_equal_is_shared(world: &World) {
    let place = Place::here(world);
    let names = ["a", "b"];
    guests(&place, &names, "storage = \"overlay\"");
    let time = "touch -d '2020-01-01 00:00:07' /opt/lib/*";
    for (name, byte) in [("a", "x"), ("b", "y")] {
        place.sh(name, &format!("cd /opt/lib; yes {byte} | head -c 50000 >content; yes same | tee mode owner attr caps >/dev/null & sleep 0; \
            kill $! 2>/dev/null; for f in mode owner attr caps; do yes same | head -c 50000 >$f; done; {time}"));
    }
    place.sh("a", "chmod 755 /opt/lib/mode; chown 5:5 /opt/lib/owner");
    place.ok(&["stop", "a", "b"]);
    // As the guest's root could: on the layer, from outside.
    let layout = Layout::at(place.root.clone());
    for (name, value) in [("a", b"1"), ("b", b"2")] {
        let inside = files::open(&layout, &name.parse().unwrap(), Access::Write).unwrap();
        let file = inside.open_file(Path::new("/opt/lib/attr")).unwrap();
        sys::file::set_xattr(&file, c"user.test", value).unwrap();
        drop(inside);
    }
    let inside = files::open(&layout, &"a".parse().unwrap(), Access::Write).unwrap();
    let caps = inside.open_file(Path::new("/opt/lib/caps")).unwrap();
    // `struct vfs_cap_data`, revision 2, effective: CAP_NET_RAW.
    let data = [0x0200_0001_u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    sys::file::set_xattr(&caps, c"security.capability", &data).unwrap();
    drop((caps, inside));
    let before: Vec<_> = names.iter().map(|name| seen(&place, name)).collect();
    report(&place, &[]);
    for (name, before) in names.iter().zip(&before) {
        unchanged(&place, name, before);
    }
    let both = |path: &str| (redirect(&place, "a", path), redirect(&place, "b", path));
    for path in ["content", "mode", "owner", "attr", "caps"] {
        let (a, b) = both(&format!("opt/lib/{path}"));
        assert!(a.is_some() && b.is_some() && a != b, "{path}: {a:?} {b:?}");
    }
    // And two that are equal but for their time.
    let (a, b) = both("opt/lib/f6");
    assert!(a.is_some() && a == b, "{a:?} {b:?}");
    // What is left out has its content itself, unless it is asked for.
    assert_eq!(both("etc/left"), (None, None));
    assert_eq!(both("opt/lib/holes"), (None, None));
    place.destroy(&names);
    guests(&place, &names, "storage = \"overlay\"");
    place.ok(&["stop", "a", "b"]);
    report(&place, &["--include", "/etc/left", "--exclude", "/opt/lib/deep"]);
    let (a, b) = both("etc/left");
    assert!(a.is_some() && a == b, "{a:?} {b:?}");
    assert_eq!(both("opt/lib/deep/copy"), (None, None));
    place.run(&["unify", "--include", "etc"]).code(2).stderr_has("`etc` is no path of a guest");
    place.destroy(&names);
}

fn what_one_guest_writes_no_other_sees(world: &World) {
    let place = Place::here(world);
    let names = ["a", "b", "c"];
    guests(&place, &names, "storage = \"overlay\"");
    place.ok(&["stop", "a", "b", "c"]);
    report(&place, &[]);
    let before: Vec<_> = names.iter().map(|name| seen(&place, name)).collect();
    place.ok(&["start", "a"]);
    place.sh(
        "a",
        "cd /opt/lib; echo more >>f0; chmod 600 f1; chown 9:9 f4; : >f5; mv f6 moved; mv deep elsewhere; rm f7; ln f8 f8b; echo new >f8; touch f9; \
         dd if=/dev/zero of=f10 bs=1 count=1 conv=notrunc 2>/dev/null; test \"$(wc -c <elsewhere/copy)\" = 60000; test \"$(wc -c <moved)\" = 60000; test \"$(head -1 f1)\" = 1",
    );
    place.ok(&["stop", "a"]);
    unchanged(&place, "b", &before[1]);
    unchanged(&place, "c", &before[2]);
    // What it has written is not undone, and shared again with who has done the same.
    let changed = seen(&place, "a");
    assert_ne!(changed, before[0]);
    for name in ["b", "c"] {
        place.ok(&["start", name]);
        place.sh(name, "cd /opt/lib; mkdir new; yes new | head -c 400000 >new/file; chmod 600 f1");
        place.ok(&["stop", name]);
    }
    let written = [seen(&place, "b"), seen(&place, "c")];
    let again = report(&place, &[]);
    assert!(number(&again, "saved") >= 400_000, "{again}");
    unchanged(&place, "a", &changed);
    unchanged(&place, "b", &written[0]);
    unchanged(&place, "c", &written[1]);
    place.destroy(&names);
}

/// The pages of a file that one guest has read are there for another, which never read it.
fn a_library_is_in_memory_once(world: &World) {
    let place = Place::here(world);
    let names = ["a", "b", "c"];
    guests(&place, &names, "storage = \"overlay\"");
    place.ok(&["stop", "a", "b", "c"]);
    report(&place, &[]);
    place.ok(&["start", "a", "b", "c"]);
    let pid = |name: &str| {
        let status: Value = serde_json::from_str(&place.ok(&["status", name, "--json"]).stdout).unwrap();
        status.as_array().map_or(&status, |all| &all[0])["pid"].as_i64().unwrap()
    };
    let resident = |name: &str, file: &str| {
        let path = format!("/proc/{}/root/opt/lib/{file}", pid(name));
        let told = tool("fincore", ["--bytes", "--noheadings", "--output", "RES", &path]).ok();
        told.stdout.trim().parse::<u64>().unwrap()
    };
    for file in ["f11", "own"] {
        for name in names {
            let path = format!("/proc/{}/root/opt/lib/{file}", pid(name));
            tool("dd", [&format!("if={path}"), "iflag=nocache", "count=0", "status=none"]).ok();
        }
    }
    for name in names {
        assert_eq!(resident(name, "f11"), 0, "{name}");
    }
    place.sh("a", "cat /opt/lib/f11 >/dev/null");
    for name in names {
        assert!(resident(name, "f11") >= 60_000, "{name}");
    }
    place.ok(&["stop", "a", "b", "c"]);
    place.destroy(&names);
}

fn running_guests_of_layers_are_left_by_name(world: &World) {
    let place = Place::here(world);
    guests(&place, &["a", "b", "c"], "storage = \"overlay\"");
    place.ok(&["stop", "a", "b"]);
    let told = place.ok(&["unify"]);
    told.stdout_has("c was left: it runs, and layers that are mounted must not change");
    place.run(&["unify", "nobody"]).code(1).stderr_has("nobody");
    let told = place.ok(&["unify", "c", "--undo"]);
    told.stdout_has("c was left: it runs");
    place.sh("c", "cat /opt/lib/f1 >/dev/null");
    place.ok(&["stop", "c"]);
    let late = report(&place, &["c"]);
    assert!(number(&late, "saved") > 1_000_000, "what is in the store is shared with a guest that comes later: {late}");
    place.destroy(&["a", "b", "c"]);
}

fn snapshots_and_clones_of_unified_guests(world: &World) {
    let place = Place::here(world);
    guests(&place, &["a", "b"], "storage = \"overlay\"");
    place.ok(&["stop", "a", "b"]);
    place.ok(&["snapshot", "a", "--name", "first"]);
    let before = seen(&place, "a");
    let done = report(&place, &[]);
    assert!(number(&done, "saved") > 1_000_000, "{done}");
    unchanged(&place, "a", &before);
    // A clone of what is unified, of a stopped guest and a running one; each written to, and unified again.
    place.ok(&["clone", "a", "x"]);
    place.ok(&["start", "a"]);
    place.sh("a", "yes two | head -c 300000 >/opt/lib/two; chmod 600 /opt/lib/f0; rm -r /opt/lib/deep");
    place.ok(&["clone", "a", "y"]);
    place.ok(&["stop", "a"]);
    let (x, y) = (seen(&place, "x"), seen(&place, "y"));
    report(&place, &[]);
    unchanged(&place, "x", &x);
    unchanged(&place, "y", &y);
    let opt = |all: &BTreeMap<PathBuf, String>| all.iter().filter(|(path, _)| path.starts_with("opt")).map(|(p, t)| (p.clone(), t.clone())).collect::<BTreeMap<_, _>>();
    assert_eq!(opt(&x), opt(&before));
    place.ok(&["rollback", "a", "first"]);
    unchanged(&place, "a", &before);
    // Into a tree and back, out into an archive.
    place.ok(&["convert", "b", "--to", "dir"]);
    place.ok(&["start", "b"]);
    place.sh("b", "test \"$(stat -c '%a %u %h' /opt/lib/f3)\" = '644 0 2'; test -u /opt/lib/f1");
    let archive = world.dir.join("y.tar");
    place.ok(&["export", "y", "-o", archive.to_str().unwrap()]);
    place.ok(&["destroy", "--force", "y"]);
    place.ok(&["import", archive.to_str().unwrap()]);
    assert_eq!(opt(&seen(&place, "y")).len(), opt(&y).len());
    place.destroy(&["a", "b", "x", "y"]);
}

fn undo_gives_each_its_own(world: &World) {
    let place = Place::here(world);
    let names = ["a", "b"];
    guests(&place, &names, "storage = \"overlay\"");
    place.ok(&["stop", "a", "b"]);
    let whole = occupied(&place);
    let before: Vec<_> = names.iter().map(|name| seen(&place, name)).collect();
    report(&place, &[]);
    // What is metadata alone by its own doing must find its content afterwards.
    place.ok(&["start", "a"]);
    place.sh("a", "chmod 600 /opt/lib/f0; mv /opt/lib/f0 /opt/lib/g0");
    place.ok(&["stop", "a"]);
    let changed = seen(&place, "a");
    place.ok(&["unify", "--undo"]).stdout_has("undone");
    unchanged(&place, "a", &changed);
    unchanged(&place, "b", &before[1]);
    assert!(occupied(&place) >= whole, "{whole}");
    assert_eq!(fs::read_dir(stored(&place)).unwrap().count(), 0);
    place.ok(&["unify", "--undo"]).stdout_has("unchanged");
    let again = report(&place, &[]);
    assert!(number(&again, "saved") > 1_000_000, "{again}");
    unchanged(&place, "a", &changed);
    unchanged(&place, "b", &before[1]);
    place.destroy(&names);
}

fn a_script_unifies(world: &World) {
    let place = Place::here(world);
    guests(&place, &["a", "b"], "storage = \"overlay\"");
    place.ok(&["stop", "a", "b"]);
    let script = r#"
local hostel = require "hostel"
local dry = assert(hostel.unify { dry_run = true, exclude = { "/opt/lib/deep" } })
local done = assert(hostel.unify { guests = { "a", "b" }, exclude = { "/opt/lib/deep" } })
print(dry.dry_run, dry.saved == done.saved, done.saved > 1000000, done.guests[1].guest, done.guests[1].outcome)
print(hostel.unify { guests = { "nobody" } })
print(assert(hostel.unify { undo = true }).guests[2].outcome)
"#;
    let file = world.file("script.lua", script);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let out = place.ok(&["run", file.to_str().unwrap()]).stdout;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "true\ttrue\ttrue\ta\tunified", "{out}");
    assert!(lines[1].starts_with("nil") && lines[1].contains("nobody"), "{out}");
    assert_eq!(lines[2], "undone", "{out}");
    place.destroy(&["a", "b"]);
}

fn running_trees(world: &World, kind: &str, storage: &str) {
    let place = Place::on(world, kind);
    let names = ["a", "b", "c"];
    guests(&place, &names, &format!("storage = \"{storage}\""));
    for name in names {
        place.sh(name, "cd /opt/lib; yes small | head -c 3000 >small; echo x >tiny");
        // Where its path, size, mode and owner promise what is not so: of another content, or with an attribute.
        place.sh(name, "cd /opt/lib; yes $(hostname | tr abc 122) | head -c 50000 >guess; yes attribute | head -c 50000 >marked");
    }
    let mark = "import os, sys; os.setxattr(sys.argv[1], 'user.mark', b'b'); os.setxattr(sys.argv[2], 'user.mark', b'b')";
    let marked = ["b", "c"].map(|name| place.root.join(format!("guests/{name}/rootfs/opt/lib/marked")));
    tool("python3", ["-c".as_ref(), mark.as_ref(), marked[0].as_os_str(), marked[1].as_os_str()]).ok();
    // Written to the disk, so that it is known where.
    let volume = File::open(&place.root).unwrap();
    nix::unistd::syncfs(&volume).unwrap();
    let before: Vec<_> = names.iter().map(|name| place.fingerprint(name)).collect();
    let done = report(&place, &[]);
    assert!(number(&done, "files") >= 46, "{done}");
    let small = report(&place, &["--min-size", "1", "--jobs", "1"]);
    assert!(number(&small, "files") >= 2, "{small}");
    for (name, before) in names.iter().zip(&before) {
        same(&place.fingerprint(name), before, name);
    }
    let extents = |name: &str, file: &str| {
        let path = place.root.join(format!("guests/{name}/rootfs/opt/lib/{file}"));
        sys::file::extents(File::open(path).unwrap()).unwrap().unwrap()
    };
    // What is smaller lies with its inode on btrfs.
    for file in ["f0", "f1", "f23", "small"].into_iter().chain((kind == "xfs").then_some("tiny")) {
        assert_eq!(extents("a", file), extents("b", file), "{file}");
        assert_eq!(extents("a", file), extents("c", file), "{file}");
    }
    for file in ["guess", "marked"] {
        assert_ne!(extents("a", file), extents("b", file), "{file}");
        assert_eq!(extents("b", file), extents("c", file), "{file}");
    }
    // What was written just now is read again: its time cannot tell yet.
    let is_remembered = || {
        let again = report(&place, &["--min-size", "1"]);
        assert_eq!(number(&again, "saved"), 0, "{again}");
        number(&again, "read") == 0
    };
    assert!(eventually(Duration::from_secs(10), is_remembered), "nothing is remembered");
    let again = report(&place, &["--min-size", "1"]);
    assert_eq!((number(&again, "read"), number(&again, "saved")), (0, 0), "{again}");
    let other = place.fingerprint("b");
    place.sh("a", "cd /opt/lib; dd if=/dev/zero of=f0 bs=1 count=1 conv=notrunc 2>/dev/null; echo x >>f1; rm f2");
    same(&place.fingerprint("b"), &other, "b");
    place.ok(&["unify", "a", "--undo"]).stdout_has("a was left: it runs, and its files are to be copied");
    let changed = place.fingerprint("a");
    place.ok(&["stop", "a"]);
    place.ok(&["unify", "a", "--undo"]).stdout_has("undone");
    assert_ne!(extents("a", "f5"), extents("b", "f5"));
    place.ok(&["start", "a"]);
    same(&place.fingerprint("a"), &changed, "undo");
    place.destroy(&names);
}

fn running_trees_share_extents_on_btrfs(world: &World) {
    running_trees(world, "btrfs", "btrfs");
}

fn running_trees_share_extents_on_xfs(world: &World) {
    running_trees(world, "xfs", "reflink");
}

/// And what is equal is found all the same, whoever of two brings it.
fn guests_that_have_not_run_since_are_not_looked_at(world: &World) {
    let place = Place::on(world, "xfs");
    let names = ["a", "b", "c"];
    guests(&place, &names, "storage = \"reflink\"");
    let with = |name: &str, script: &str| {
        place.ok(&["start", name]);
        place.sh(name, script);
        place.ok(&["stop", name]);
    };
    let idle = |args: &[&str]| number(&report(&place, args), "idle");
    // What was written just now is looked at again: its time cannot tell yet.
    let settled = |count| eventually(Duration::from_secs(10), || idle(&[]) == count);
    assert_eq!(idle(&[]), 0);
    assert_eq!(idle(&[]), 0, "they run");
    place.ok(&["stop", "a", "b", "c"]);
    assert!(settled(3), "nothing is remembered");
    let again = report(&place, &[]);
    assert_eq!((number(&again, "looked_at"), number(&again, "saved"), number(&again, "idle")), (0, 0, 3), "{again}");
    place.ok(&["unify"]).stdout_has("3 guests have not run since the last time, and were not looked at");

    with("a", "yes new | head -c 70000 >/opt/lib/new");
    let one = report(&place, &[]);
    assert!(number(&one, "looked_at") > 20 && number(&one, "saved") == 0 && number(&one, "idle") == 2, "{one}");
    assert!(settled(3), "the one that ran");
    with("b", "yes new | head -c 70000 >/opt/lib/new2");
    let both = report(&place, &[]);
    assert_eq!((number(&both, "files"), number(&both, "idle")), (1, 0), "{both}");
    let extents = |path: &str| sys::file::extents(File::open(place.root.join("guests").join(path)).unwrap()).unwrap().unwrap();
    assert_eq!(extents("a/rootfs/opt/lib/new"), extents("b/rootfs/opt/lib/new2"));
    assert!(settled(3));

    // Other files take part; all is to be looked at; only some guests are; one has another tree.
    assert_eq!((idle(&["--include", "/etc"]), idle(&["--full"])), (0, 0));
    assert!(settled(3));
    let script = r#"
local hostel = require "hostel"
local all = assert(hostel.unify { dry_run = true, full = true, min_size = 1 })
local large = assert(hostel.unify { dry_run = true, full = true, min_size = "65K" })
print(all.idle, large.idle, all.looked_at > large.looked_at, large.looked_at > 0)
"#;
    let file = world.file("script.lua", script);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    place.ok(&["run", file.to_str().unwrap()]).stdout("0\t0\ttrue\ttrue\n");
    assert_eq!(idle(&["a", "b"]), 2);
    place.ok(&["unify", "c", "--undo"]);
    let anew = report(&place, &[]);
    assert!(number(&anew, "idle") < 3 && number(&anew, "files") > 20, "{anew}");
    assert!(settled(3));
    place.ok(&["snapshot", "a", "--name", "one"]);
    place.ok(&["rollback", "a", "one"]);
    assert!(idle(&[]) < 3);
    place.destroy(&names);
}

fn trees_that_cannot_share_are_left_by_name(world: &World) {
    let place = Place::on(world, "ext4");
    guests(&place, &["a", "b"], "storage = \"dir\"");
    let told = place.ok(&["unify"]).stdout_has("a was left: this file system cannot share extents between files");
    assert!(told.stdout.contains("`hostel convert GUEST --to overlay`"), "{told}");
    place.destroy(&["a", "b"]);
}

/// FIFOs, devices' names, a terabyte of nothing, a directory that is a link every other moment, files that grow.
fn a_hostile_tree_is_unified_within_itself(world: &World) {
    let canary = world.dir.join("canary");
    fs::create_dir_all(canary.join("lib")).unwrap();
    fs::write(canary.join("lib/f0"), vec![b'0'; 60_000]).unwrap();
    let state = || tool("sh", ["-c", "cd \"$0\" && find . | xargs stat -c '%n %i %Y %Z %s %h' && cat lib/*", canary.to_str().unwrap()]).ok().stdout;
    let before = state();
    let place = Place::on(world, "xfs");
    guests(&place, &["evil", "good"], "storage = \"reflink\"");
    let to = canary.display();
    place.sh(
        "evil",
        &format!(
            "mkdir /opt/swap /opt/huge; cp -a /opt/lib /opt/swap/lib; mkfifo /opt/lib/fifo; truncate -s 1T /opt/huge/sparse 2>/dev/null || dd if=/dev/zero of=/opt/huge/sparse bs=1 count=1 seek=1099511627775 2>/dev/null; \
             ln -s {to} /opt/away; n=0; d=/opt/lib/n; while [ $n -lt 220 ]; do d=$d/n; n=$((n+1)); done; mkdir -p $d; cp /opt/lib/f0 $d/f0; \
             mkdir -p /var/lib/dpkg; ln -s {to}/lib/f0 /var/lib/dpkg/status; \
             (while :; do mv /opt/swap/lib /opt/swap/kept; ln -s {to}/lib /opt/swap/lib; rm /opt/swap/lib; mv /opt/swap/kept /opt/swap/lib; done >/dev/null 2>&1 &) ; \
             (while :; do yes 0 | head -c 60000 >>/opt/huge/grows; yes 1 | head -c 60000 >/opt/huge/grows; done >/dev/null 2>&1 &)"
        ),
    );
    let good = place.fingerprint("good");
    for _ in 0..5 {
        let done = report(&place, &[]);
        assert_eq!(done["guests"][0]["guest"], "evil", "{done}");
    }
    assert_eq!(place.fingerprint("good"), good);
    assert_eq!(state(), before);
    place.destroy(&["evil", "good"]);
}

/// As apt does it, with a package that is made here.
fn an_upgrade_of_one_of_ten_changes_none_of_the_nine(world: &World) {
    let _images = world.share_images();
    let place = Place::here(world);
    let package = |version: &str, byte: &str| {
        let dir = world.dir.join(format!("tool-{version}"));
        fs::create_dir_all(dir.join("DEBIAN")).unwrap();
        fs::create_dir_all(dir.join("usr/lib/tool")).unwrap();
        fs::create_dir_all(dir.join("opt/tool")).unwrap();
        let control = format!("Package: tool\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.net>\nDescription: x\n");
        fs::write(dir.join("DEBIAN/control"), control).unwrap();
        fs::write(dir.join("DEBIAN/conffiles"), "/opt/tool/conf\n").unwrap();
        fs::write(dir.join("opt/tool/conf"), byte.repeat(40_000)).unwrap();
        for n in 0..20 {
            fs::write(dir.join(format!("usr/lib/tool/f{n}")), format!("{byte}{n}").repeat(30_000)).unwrap();
        }
        let file = world.dir.join(format!("tool-{version}.deb"));
        tool("dpkg-deb", ["--build", "--root-owner-group", dir.to_str().unwrap(), file.to_str().unwrap()]).ok();
        fs::read(file).unwrap()
    };
    let (old, new) = (package("1", "a"), package("2", "b"));
    let text = format!("guest \"g0\" {{ image = \"debian:bookworm\", xid = {}, storage = \"overlay\" }}\n", world.xid(0));
    let file = world.file("g0.lua", &text);
    world.hostel(["apply".as_ref(), file.as_os_str()]).deadline(120).ok();
    let names: Vec<String> = (0..10).map(|n| format!("g{n}")).collect();
    place.ok(&["stop", "g0"]);
    place.ok(&["clone", "g0", "g1", "--count", "9"]);
    let install = |name: &str, deb: &[u8]| {
        let layout = Layout::at(place.root.clone());
        let inside = files::open(&layout, &name.parse().unwrap(), Access::Write).unwrap();
        inside.write_file(Path::new("/root/tool.deb"), deb, 0o644, 0, 0).unwrap();
        drop(inside);
        place.ok(&["start", name]);
        place.sh(name, "dpkg -i /root/tool.deb >/dev/null; rm /root/tool.deb; dpkg --verify tool");
        place.ok(&["stop", name]);
    };
    for name in &names {
        install(name, &old);
    }
    let before: Vec<_> = names.iter().map(|name| seen(&place, name)).collect();
    let done = report(&place, &[]);
    assert!(number(&done, "saved") >= 9 * 20 * 60_000, "{done}");
    for (name, before) in names.iter().zip(&before) {
        unchanged_but_for_names(&place, name, before);
    }
    let conf = redirect(&place, "g1", "opt/tool/conf");
    assert_eq!(conf, None, "a file that is configured is left alone");
    install("g0", &new);
    for (name, before) in names.iter().zip(&before).skip(1) {
        unchanged_but_for_names(&place, name, before);
    }
    // The others follow, and the next run shares what all have now.
    for name in &names[1..] {
        install(name, &new);
    }
    let before: Vec<_> = names.iter().map(|name| seen(&place, name)).collect();
    let again = report(&place, &[]);
    assert!(number(&again, "saved") >= 9 * 20 * 60_000, "{again}");
    for (name, before) in names.iter().zip(&before) {
        unchanged_but_for_names(&place, name, before);
    }
    place.ok(&["start", "g7"]);
    place.sh("g7", "dpkg --verify tool; test \"$(head -c 2 /usr/lib/tool/f0)\" = b0");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    place.destroy(&names);
}
