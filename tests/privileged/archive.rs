//! A guest as one file: what comes out is what went in, on another file system and with other ids; what is hostile or
//! damaged is refused whole.

use std::fs;
use std::path::Path;

use crate::support::{DUMP, FILL, Place, World, same, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs"), Filesystem("ext4"), Tool("python3"), Tool("zstd")] within 180 =>
        a_guest_of_btrfs_is_the_same_on_ext4,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] => a_running_guest_goes_through_a_pipe,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3"), Tool("gzip")] => a_script_exports_and_imports,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3"), Tool("tar"), Tool("gzip"), Tool("xz"), Tool("zstd")] => other_tools_read_it,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] within 120 => what_is_damaged_is_refused_whole,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] within 120 => hostile_archives_touch_nothing,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] => what_opens_the_host_is_taken_on_trust_alone,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs"), Filesystem("ext4"), Tool("python3"), Tool("tar")] within 300 =>
        what_has_changed_goes_onto_its_base_alone,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] within 120 => hostile_changes_touch_nothing,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3"), Tool("mkfifo")] => what_is_exported_is_not_removed_meanwhile,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] within 180 => memory_is_flat_in_the_size_of_the_guest,
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
    to.ok(&["import", file, "--xid", &xid, "--storage", "dir"]).stdout("imported web\n").stderr("");
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
         print(copy.name, (pcall(hostel.import, file)), (hostel.import \"/nowhere.tar\"))\n\
         assert(g:snapshot {{ name = \"mon\" }})\n\
         assert(g:export(file .. \".mon.tar\", {{ snapshot = \"mon\" }}))\n\
         assert(g:export(file .. \".since.tar\", {{ since = \"mon\" }}))\n\
         print(assert(hostel.import(file .. \".since.tar\", {{ onto = \"copy\" }})).name)\n",
        file.display()
    );
    let script = world.file("script.lua", &script);
    place.ok(&["run", script.to_str().unwrap()]).stdout("true\tfalse\ttrue\ncopy\tfalse\tnil\ncopy\n");
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

/// What changes in a tree that [`FILL`] filled.
const CHANGE: &str = r"
import os,sys
os.chdir(sys.argv[1]+'/srv')
dirs=lambda p,t: os.utime(p,ns=(t,t))
open('fresh','w').write('fresh'); os.makedirs('more/deep'); open('more/deep/file','w').write('x'*100_000)
os.remove('old'); os.rename('long-link','renamed'); os.rename('d','e')
# The same size and time with other bytes; only the mode; only an attribute; only the owner.
s=os.stat('odd \udcff\n name'); open('odd \udcff\n name','w').write('ODD'); os.utime('odd \udcff\n name',ns=(s.st_atime_ns,s.st_mtime_ns))
os.chmod('sticky',0o700); os.setxattr('sticky','user.dir',b'no'); os.removexattr('capable','security.capability'); os.setxattr('acl','user.new',b'1')
os.chown('pipe',5,6)
# Names of one file: a third one; a pair that parts, with equal bytes; a pair that is written to in place.
os.link('data','third'); 
open('p1','w').write('pair') if not os.path.exists('p1') else None
os.remove('q2'); open('q2','w').write('pair'); s=os.stat('q1'); os.utime('q2',ns=(s.st_atime_ns,s.st_mtime_ns)); os.chmod('q2',s.st_mode&0o7777)
open('r1','r+').write('RAIP')
# What is a directory becomes a file, and the other way round; a link becomes a device, which is left out.
os.rmdir('todir') if os.path.isdir('todir') else None
open('todir','w').write('file'); os.remove('tofile'); os.mkdir('tofile'); open('tofile/in','w').write('in')
f=open('holes','r+b'); f.seek(30_000_000); f.write(b'new'); f.close()
dirs('empty',1_500_000_000_000_000_000)
os.remove('gone/file'); os.rmdir('gone')
";

/// Beside what [`FILL`] makes.
const PAIRS: &str = r"
import os,sys
os.chdir(sys.argv[1]+'/srv')
for a,b in (('p1','p2'),('q1','q2'),('r1','r2')):
    open(a,'w').write('pair'); os.link(a,b)
os.mkdir('todir'); open('tofile','w').write('x'); os.mkdir('empty'); os.mkdir('gone'); open('gone/file','w').write('x'); os.mkdir('kept'); open('kept/file','w').write('kept')
";

fn what_has_changed_goes_onto_its_base_alone(world: &World) {
    let (btrfs, to) = (Place::on(world, "btrfs"), Place::on(world, "ext4"));
    let plain = Place::here(world);
    for (from, storage) in [(&btrfs, "btrfs"), (&plain, "dir"), (&plain, "overlay")] {
        let run = |script: &str| drop(tool("python3", ["-c", script, from.rootfs("web").to_str().unwrap()]).ok());
        let text = format!("guest \"web\" {{ image = \"busybox\", xid = {}, storage = \"{}\" }}\n", world.xid(0), if storage == "overlay" { "dir" } else { storage });
        let file = world.file("web.lua", &text);
        from.ok(&["build", file.to_str().unwrap()]);
        run(FILL);
        run(PAIRS);
        if storage == "overlay" {
            from.ok(&["convert", "web", "--to", "overlay"]);
        }
        let path = |name: &str| world.dir.join(name).to_str().unwrap().to_owned();
        from.ok(&["snapshot", "web", "--name", "mon"]);
        from.ok(&["export", "web", "--snapshot", "mon", "-o", &path("mon.tar"), "--force"]);
        if storage == "overlay" {
            from.ok(&["convert", "web", "--to", "dir"]);
        }
        run(CHANGE);
        let expected = from.dump("web");
        from.ok(&["snapshot", "web", "--name", "tue"]);
        from.ok(&["export", "web", "--snapshot", "tue", "--since", "mon", "-o", &path("tue.tar"), "--force"]);
        // What is equal is not in it.
        let names = tool("tar", ["-tf", &path("tue.tar")]).ok().stdout;
        assert!(names.contains("removed/srv/old\n") && names.contains("removed/srv/gone\n") && names.contains("rootfs/srv/fresh\n"), "{names}");
        assert!(!names.contains("rootfs/bin/busybox") && !names.contains("rootfs/srv/kept/file") && !names.contains("rootfs/srv/p2"), "{names}");
        for kept in ["dir", "overlay"] {
            to.ok(&["import", &path("mon.tar"), "--storage", kept, "--xid", &world.xid(5).to_string()]);
            to.ok(&["import", &path("tue.tar"), "--onto", "web"]).stdout("imported onto web\n").stderr("");
            if kept == "overlay" {
                // As a second guest that is a tree.
                to.run(&["import", &path("tue.tar"), "--onto", "web"]).code(1).stderr_has("goes onto the snapshot `mon`, and this is something else");
                to.ok(&["convert", "web", "--to", "dir"]);
            }
            same(&to.dump("web"), &expected, kept);
            to.ok(&["start", "web"]);
            to.ok(&["stop", "web"]);
            to.ok(&["destroy", "web"]);
            to.ok(&["gc"]);
            to.is_empty();
        }
        // Another base, by one byte of one file: refused before anything is touched.
        to.ok(&["import", &path("mon.tar"), "--storage", "dir"]);
        fs::write(to.rootfs("web").join("srv/kept/file"), "Kept").unwrap();
        let before = to.dump("web");
        to.run(&["import", &path("tue.tar"), "--onto", "web"]).code(1).stderr_has("goes onto the snapshot `mon`, and this is something else");
        same(&to.dump("web"), &before, "refused");
        to.ok(&["start", "web"]);
        to.run(&["import", &path("tue.tar"), "--onto", "web"]).code(1).stderr_has("guest `web` runs");
        to.ok(&["destroy", "--force", "web"]);
        to.run(&["import", &path("tue.tar")]).code(1).stderr_has("has only what has changed since the snapshot `mon`");
        to.run(&["import", &path("tue.tar"), "--onto", "web"]).code(1).stderr_has("no guest `web`");
        to.is_empty();
        // With nothing changed there is next to nothing in it, and it goes onto its base.
        from.ok(&["export", "web", "--snapshot", "tue", "--since", "tue", "-o", &path("none.tar"), "--force"]);
        assert_eq!(tool("tar", ["-tf", &path("none.tar")]).ok().stdout, "manifest.json\nchecksum\n");
        from.run(&["export", "web", "--since", "wed", "-o", &path("wed.tar")]).code(1).stderr_has("has no snapshot `wed`");
        assert!(!Path::new(&path("wed.tar")).exists());
        from.ok(&["destroy", "web"]);
        from.ok(&["gc"]);
    }
}

/// Changes whose manifest and checksum are sound, and that take away or write where they must not.
fn hostile_changes_touch_nothing(world: &World) {
    let place = Place::here(world);
    let canary = world.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "host\n").unwrap();
    place.full("web", "storage = \"dir\"");
    std::os::unix::fs::symlink(&canary, place.rootfs("web").join("srv/out")).unwrap();
    place.ok(&["snapshot", "web", "--name", "mon"]);
    let archive = world.dir.join("none.tar");
    place.ok(&["export", "web", "--since", "mon", "-o", archive.to_str().unwrap()]);
    let before = place.dump("web");
    // The manifest of a true one, and entries of the attacker's behind it.
    let forge = r"
import sys,tarfile,io,hashlib
src,out,canary,name=sys.argv[1:5]
m=tarfile.open(src).extractfile('manifest.json').read()
b=io.BytesIO(); t=tarfile.open(fileobj=b,mode='w',format=tarfile.GNU_FORMAT)
def add(n,d):
    i=tarfile.TarInfo(n); i.size=len(d); t.addfile(i,io.BytesIO(d))
add('manifest.json',m); add(name.replace('CANARY',canary),b'bad')
s=hashlib.sha256(b.getvalue()[:t.offset]).hexdigest(); add('checksum',s.encode()+b'\n'); t.close()
open(out,'wb').write(b.getvalue())
";
    let forged = world.dir.join("forged.tar");
    for (name, why) in [
        // A link of the guest's leads nowhere inside of it, so nothing is taken away.
        ("removed/srv/out/file", ""),
        ("rootfs/srv/out/file", "open `web:/srv/out`"),
        ("removed/../../../../../..CANARY/file", "has `..` in it"),
        ("removedCANARY/file", ""),
        ("CANARY/file", "is an absolute name"),
        ("removed/", "takes the root away"),
        ("removed/.", "takes the root away"),
        ("removed/srv", "is not what was exported"),
        ("rootfs/srv/new", "is not what was exported"),
    ] {
        tool("python3", ["-c", forge, archive.to_str().unwrap(), forged.to_str().unwrap(), canary.to_str().unwrap(), name]).ok();
        let run = place.run(&["import", forged.to_str().unwrap(), "--onto", "web"]);
        let expected = i32::from(!why.is_empty());
        assert!(run.status == expected && run.stderr.contains(why), "{name}: {run}");
        assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "host\n", "{name}");
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 1, "{name}");
        same(&place.dump("web"), &before, name);
    }
    place.ok(&["destroy", "web"]);
    place.is_empty();
}

