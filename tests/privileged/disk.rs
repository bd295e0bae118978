//! Limits on the disk space of guests: for each mechanism a guest that fills its disk, and what is beside it.

use std::fs;

use crate::support::{Output, Place, World, same, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs"), Tool("btrfs")] within 180 => a_full_guest_on_btrfs,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs"), Tool("btrfs"), Tool("python3"), SimpleQuota] within 180 => a_full_guest_on_btrfs_with_simple_quotas,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs"), Tool("btrfs")] within 180 => a_full_overlay_guest_on_btrfs,
    [Root, Cgroup2, Bpf, Busybox, ProjectQuota("ext4")] within 180 => a_full_guest_by_project_quota_on_ext4,
    [Root, Cgroup2, Bpf, Busybox, ProjectQuota("ext4")] within 180 => a_full_overlay_guest_by_project_quota_on_ext4,
    [Root, Cgroup2, Bpf, Busybox, ProjectQuota("xfs")] within 180 => a_full_guest_by_project_quota_on_xfs,
    [Root, Cgroup2, Bpf, Busybox, ProjectQuota("ext4"), Tool("python3")] within 120 => a_guest_cannot_leave_its_project,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4"), Tool("resize2fs")] within 180 => a_full_guest_in_an_image,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4"), Tool("resize2fs")] within 180 => an_image_is_cloned_snapshotted_and_moved,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("ext4")] => what_cannot_be_enforced_is_refused,
    [Root, Cgroup2, Bpf, Busybox, Filesystem("btrfs"), Tool("btrfs"), Tool("python3")] => a_guest_makes_no_subvolumes,
}

/// A file system of the tests', with quotas.
pub(crate) fn with_quota<'a>(world: &'a World, kind: &str) -> Place<'a> {
    let volume = match kind {
        "ext4" => world.volume_with(kind, 320, &["-q", "-O", "quota,project", "-E", "quotatype=prjquota"], "loop,prjquota"),
        "xfs" => world.volume_with(kind, 320, &["-q"], "loop,prjquota"),
        _ => world.volume_with("btrfs", 320, &["-q"], "loop"),
    };
    match kind {
        "btrfs" => {
            tool("btrfs", ["quota", "enable", volume.at.to_str().unwrap()]).ok();
            // Until it has counted what is there, its figures are wrong, and it says so.
            tool("btrfs", ["quota", "rescan", "-w", volume.at.to_str().unwrap()]).ok();
        }
        // The tools of Debian 12 do not know `--simple`: BTRFS_IOC_QUOTA_CTL with 4.
        "simple" => drop(tool("python3", ["-c", SIMPLE, volume.at.to_str().unwrap()]).ok()),
        _ => {}
    }
    Place::at(world, volume)
}

const SIMPLE: &str = "import fcntl,os,struct,sys\n\
    fd=os.open(sys.argv[1],os.O_RDONLY); fcntl.ioctl(fd,0xc0109428,struct.pack('QQ',4,0))";

/// Writes until it cannot, and tells how many MiB it took and why no more.
fn fill(place: &Place, guest: &str, file: &str) -> (u64, String) {
    let script = format!("dd if=/dev/zero of={file} bs=1M count=400 conv=fsync 2>&1 >/dev/null || true; sync; stat -c %s {file}");
    let said = place.sh(guest, &script);
    let size: u64 = said.lines().last().unwrap().parse().unwrap();
    (size >> 20, said)
}

fn status(place: &Place, guest: &str) -> serde_json::Value {
    let out: Output = place.ok(&["status", guest, "--json"]);
    serde_json::from_str(&out.stdout).unwrap()
}

