//! A guest as one file: what comes out is what went in, on another file system and with other ids; what is hostile or
//! damaged is refused whole.

use std::fs;
use std::path::Path;

use crate::support::{DUMP, Place, World, same, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs"), Filesystem("ext4"), Tool("python3"), Tool("zstd")] within 180 =>
        a_guest_of_btrfs_is_the_same_on_ext4,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] => a_running_guest_goes_through_a_pipe,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3"), Tool("gzip")] => a_script_exports_and_imports,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3"), Tool("tar"), Tool("gzip"), Tool("xz"), Tool("zstd")] => other_tools_read_it,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] within 120 => what_is_damaged_is_refused_whole,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] within 120 => hostile_archives_touch_nothing,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] => what_opens_the_host_is_taken_on_trust_alone,
}

fn a_guest_of_btrfs_is_the_same_on_ext4(world: &World) {
    let (from, to) = (Place::on(world, "btrfs"), Place::on(world, "ext4"));
    let before = from.full("web", "hostname = \"web.example.net\", limits = { nofile = 99 }");
    let file = world.dir.join("web.tar.zst");
    let file = file.to_str().unwrap();
    from.ok(&["export", "web", "-o", file]).stderr("").stdout_has("exported web: ");
    same(&from.dump("web"), &before, "export changed it");
    from.run(&["export", "web", "-o", file]).code(1).stderr_has("is there already");
    from.ok(&["export", "web", "-o", file, "--force"]);
    let size = fs::metadata(file).unwrap().len();
    assert!(size < 5_000_000, "{size}: the holes are in it");
    let xid = world.xid(7).to_string();
    to.ok(&["import", file, "--xid", &xid]).stdout("imported web\n").stderr("");
    same(&to.dump("web"), &before, "import");
    let left: Vec<_> = fs::read_dir(&world.dir).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().contains("tar")).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    // It starts there, as the same server.
    to.ok(&["start", "web"]);
    to.ok(&["exec", "web", "-T", "--", "sh", "-c", "hostname; cat /etc/hostname; ulimit -n; stat -c '%a %u %g' /srv/data"])
        .stdout("web.example.net\nweb.example.net\n99\n4751 1000 1001\n");
    to.run(&["import", file]).code(1).stderr_has("guest `web` is there already");
    for storage in ["overlay", "dir"] {
        to.ok(&["import", file, "--name", "other", "--storage", storage]).stdout("imported other\n");
        to.ok(&["start", "other"]);
        to.ok(&["exec", "other", "-T", "--", "sh", "-c", "stat -c '%a %u %g %h' /srv/data; cat /srv/d/*/*/deep"]).stdout("4751 1000 1001 2\ndeep");
        to.ok(&["destroy", "--force", "other"]);
    }
    to.ok(&["destroy", "--force", "web"]);
    from.ok(&["destroy", "web"]);
    to.is_empty();
}

fn a_running_guest_goes_through_a_pipe(world: &World) {
    let place = Place::here(world);
    for storage in ["overlay", "dir"] {
        let text = format!("guest \"web\" {{ image = \"busybox\", xid = {}, storage = \"{storage}\" }}\n", world.xid(0));
        let file = world.file("web.lua", &text);
        place.ok(&["apply", file.to_str().unwrap()]);
        place.ok(&["exec", "web", "-T", "--", "sh", "-c", "echo live >/srv/data; rm /bin/vi"]);
        let binary = crate::support::binary();
        let line = format!("{0} export web | {0} import - --name copy --storage dir", binary.display());
        world.within(tool("sh", ["-c", &line])).deadline(60).ok().stdout("imported copy\n").stderr("");
        let line = format!("{0} export web --compress gzip | {0} import - --name packed --storage dir", binary.display());
        world.within(tool("sh", ["-c", &line])).deadline(60).ok().stdout("imported packed\n").stderr("");
        // It has gone on.
        place.ok(&["exec", "web", "-T", "--", "true"]);
        for copy in ["copy", "packed"] {
            assert_eq!(fs::read_to_string(place.rootfs(copy).join("srv/data")).unwrap(), "live\n");
            assert!(fs::symlink_metadata(place.rootfs(copy).join("bin/vi")).is_err());
        }
        place.ok(&["destroy", "--force", "web", "copy", "packed"]);
        place.ok(&["gc"]).stdout("");
        place.is_empty();
    }
}

fn a_script_exports_and_imports(world: &World) {
    let place = Place::here(world);
    let before = place.full("web", "storage = \"dir\"");
    let file = world.dir.join("web.tar.gz");
    let script = format!(
        "local hostel = require \"hostel\"\nlocal g, file = assert(hostel.guest \"web\"), \"{}\"\n\
         print(g:export(file) > 100, (pcall(g.export, g, file)), g:export(file, {{ force = true, compress = \"gzip\" }}) > 100)\n\
         local copy = assert(hostel.import(file, {{ name = \"copy\", storage = \"dir\", trust = true }}))\n\
         print(copy.name, (pcall(hostel.import, file)), (hostel.import \"/nowhere.tar\"))\n",
        file.display()
    );
    let script = world.file("script.lua", &script);
    place.ok(&["run", script.to_str().unwrap()]).stdout("true\tfalse\ttrue\ncopy\tfalse\tnil\n");
    same(&place.dump("copy"), &before, "import");
    place.ok(&["destroy", "web", "copy"]);
}