/// A snapshot that is read stays, and so does its guest.
fn what_is_exported_is_not_removed_meanwhile(world: &World) {
    let place = Place::here(world);
    place.full("web", "storage = \"dir\"");
    place.ok(&["snapshot", "web", "--name", "mon"]);
    let fifo = world.dir.join("fifo");
    tool("mkfifo", [fifo.to_str().unwrap()]).ok();
    let line = format!("exec {} export web --snapshot mon >\"$0\"", crate::support::binary().display());
    let export = world.within(tool("sh", ["-c", &line, fifo.to_str().unwrap()])).deadline(60).spawn();
    // Something has come out, and the pipe is full: it is in the midst of its work.
    let mut reader = fs::File::open(&fifo).unwrap();
    std::io::Read::read_exact(&mut reader, &mut [0; 512]).unwrap();
    place.run(&["snapshots", "web", "--remove", "mon"]).code(1).stderr_has("the snapshot `mon` is being exported");
    place.run(&["destroy", "web"]).code(1).stderr_has("the snapshot `mon` is being exported");
    // The guest itself is free.
    place.ok(&["start", "web"]);
    place.ok(&["stop", "web"]);
    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert_eq!(export.wait().status, 0);
    place.ok(&["snapshots", "web", "--remove", "mon"]);
    place.ok(&["destroy", "web"]);
    place.is_empty();
}

