//! A copy is the same tree, looked at with nothing of the code under test.

use super::*;
use crate::storage::Silent;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};

fn copied(from: &Path, to: &Path, options: &Options) -> Copied {
    fs::create_dir(to).unwrap();
    copy(
        File::open(from).unwrap(),
        File::open(to).unwrap(),
        options,
        &Silent,
    )
    .unwrap()
}

/// `VFS_CAP_REVISION_2` with `cap_net_raw` permitted and effective, as `setcap(8)` writes it (`linux/capability.h`).
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn everything_that_makes_a_guest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("sub")).unwrap();
    let file = File::create(from.join("sub/tool")).unwrap();
    file.write_at(b"content", 0).unwrap();
    fchown(&file, Some(Uid::from_raw(1000)), Some(Gid::from_raw(2000))).unwrap();
    sys::file::set_xattr(&file, c"security.capability", &NET_RAW).unwrap();
    sys::file::set_xattr(&file, c"user.note", b"mine").unwrap();
    sys::file::set_xattr(&file, c"trusted.overlay.opaque", b"y").unwrap();
    fchmod(&file, Mode::from_bits_truncate(0o6751)).unwrap();
    fs::hard_link(from.join("sub/tool"), from.join("twin")).unwrap();
    symlink("/nowhere\nelse", from.join("link")).unwrap();
    let past = TimeSpec::new(1_000_000_000, 123_456_789);
    futimens(&file, &past, &past).unwrap();
    nix::unistd::mkfifo(&from.join("fifo"), Mode::S_IRWXU).unwrap();
    mknodat(
        File::open(&from).unwrap(),
        "null",
        SFlag::S_IFCHR,
        Mode::S_IRUSR,
        nix::sys::stat::makedev(1, 3),
    )
    .unwrap();
    let sub = File::open(from.join("sub")).unwrap();
    fchmod(&sub, Mode::from_bits_truncate(0o1770)).unwrap();
    futimens(&sub, &past, &past).unwrap();

    let done = copied(&from, &to, &Options::default());
    assert_eq!((done.entries, done.devices_skipped), (6, 1));
    assert!(!to.join("null").exists());
    let meta = fs::metadata(to.join("twin")).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.nlink()),
        (0o6751, 1000, 2000, 2)
    );
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 123_456_789));
    assert_eq!(meta.ino(), fs::metadata(to.join("sub/tool")).unwrap().ino());
    assert_ne!(meta.ino(), fs::metadata(from.join("twin")).unwrap().ino());
    let tool = File::open(to.join("sub/tool")).unwrap();
    assert_eq!(sys::file::xattr(&tool, c"security.capability").unwrap(), NET_RAW);
    assert_eq!(sys::file::xattr(&tool, c"user.note").unwrap(), b"mine");
    assert_eq!(
        sys::file::xattr(&tool, c"trusted.overlay.opaque"),
        Err(Errno::ENODATA)
    );
    assert_eq!(
        fs::read_link(to.join("link")).unwrap(),
        Path::new("/nowhere\nelse")
    );
    let sub = fs::metadata(to.join("sub")).unwrap();
    assert_eq!(
        (sub.mode() & 0o7777, sub.mtime(), sub.mtime_nsec()),
        (0o1770, 1_000_000_000, 123_456_789)
    );

    let keep = Options {
        devices: Devices::Keep,
        skip: Vec::new(),
        ..Options::default()
    };
    let kept = dir.path().join("kept");
    copied(&from, &kept, &keep);
    assert_eq!(
        fs::metadata(kept.join("null")).unwrap().rdev(),
        nix::sys::stat::makedev(1, 3)
    );
}

#[test]
fn holes_stay_holes() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    let file = File::create(from.join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_at(b"middle", 500 << 20).unwrap();
    file.write_at(b"start", 0).unwrap();
    File::create(from.join("hole")).unwrap().set_len(1 << 30).unwrap();
    copied(&from, &to, &Options::default());
    let meta = fs::metadata(to.join("sparse")).unwrap();
    assert_eq!(meta.len(), 1 << 30);
    assert!(meta.blocks() < 1024, "{} blocks", meta.blocks());
    let mut part = [0; 6];
    File::open(to.join("sparse"))
        .unwrap()
        .read_exact_at(&mut part, 500 << 20)
        .unwrap();
    assert_eq!(&part, b"middle");
    assert_eq!(fs::metadata(to.join("hole")).unwrap().len(), 1 << 30);
}

#[test]
fn a_copy_inside_of_its_source_ends() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(dir.path().join("f"), "x").unwrap();
    let done = copied(dir.path(), &dir.path().join("state/copy"), &Options::default());
    assert_eq!(done.left_empty, 1);
    assert!(dir.path().join("state/copy/f").exists());
    assert_eq!(
        fs::read_dir(dir.path().join("state/copy/state/copy"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_mount_below_is_not_entered() {
    // /proc is a mount of its own on every host.
    let root = File::open("/").unwrap();
    assert_eq!(
        sys::open::child_dir(&root, Path::new("proc")).unwrap_err(),
        Errno::EXDEV
    );
}