/// The acceptance: no space inside, neighbours and the host write on; then more space, live, and less.
fn full(place: &Place, storage: &str, shows_in_df: bool) {
    let storage = format!("storage = \"{storage}\"");
    place.apply("hog", 0, &format!("{storage}, limits = {{ disk = \"48M\" }}"));
    place.apply("neighbour", 1, &storage);
    let (size, said) = fill(place, "hog", "/srv/big");
    assert!((20..=48).contains(&size), "{size} MiB: {said}");
    assert!(said.contains("No space left on device") || said.contains("quota exceeded"), "{said}");
    place.sh("neighbour", "dd if=/dev/zero of=/srv/mine bs=1M count=20 conv=fsync 2>/dev/null");
    fs::write(place.root.join("canary"), vec![1; 1 << 20]).unwrap();
    let disk = &status(place, "hog")["disk"];
    assert_eq!(disk["limit"], 48 << 20, "{disk}");
    assert!(disk["used"].as_u64().unwrap() >= 20 << 20, "{disk}");
    place.ok(&["ls"]).stdout_has("/48M");
    if shows_in_df {
        let total: u64 = place.sh("hog", "df -k / | tail -1 | awk '{ print $2 }'").trim().parse().unwrap();
        assert!((32 << 10..=48 << 10).contains(&total), "{total} KiB");
    }
    // More, while it runs; the recipe's own plan sees it.
    place.ok(&["set", "hog", "disk=96M"]).stderr("");
    let (more, said) = fill(place, "hog", "/srv/more");
    assert!((24..=60).contains(&more), "{more} MiB: {said}");
    let file = place.world.dir.join("hog.lua");
    let file = file.to_str().unwrap();
    place.run(&["plan", file]).code(2).stdout_has("limits.disk");
    place.sh("hog", "rm /srv/more /srv/big; sync");
    place.ok(&["apply", file]);
    place.run(&["plan", file]).code(0);
    assert_eq!(status(place, "hog")["disk"]["limit"], 48 << 20);
    // What it has removed it may write again, and the limit outlives a restart.
    place.ok(&["restart", "hog"]);
    let (again, said) = fill(place, "hog", "/srv/big");
    assert!((20..=48).contains(&again), "{again} MiB: {said}");
    place.sh("hog", "rm /srv/big; echo data >/srv/data");
    // A clone has a limit too, of its own; so has what was rolled back.
    place.ok(&["snapshot", "hog", "--name", "one"]);
    place.ok(&["stop", "hog"]);
    place.ok(&["clone", "hog", "hog2", "--start"]);
    place.ok(&["start", "hog"]);
    for guest in ["hog", "hog2"] {
        assert_eq!(status(place, guest)["disk"]["limit"], 48 << 20, "{guest}");
        let (size, said) = fill(place, guest, "/srv/big");
        assert!((20..=48).contains(&size), "{guest}: {size} MiB: {said}");
    }
    place.ok(&["stop", "hog"]);
    place.ok(&["rollback", "hog", "one"]);
    place.ok(&["start", "hog"]);
    assert_eq!(place.sh("hog", "cat /srv/data; test ! -e /srv/big"), "data\n");
    let (size, said) = fill(place, "hog", "/srv/big");
    assert!((20..=48).contains(&size), "{size} MiB: {said}");
}

fn lift(place: &Place) {
    place.ok(&["set", "hog", "disk=max"]).stderr("");
    place.sh("hog", "dd if=/dev/zero of=/srv/more bs=1M count=70 conv=fsync 2>/dev/null; rm /srv/more; sync");
}

fn a_full_guest_on_btrfs(world: &World) {
    let place = with_quota(world, "btrfs");
    full(&place, "btrfs", false);
    lift(&place);
    place.run(&["set", "hog", "inodes=10"]).code(1).stderr_has("btrfs has no limit on inodes");
    place.destroy(&["hog", "hog2", "neighbour"]);
}

fn a_full_guest_on_btrfs_with_simple_quotas(world: &World) {
    let place = with_quota(world, "simple");
    full(&place, "btrfs", false);
    place.destroy(&["hog", "hog2", "neighbour"]);
}

fn a_full_overlay_guest_on_btrfs(world: &World) {
    let place = with_quota(world, "btrfs");
    full(&place, "overlay", false);
    place.destroy(&["hog", "hog2", "neighbour"]);
}

fn by_project(world: &World, kind: &str, storage: &str) {
    let place = with_quota(world, kind);
    full(&place, storage, true);
    lift(&place);
    // Inodes too, live.
    place.ok(&["set", "hog2", "inodes=600"]);
    let made = place.sh("hog2", "rm -f /srv/big; mkdir -p /srv/n; (i=0; while : >/srv/n/$i; do i=$((i + 1)); done) 2>/dev/null || true; ls /srv/n | wc -l");
    let count: u64 = made.lines().next().unwrap().trim().parse().unwrap();
    assert!(count < 600, "{made}");
    // A limit that comes later counts what is there already, also while the guest runs.
    place.sh("neighbour", "mkdir -p /srv/a/b; dd if=/dev/zero of=/srv/a/b/c bs=1M count=10 2>/dev/null; ln -s /etc /srv/a/link; mkfifo /srv/a/pipe");
    place.ok(&["set", "neighbour", "disk=40M"]);
    assert!(status(&place, "neighbour")["disk"]["used"].as_u64().unwrap() >= 30 << 20);
    let (size, said) = fill(&place, "neighbour", "/srv/big");
    assert!(size < 12, "{size} MiB: {said}");
    place.destroy(&["hog", "hog2", "neighbour"]);
    // Nothing of a quota stays that is nobody's.
    let report = tool("python3", ["-c", RECORDS, place.root.to_str().unwrap(), &world.xid(0).to_string()]).ok();
    report.stdout("");
}

