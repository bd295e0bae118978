//! Images and guests' files, through the library: what a build leaves when it is killed, and whole Debian trees.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hostel::guest::{GuestName, Image};
use hostel::guest::Storage;
use hostel::storage::image::Wanted;
use hostel::storage::{Layout, Silent, image, tree};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::support::{Place, World, eventually, tests, tool};

tests! {
    [Root, Mirror, HostNetwork] within 60 => a_killed_build_leaves_nothing,
    [Root, Debian, HostNetwork] within 300 => a_debian_image_is_built_once_and_copied_whole,
    [Root, Filesystem("btrfs")] => a_copy_on_btrfs_shares_its_extents,
    [Root, Cgroup2, Bpf, Busybox, Verb("apply"), Tool("tar")] => an_archive_is_read_once_for_all_guests_of_it,
    [Root, Cgroup2, Bpf, Verb("build"), Filesystem("ext4"), Tool("python3")] => an_archive_larger_than_the_room_is_not_begun,
}

fn layout(world: &World) -> Layout {
    let layout = Layout::at(world.root.clone());
    layout.ensure().unwrap();
    layout
}

/// Every mount, process and file that a build makes is gone with it: SIGKILL leaves no time to clean up.
fn a_killed_build_leaves_nothing(world: &World) {
    let layout = layout(world);
    let image: Image = "debian:bookworm".parse().unwrap();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    // SAFETY: a test of this suite has one thread.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let _ = image::prepare(&layout, Wanted::image(&image), &Silent);
            std::process::exit(0);
        }
        ForkResult::Parent { child } => child,
    };
    let builder = "--mode=root\0";
    let runs = || processes_with(builder).iter().any(|pid| *pid != child.as_raw());
    assert!(eventually(Duration::from_secs(10), runs), "no builder");
    let has_begun = || rootfs_of(&layout).is_some_and(|root| root.join("etc/apt").exists());
    assert!(eventually(Duration::from_secs(20), has_begun), "nothing is built");
    kill(child, Signal::SIGKILL).unwrap();
    waitpid(child, None).unwrap();
    assert!(eventually(Duration::from_secs(10), || processes_with(builder).is_empty()));
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    assert_eq!(image::sweep(&layout).unwrap().len(), 1);
    assert_eq!(fs::read_dir(layout.images_tmp()).unwrap().count(), 0);
    let keys = fs::read_dir(layout.images()).unwrap().map(|entry| entry.unwrap().path());
    assert!(keys.filter(|path| path.join("rootfs").exists()).count() == 0);
}

fn rootfs_of(layout: &Layout) -> Option<PathBuf> {
    let mut entries = fs::read_dir(layout.images_tmp()).ok()?;
    Some(entries.next()?.ok()?.path().join("image/rootfs"))
}

fn processes_with(text: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text) && Pid::this().as_raw() != *pid
    })
    .collect()
}

/// The packages of two images of one suite.
pub(crate) fn packages() -> [Vec<String>; 2] {
    let few = vec!["iputils-ping".to_owned()];
    [vec!["openssh-server".to_owned(), few[0].clone()], few]
}

fn wanted<'a>(image: &'a Image, packages: &'a [String]) -> Wanted<'a> {
    Wanted {
        packages,
        ..Wanted::image(image)
    }
}