/// Guests of a few and of many bytes and files take the same memory, out and in.
fn memory_is_flat_in_the_size_of_the_guest(world: &World) {
    let place = Place::here(world);
    place.full("web", "storage = \"dir\"");
    let peak = |args: &[&str]| -> u64 {
        let script = "import resource,subprocess,sys\ncode=subprocess.call(sys.argv[1:],stdout=subprocess.DEVNULL)\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\nsys.exit(code)";
        let binary = crate::support::binary();
        let all: Vec<&str> = ["-c", script, binary.to_str().unwrap()].into_iter().chain(args.iter().copied()).collect();
        world.within(tool("python3", all)).deadline(120).ok().stdout.trim().parse().unwrap()
    };
    let file = world.dir.join("web.tar");
    let file = file.to_str().unwrap();
    let round = || {
        place.ok(&["snapshot", "web", "--name", "mon"]);
        let out = peak(&["export", "web", "-o", file, "--force"]);
        let changes = peak(&["export", "web", "--since", "mon", "-o", &format!("{file}.since"), "--force"]);
        let back = peak(&["import", file, "--name", "copy", "--storage", "dir"]);
        let onto = peak(&["import", &format!("{file}.since"), "--onto", "copy"]);
        place.ok(&["destroy", "copy"]);
        place.ok(&["snapshots", "web", "--remove", "mon"]);
        [out, changes, back, onto]
    };
    let small = round();
    let more = "import os,sys\nos.chdir(sys.argv[1]+'/srv')\nopen('large','wb').write(os.urandom(1<<20)*32)\nos.mkdir('many')\nfor i in range(4000): open('many/%d'%i,'w').write('x')";
    tool("python3", ["-c", more, place.rootfs("web").to_str().unwrap()]).ok();
    let large = round();
    println!("kB at most: {small:?} and, with 32 MB and 4,000 files more, {large:?}");
    for (small, large) in small.iter().zip(&large) {
        assert!(*large < small + 4 * 1024, "{small} kB for a small guest, {large} kB for a large one");
    }
    place.ok(&["destroy", "web"]);
}