fn other_tools_read_it(world: &World) {
    let place = Place::here(world);
    let before = place.full("web", "storage = \"dir\"");
    for (name, magic) in [("web.tar", &b"mani"[..]), ("web.tar.gz", b"\x1f\x8b"), ("web.tar.xz", b"\xfd7zX"), ("web.tar.zst", b"\x28\xb5\x2f\xfd")] {
        let file = world.dir.join(name);
        place.ok(&["export", "web", "-o", file.to_str().unwrap()]);
        assert!(fs::read(&file).unwrap().starts_with(magic), "{name}");
        let out = world.dir.join("out");
        fs::create_dir(&out).unwrap();
        tool("tar", ["-xf", file.to_str().unwrap(), "--xattrs", "--xattrs-include=*", "-p", "--numeric-owner", "-C", out.to_str().unwrap()]).ok();
        let there = tool("python3", ["-c", DUMP, out.join("rootfs").to_str().unwrap()]).ok().stdout;
        // GNU tar keeps ACLs in records of its own, and takes no value with a line end.
        let without = |text: &str| text.lines().filter(|l| !["/acl'", "/data'", "/twin'"].iter().any(|name| l.contains(name))).collect::<Vec<_>>().join("\n");
        same(&without(&there), &without(&before), name);
        fs::remove_dir_all(&out).unwrap();
        place.ok(&["import", file.to_str().unwrap(), "--name", "again", "--storage", "dir"]);
        same(&place.dump("again"), &before, name);
        place.ok(&["destroy", "again"]);
    }
    place.ok(&["destroy", "web"]);
    place.is_empty();
}

fn what_is_damaged_is_refused_whole(world: &World) {
    let place = Place::here(world);
    place.full("web", "storage = \"dir\"");
    let file = world.dir.join("web.tar");
    place.ok(&["export", "web", "-o", file.to_str().unwrap()]);
    place.ok(&["destroy", "web"]);
    let whole = fs::read(&file).unwrap();
    let bad = world.dir.join("bad.tar");
    let refused = |bytes: &[u8], why: &str| {
        fs::write(&bad, bytes).unwrap();
        let out = place.run(&["import", bad.to_str().unwrap()]).code(1);
        assert!(out.stderr.contains(why), "{why}: {out}");
        place.is_empty();
    };
    // A byte of the content of the busybox, in the middle.
    let mut other = whole.clone();
    let elf = whole.windows(4).position(|w| w == b"\x7fELF").unwrap();
    other[elf + 100_000] ^= 1;
    refused(&other, "its checksum is another");
    refused(&whole[..whole.len() / 2], "bad.tar");
    refused(&whole[..1000], "is cut off");
    refused(b"", "is no archive of a guest");
    refused(&[0; 10_240], "is no archive of a guest");
    let checksum = whole.windows(9).rposition(|w| w == b"checksum\0").unwrap();
    let mut without = whole[..checksum].to_vec();
    without.resize(checksum + 1024, 0);
    refused(&without, "it has no checksum");
    let mut longer = whole[..checksum + 1024].to_vec();
    longer.extend_from_slice(&whole[..1024]);
    longer.extend([0; 1024]);
    refused(&longer, "behind its checksum");
    let text = String::from_utf8_lossy(&whole[512..4096]).replace("\"format\": 1", "\"format\": 9");
    let mut newer = whole.clone();
    newer[512..512 + 64].copy_from_slice(&text.as_bytes()[..64]);
    refused(&newer, "has the format 9, and this hostel knows 1");
}

/// Makes an archive with a sound manifest and checksum, and whatever else the script says.
const HOSTILE: &str = r#"
import sys,tarfile,io,hashlib,json
out,what,canary=sys.argv[1:4]
manifest=json.dumps({"format":1,"hostel":"0.1.0","created":"x","storage":"dir","spec":{"name":"evil","image":"busybox"}}).encode()
buf=io.BytesIO(); t=tarfile.open(fileobj=buf,mode='w',format=tarfile.GNU_FORMAT)
def add(name,kind=tarfile.REGTYPE,data=b'',link='',uid=0,mode=0o644,dev=(0,0)):
    i=tarfile.TarInfo(name); i.type=kind; i.size=len(data); i.linkname=link; i.uid=uid; i.mode=mode; i.devmajor,i.devminor=dev
    t.addfile(i,io.BytesIO(data))