fn a_debian_image_is_built_once_and_copied_whole(world: &World) {
    let _images = world.share_images();
    let layout = layout(world);
    let suite: Image = "debian:bookworm".parse().unwrap();
    let [packages, few] = packages();
    let prepared = image::prepare(&layout, wanted(&suite, &packages), &Silent).unwrap();
    assert_eq!(image::prepare(&layout, wanted(&suite, &packages), &Silent).unwrap(), prepared);
    assert!(!prepared.path.join("usr/sbin/policy-rc.d").exists());
    assert!(!prepared.path.join("etc/ssh/ssh_host_ed25519_key").exists());
    assert_eq!(fs::read_dir(prepared.path.join("dev")).unwrap().count(), 0);

    let (web, db): (GuestName, GuestName) = ("web".parse().unwrap(), "db".parse().unwrap());
    for name in [&web, &db] {
        image::install(&layout, name, &prepared, Some(Storage::Dir), &hostel::storage::Bounds::NONE, &Silent).unwrap();
    }
    let host_key = |name| fs::read(layout.rootfs(name).join("etc/ssh/ssh_host_ed25519_key")).unwrap();
    assert_ne!(host_key(&web), host_key(&db));
    // The host's own tools compare, so that nothing of the code under test vouches for itself. The keys are new.
    let listing = |root: &Path| {
        let list = "find . -path ./etc/ssh -prune -o -printf '%p %y %m %U %G %T@ %l\\n' | LC_ALL=C sort
                    find . -type f ! -path './etc/ssh/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
                    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 getcap";
        let output = Command::new("sh").args(["-ec", list]).current_dir(root).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (expected, copied) = (listing(&prepared.path), listing(&layout.rootfs(&web)));
    assert!(expected.lines().count() > 5000);
    assert!(expected.contains("cap_net_raw"), "ping has a file capability");
    for (ours, theirs) in copied.lines().zip(expected.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(copied.len(), expected.len());
    // Another set of packages of the same suite finds in the cache what the first one had.
    let debs = layout.images().join(".apt/archives");
    let had = fs::read_dir(&debs).unwrap().count();
    let more = image::prepare(&layout, wanted(&suite, &few), &Silent).unwrap();
    assert_ne!(more.key, prepared.key);
    assert_eq!(fs::read_dir(&debs).unwrap().count(), had);
    for name in [&web, &db] {
        image::remove(&layout, name).unwrap();
    }
}

fn a_copy_on_btrfs_shares_its_extents(world: &World) {
    let volume = world.volume("btrfs", 256);
    let layout = Layout::at(volume.at.join("state"));
    layout.ensure().unwrap();
    let source = volume.at.join("source");
    fs::create_dir(&source).unwrap();
    // Two of them do not fit.
    fs::write(source.join("large"), vec![b'x'; 120 << 20]).unwrap();
    let image: Image = format!("dir:{}", source.display()).parse().unwrap();
    let prepared = image::prepare(&layout, Wanted::image(&image), &Silent).unwrap();
    for n in 0..4 {
        let name: GuestName = format!("g{n}").parse().unwrap();
        image::install(&layout, &name, &prepared, None, &hostel::storage::Bounds::NONE, &Silent).unwrap();
        assert_eq!(fs::metadata(layout.rootfs(&name).join("large")).unwrap().size(), 120 << 20);
    }
    assert!(tree::size(fs::File::open(&volume.at).unwrap()).unwrap() > 500 << 20);
}

/// An archive of one file that is a hole of 64 MiB, one of two thousand empty files, and an honest one.
const ARCHIVES: &str = "
import tarfile, os
def write(name, entries, size=0):
    with open(name, 'wb') as f:
        for entry in entries:
            info = tarfile.TarInfo(entry); info.size = size
            f.write(info.tobuf(tarfile.GNU_FORMAT)); f.truncate(f.tell() + size); f.seek(size, 1)
        f.truncate(f.tell() + 1024)
write('large.tar', ['small', 'large'], 64 << 20)
write('many.tar', ['f%d' % n for n in range(2000)])
write('honest.tar', ['etc/hostname'])
";

/// A disk that is full is everybody's: what an archive itself says that it needs is asked for first.
fn an_archive_is_read_once_for_all_guests_of_it(world: &World) {
    let tree = world.dir.join("tree");
    for dir in ["bin", "etc"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    let archive = world.dir.join("tree.tar");
    tool("tar", ["-cf", archive.to_str().unwrap(), "-C", tree.to_str().unwrap(), "."]).ok();
    let guests: Vec<String> = (0..4)
        .map(|n| {
            let service = "services = { idle = { exec = { \"/bin/busybox\", \"sleep\", \"1000\" } } }";
            format!("guest \"g{n}\" {{ image = \"tar:{}\", xid = {}, {service} }}\n", archive.display(), world.xid(n))
        })
        .collect();
    let recipe = world.file("four.lua", &guests.concat());
    let told = world.hostel(["apply", recipe.to_str().unwrap()]).env("HOSTEL_LOG", "debug").ok();
    let read = format!("read `{}` to know it by its content", archive.display());
    assert_eq!(told.stderr.matches(&read).count(), 1, "{told}");
    world.hostel(["destroy", "--force", "g0", "g1", "g2", "g3"]).ok();
}

fn an_archive_larger_than_the_room_is_not_begun(world: &World) {
    let place = Place::at(world, world.volume_with("ext4", 32, &["-N", "512"], "loop"));
    tool("python3", ["-c", ARCHIVES]).dir(&world.dir).ok();
    let build = |name: &str| {
        let image = world.dir.join(name);
        let text = format!("guest \"web\" {{ image = \"tar:{}\", xid = {} }}\n", image.display(), world.xid(0));
        let file = world.file("web.lua", &text);
        (place.run(&["build", file.to_str().unwrap()]), image)
    };
    let volume = place.root.parent().unwrap();
    let used = || {
        let stat = nix::sys::statvfs::statvfs(volume).unwrap();
        (stat.blocks() - stat.blocks_free()) * stat.fragment_size()
    };
    let before = used();
    for (name, than) in [("large.tar", " bytes that are free"), ("many.tar", " files that there is room for")] {
        let (out, image) = build(name);
        let said = format!("`{}` unpacks to more than the ", image.display());
        out.code(1).stdout("").stderr_has(&said).stderr_has(than).stderr_has("HOSTEL_ROOT may be on a larger file system");
        assert!(used() < before + (2 << 20), "{name}: {before} became {}", used());
    }
    build("honest.tar").0.code(0);
    place.destroy(&["web"]);
}