/// Prints the limited projects of the first four numbers of the test.
const RECORDS: &str = r"
import ctypes,os,struct,sys
fd=os.open(sys.argv[1],os.O_RDONLY); libc=ctypes.CDLL(None)
at=int(sys.argv[2])<<16; end=at+(4<<16)
while at<end:
    b=ctypes.create_string_buffer(72)
    if libc.syscall(443,fd,(0x800009<<8)|2,at,b)!=0: break
    v=struct.unpack('8QII',b.raw); at=v[9]+1
    if v[9]<end and (v[0] or v[3]): print(v)
";

fn a_full_guest_by_project_quota_on_ext4(world: &World) {
    by_project(world, "ext4", "dir");
}

fn a_full_overlay_guest_by_project_quota_on_ext4(world: &World) {
    let place = with_quota(world, "ext4");
    full(&place, "overlay", true);
    place.destroy(&["hog", "hog2", "neighbour"]);
}

fn a_full_guest_by_project_quota_on_xfs(world: &World) {
    by_project(world, "xfs", "reflink");
}

/// Tries to give a file and its root another project, both ways there are, from inside.
const LEAVE: &str = r"
import ctypes,errno,fcntl,os,struct
libc=ctypes.CDLL(None,use_errno=True)
open('/srv/file','w').close()
for path in ['/srv/file','/srv','/']:
    fd=os.open(path,os.O_RDONLY)
    for project,flags in [(0,0),(7,0x200),(0,0x200)]:
        try:
            fcntl.ioctl(fd,0x401c5820,struct.pack('5I8x',flags,0,0,project,0)); print('left by ioctl',path,project,flags)
        except OSError as e: pass
        attr=ctypes.create_string_buffer(struct.pack('QIIII',flags,0,0,project,0))
        if libc.syscall(469,fd,b'',attr,24,0x1000)==0: print('left by file_setattr',path,project,flags)
";

fn a_guest_cannot_leave_its_project(world: &World) {
    let place = with_quota(world, "ext4");
    for (number, more) in [(0, ""), (1, ", userns = false")] {
        place.apply("web", number, &format!("storage = \"dir\", limits = {{ disk = \"200M\" }}{more}"));
        python(&place, "web");
        let out = place.ok(&["exec", "web", "-T", "--", "/python/run", "-c", LEAVE]);
        out.stdout("");
        assert_eq!(status(&place, "web")["disk"]["limit"], 200 << 20);
        place.destroy(&["web"]);
    }
}

fn a_guest_makes_no_subvolumes(world: &World) {
    let place = with_quota(world, "btrfs");
    place.apply("web", 0, "storage = \"btrfs\"");
    let tries = "import errno,fcntl,os,struct\nb=bytearray\nfd=os.open('/srv',os.O_RDONLY); top=os.open('/',os.O_RDONLY)\n\
        for n,a in [(0x5000940e,b(struct.pack('q4088s',0,b'sub'))),(0x50009418,b(struct.pack('qQQ32s4040s',0,0,0,b'',b'sub'))),\n\
        (0x50009401,b(struct.pack('q4088s',top,b'sub'))),(0x50009417,b(struct.pack('qQQ32s4040s',top,0,0,b'',b'sub')))]:\n\
        \x20   try: fcntl.ioctl(fd,n,a); print('made',hex(n))\n\
        \x20   except OSError as e: print(errno.errorcode[e.errno])\n";
    python(&place, "web");
    place.ok(&["exec", "web", "-T", "--", "/python/run", "-c", tries]).stdout("ENOTTY\nENOTTY\nENOTTY\nENOTTY\n");
    place.destroy(&["web"]);
}