add('manifest.json',data=manifest); add('rootfs',tarfile.DIRTYPE,mode=0o755)
if what=='climb': add('rootfs/../../../../..'+canary+'/new',data=b'x')
if what=='absolute': add(canary+'/new',data=b'x')
if what=='beside': add('elsewhere/new',data=b'x')
if what=='hard': add('rootfs/a',tarfile.LNKTYPE,link=canary+'/file')
if what=='hardup': add('rootfs/a',tarfile.LNKTYPE,link='rootfs/../../../../../../..'+canary+'/file')
if what=='through':
    add('rootfs/a',tarfile.SYMTYPE,link=canary); add('rootfs/a/new',data=b'x')
if what=='dots':
    add('rootfs/a',tarfile.SYMTYPE,link='../../../../../../../..'+canary); add('rootfs/a/file',data=b'x')
if what=='root': add('rootfs',tarfile.SYMTYPE,link=canary); add('rootfs/new',data=b'x')
if what=='id': add('rootfs/a',uid=70000)
if what=='device': add('rootfs/disk',tarfile.BLKTYPE,dev=(8,0)); add('rootfs/etc',tarfile.DIRTYPE)
if what=='twice':
    add('rootfs/a',data=b'one'); add('rootfs/a',tarfile.SYMTYPE,link=canary+'/file'); add('rootfs/a',data=b'two')
if what=='manifest': add('manifest.json',data=manifest)
at=buf.tell() if False else t.offset
t.fileobj.flush()
sum=hashlib.sha256(buf.getvalue()[:t.offset]).hexdigest()
add('checksum',data=sum.encode()+b'\n'); t.close()
open(out,'wb').write(buf.getvalue())
"#;

fn hostile_archives_touch_nothing(world: &World) {
    let place = Place::here(world);
    let canary = world.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "host\n").unwrap();
    let state = |dir: &Path| tool("sh", ["-c", "cd \"$0\" && stat -c '%n %i %h %a %u %Y %Z %s' . * && cat *", dir.to_str().unwrap()]).ok().stdout;
    let before = state(&canary);
    place.ok(&["ls"]);
    let out = world.dir.join("evil.tar");
    let out = out.to_str().unwrap();
    for (what, refused) in [
        ("climb", Some("has `..` in it")),
        ("absolute", Some("is an absolute name")),
        ("beside", Some("is not below `rootfs`")),
        ("hard", Some("is an absolute name")),
        ("hardup", Some("has `..` in it")),
        ("id", Some("belongs to the id 70000")),
        ("manifest", Some("is not below `rootfs`")),
        ("through", None),
        ("dots", None),
        ("root", None),
        ("device", None),
        ("twice", None),
    ] {
        tool("python3", ["-c", HOSTILE, out, what, canary.to_str().unwrap()]).ok();
        for storage in ["dir", "overlay"] {
            let run = place.run(&["import", out, "--storage", storage]);
            match refused {
                Some(why) => assert!(run.status == 1 && run.stderr.contains(why), "{what}: {run}"),
                // Refused or contained: then there is a guest.
                None => assert!(run.status <= 1, "{what}: {run}"),
            }
            if run.status == 0 {
                if what == "device" {
                    assert!(run.stderr.contains("1 device nodes"), "{run}");
                }
                place.ok(&["destroy", "evil"]);
            }
            place.ok(&["gc"]);
            place.is_empty();
            assert_eq!(state(&canary), before, "{what}");
        }
    }
}

fn what_opens_the_host_is_taken_on_trust_alone(world: &World) {
    let place = Place::here(world);
    let text = format!(
        "guest \"web\" {{ image = \"busybox\", xid = {}, storage = \"dir\", mounts = {{ {{ source = \"/etc\", target = \"/host\" }} }},\n  \
         net = {{ mode = \"private\", address = \"10.99.0.2/24\" }}, caps = {{ keep = {{ \"net_raw\" }} }}, allow = {{ \"keyring\" }}, env = {{ A = \"b\" }} }}\n",
        world.xid(0)
    );
    let file = world.file("web.lua", &text);
    place.ok(&["build", file.to_str().unwrap()]);
    let archive = world.dir.join("web.tar");
    let archive = archive.to_str().unwrap();
    place.ok(&["export", "web", "-o", archive]);
    let spec = |name: &str| fs::read_to_string(place.root.join("guests").join(name).join("spec.json")).unwrap();
    let import = place.ok(&["import", archive, "--name", "two", "--storage", "dir"]);
    assert!(import.stderr.contains("because it opens the host: mounts, net, caps, allow; `--trust` takes it"), "{import}");
    let two = spec("two");
    assert!(!two.contains("/etc\"") && !two.contains("net_raw") && !two.contains("keyring") && two.contains("\"A\""), "{two}");
    place.ok(&["import", archive, "--name", "three", "--storage", "dir", "--trust"]).stderr("");
    let three = spec("three");
    assert!(three.contains("/etc\"") && three.contains("net_raw") && three.contains("keyring"), "{three}");
    place.ok(&["destroy", "web", "two", "three"]);
}