/// The host's python, with all that it needs, as `/python/run` in the guest.
fn python(place: &Place, guest: &str) {
    let root = place.root.join("guests").join(guest).join("rootfs");
    let script = "mkdir -p \"$0/python\" && python3 - \"$0\" <<'E'\n\
        import os,re,shutil,subprocess,sys\n\
        root=sys.argv[1]; exe=os.path.realpath(sys.executable)\n\
        libs=set(re.findall(r'(/[^ ]+\\.so[^ ]*)',subprocess.run(['ldd',exe],capture_output=True,text=True).stdout))\n\
        dyn=[os.path.join(d,f) for d in sys.path if d.endswith('lib-dynload') for f in os.listdir(d)]\n\
        for f in dyn: libs|=set(re.findall(r'(/[^ ]+\\.so[^ ]*)',subprocess.run(['ldd',f],capture_output=True,text=True).stdout))\n\
        for f in libs|{exe}:\n\
        \x20   to=root+f; os.makedirs(os.path.dirname(to),exist_ok=True); shutil.copy(f,to)\n\
        std=os.path.dirname(os.__file__)\n\
        shutil.copytree(std,root+std,dirs_exist_ok=True,ignore=shutil.ignore_patterns('test','__pycache__','dist-packages','site-packages','idlelib','tkinter','config-*'))\n\
        open(root+'/python/run','w').write('#!/bin/sh\\nexec '+exe+' -S \"$@\"\\n'); os.chmod(root+'/python/run',0o755)\n\
        E";
    tool("sh", ["-c", script, root.to_str().unwrap()]).deadline(60).ok();
}

fn a_full_guest_in_an_image(world: &World) {
    let place = Place::on(world, "ext4");
    // Without a word of it: nothing else keeps a limit here.
    place.apply("hog", 0, "limits = { disk = \"48M\", inodes = 2000 }");
    place.apply("neighbour", 1, "storage = \"dir\"");
    assert!(place.root.join("guests/hog/disk.img").exists() && !place.root.join("guests/hog/rootfs").exists());
    let (size, said) = fill(&place, "hog", "/srv/big");
    assert!((24..=48).contains(&size) && said.contains("No space left on device"), "{size} MiB: {said}");
    place.sh("neighbour", "dd if=/dev/zero of=/srv/mine bs=1M count=20 conv=fsync 2>/dev/null");
    let total: u64 = place.sh("hog", "df -k / | tail -1 | awk '{ print $2 }'").trim().parse().unwrap();
    assert!((32 << 10..=48 << 10).contains(&total), "{total} KiB");
    assert_eq!(place.sh("hog", "test ! -e /lost+found; stat -c '%a %u %g' /"), "755 0 0\n");
    place.sh("hog", "rm /srv/big; (i=0; while : >/srv/$i; do i=$((i + 1)); done) 2>/dev/null || true; test $(ls /srv | wc -l) -lt 2200; rm -r /srv; mkdir /srv");
    // It runs and is mounted: it cannot get smaller, and with its inodes said it keeps its size.
    place.run(&["set", "hog", "disk=64M"]).code(1).stderr_has("keeps its size");
    place.run(&["set", "hog", "inodes=9000"]).code(1).stderr_has("keeps the number of inodes");
    place.run(&["set", "hog", "disk=max"]).code(1).stderr_has("an image always has a size");
    place.run(&["set", "hog", "disk=1M"]).code(1).stderr_has("is too small");
    place.destroy(&["hog"]);
    place.apply("hog", 0, "limits = { disk = \"48M\" }");
    place.sh("hog", "echo data >/srv/data");
    place.run(&["set", "hog", "disk=32M"]).code(1).stderr_has("cannot shrink from 48M to 32M");
    assert_eq!(status(&place, "hog")["disk"]["limit"], 48 << 20);
    place.ok(&["stop", "hog"]);
    place.ok(&["set", "hog", "disk=32M"]);
    place.ok(&["start", "hog"]);
    let (size, said) = fill(&place, "hog", "/srv/big");
    assert!((14..=32).contains(&size) && said.contains("No space left on device"), "{size} MiB: {said}");
    place.ok(&["stop", "hog"]);
    place.run(&["set", "hog", "disk=16M"]).code(1).stderr_has("must be more than what is in it takes");
    place.ok(&["set", "hog", "disk=64M"]);
    place.ok(&["start", "hog"]);
    let (more, said) = fill(&place, "hog", "/srv/more");
    assert!((20..=40).contains(&more), "{more} MiB: {said}");
    assert_eq!(place.sh("hog", "cat /srv/data"), "data\n");
    // Online, where hostel has the capability for it: else it says so, and nothing has changed.
    let grown = place.run(&["set", "hog", "disk=96M"]);
    if grown.status == 0 {
        let (more, said) = fill(&place, "hog", "/srv/live");
        assert!((20..=40).contains(&more), "{more} MiB: {said}");
    } else {
        grown.code(1).stderr_has("hostel needs CAP_SYS_RESOURCE");
        assert_eq!(status(&place, "hog")["disk"]["limit"], 64 << 20);
    }
    // What is removed is given back to the host.
    place.sh("hog", "rm /srv/big /srv/more; sync");
    place.ok(&["stop", "hog"]);
    assert!(status(&place, "hog")["disk"]["used"].as_u64().unwrap() < 40 << 20);
    place.destroy(&["hog", "neighbour"]);
}

fn an_image_is_cloned_snapshotted_and_moved(world: &World) {
    let place = Place::on(world, "ext4");
    place.apply("web", 0, "storage = \"image\", limits = { disk = \"40M\" }");
    place.sh("web", "mkdir /srv/a; echo one >/srv/a/data; ln /srv/a/data /srv/a/twin; rm /bin/vi; chown 5:6 /srv/a/data");
    let before = place.fingerprint("web");
    place.ok(&["clone", "web", "live"]);
    place.ok(&["snapshot", "web", "--name", "first"]);
    place.sh("web", "echo two >/srv/a/data; rm -r /etc/rc");
    // The files of the recipe reach a guest that runs.
    place.apply("web", 0, "storage = \"image\", limits = { disk = \"40M\" }, files = { [\"/etc/motd\"] = \"hello\\n\" }");
    assert_eq!(place.sh("web", "cat /etc/motd"), "hello\n");
    place.ok(&["logs", "web"]);
    place.ok(&["stop", "web"]);
    place.ok(&["clone", "web", "two", "--start"]);
    assert_eq!(place.sh("two", "cat /srv/a/data /etc/hostname"), "two\ntwo\n");
    place.ok(&["rollback", "web", "first"]);
    place.ok(&["start", "web", "live"]);
    same(&place.fingerprint("web"), &before, "rollback");
    assert_eq!(place.sh("live", "cat /srv/a/twin"), "one\n");
    place.ok(&["stop", "web"]);
    for storage in ["overlay", "image", "dir", "image"] {
        // Elsewhere a limit cannot be kept here.
        let convert = place.run(&["convert", "web", "--to", storage]);
        if storage == "image" {
            convert.code(0).stdout("web is image already\n");
        } else {
            convert.code(1).stderr_has("this file system has no project quotas");
        }
    }
    let archive = world.dir.join("web.tar");
    place.ok(&["export", "web", "-o", archive.to_str().unwrap()]);
    place.ok(&["import", archive.to_str().unwrap(), "--name", "back", "--storage", "image"]);
    place.ok(&["start", "back"]);
    assert_eq!(place.sh("back", "cat /srv/a/twin; stat -c '%u %g %h' /srv/a/data"), "one\n5 6 2\n");
    place.destroy(&["web", "live", "two", "back"]);
}

fn what_cannot_be_enforced_is_refused(world: &World) {
    let place = Place::on(world, "ext4");
    for (more, why) in [
        ("storage = \"dir\", limits = { disk = \"1G\" }", "limit disk space: this file system has no project quotas"),
        ("storage = \"overlay\", limits = { disk = \"1G\" }", "limit disk space: this file system has no project quotas"),
        ("storage = \"dir\", limits = { inodes = 1000 }", "limit disk space: this file system has no project quotas"),
        ("storage = \"image\"", "needs to know how large the image is"),
        ("limits = { disk = \"1M\" }", "an image of 1M is too small"),
    ] {
        let text = format!("guest \"web\" {{ image = \"busybox\", xid = {}, {more} }}\n", world.xid(0));
        let file = world.file("web.lua", &text);
        place.run(&["apply", file.to_str().unwrap()]).code(1).stderr_has(why);
        place.ok(&["ls", "--quiet"]).stdout("");
    }
    place.apply("web", 0, "storage = \"dir\"");
    place.run(&["set", "web", "disk=1G"]).code(1).stderr_has("this file system has no project quotas");
    place.run(&["plan", world.dir.join("web.lua").to_str().unwrap()]).code(0);
    place.destroy(&["web"]);
    // A context has no files of its own.
    place.run(&["limit", "disk=1G", "--", "true"]).stderr_has("a limit on disk space or inodes is one of a guest's files");
    place.run(&["context", "--limit", "inodes=5", "--", "true"]).stderr_has("a limit on disk space or inodes");
}
