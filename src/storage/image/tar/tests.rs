//! Hostile archives, and honest ones.

use super::*;
use crate::storage::Silent;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt, symlink};
use tar::{EntryType, Header};

struct Maker {
    dir: tempfile::TempDir,
    builder: tar::Builder<Vec<u8>>,
}

impl Maker {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("canary")).unwrap();
        fs::write(dir.path().join("canary/secret"), "host").unwrap();
        let builder = tar::Builder::new(Vec::new());
        Self { dir, builder }
    }

    /// Adds an entry whose names are written as they are: the crate's own functions refuse the hostile ones.
    fn add(mut self, kind: EntryType, name: &str, link: &str, content: &[u8], mode: u32) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.builder.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.add(EntryType::Regular, name, "", content.as_bytes(), 0o644)
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.add(kind, name, target, b"", 0o777)
    }

    fn unpack(self) -> (tempfile::TempDir, PathBuf, Result<()>) {
        let Self { dir, builder } = self;
        let path = dir.path().join("a.tar");
        fs::write(&path, builder.into_inner().unwrap()).unwrap();
        let done = Archive::open(&path).unwrap().unpack(dir.path(), &Silent);
        assert_eq!(fs::read(dir.path().join("canary/secret")).unwrap(), b"host");
        assert_eq!(fs::read_dir(dir.path().join("canary")).unwrap().count(), 1);
        let root = dir.path().join("rootfs");
        (dir, root, done)
    }
}

#[test]
fn names_that_leave_are_refused() {
    for (name, what) in [
        ("../canary/x", "has `..` in it"),
        ("a/../../canary/x", "has `..` in it"),
        ("/etc/hostel-test", "is an absolute name"),
    ] {
        let (_dir, _, done) = Maker::new().file(name, "x").unpack();
        let err = done.unwrap_err();
        assert_eq!(err.kind(), Kind::Invalid);
        assert!(err.to_string().ends_with(what), "{err}");
    }
}

#[test]
fn links_that_leave_lead_nowhere() {
    for target in ["../canary", "../../../../../../canary"] {
        let (_dir, root, done) = Maker::new()
            .link(EntryType::Symlink, "out", target)
            .file("out/secret", "guest")
            .unpack();
        // Inside, the link dangles at the guest's own /canary.
        assert!(done.is_err());
        assert!(!root.join("canary").exists());
    }
    let (_dir, root, done) = Maker::new()
        .link(EntryType::Symlink, "out", "/")
        .file("out/x", "guest")
        .unpack();
    done.unwrap();
    assert_eq!(fs::read(root.join("x")).unwrap(), b"guest");
}

#[test]
fn a_hard_link_goes_to_a_file_of_the_archive() {
    let maker = || Maker::new().file("a", "one");
    for target in ["../canary/secret", "/etc/passwd", "missing", "missing/x", "."] {
        let (_dir, _, done) = maker().link(EntryType::Link, "b", target).unpack();
        assert_eq!(done.unwrap_err().kind(), Kind::Invalid, "{target}");
    }
    // Through a link that leaves: it is resolved inside.
    let (_dir, _, done) = maker()
        .link(EntryType::Symlink, "out", "../canary")
        .link(EntryType::Link, "b", "out/secret")
        .unpack();
    assert!(done.is_err());
    let (_dir, root, done) = maker()
        .link(EntryType::Link, "b", "a")
        .link(EntryType::Link, "a", "a")
        .unpack();
    done.unwrap();
    assert_eq!(fs::metadata(root.join("b")).unwrap().nlink(), 2);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"one");
}

#[test]
fn the_last_of_several_entries_holds() {
    let (_dir, root, done) = Maker::new()
        .link(EntryType::Symlink, "a", "../canary/secret")
        .file("a", "two")
        .add(EntryType::Directory, "d", "", b"", 0o700)
        .link(EntryType::Symlink, "d", "../canary")
        .add(EntryType::Directory, "d", "", b"", 0o750)
        .file("d/x", "x")
        .unpack();
    done.unwrap();
    assert_eq!(fs::read(root.join("a")).unwrap(), b"two");
    let meta = fs::symlink_metadata(root.join("d")).unwrap();
    assert_eq!((meta.is_dir(), meta.mode() & 0o7777), (true, 0o750));
    // A file does not take the place of a directory with something in it.
    let (_dir, _, done) = Maker::new().file("d/x", "x").file("d", "x").unpack();
    assert!(done.is_err());
}

#[test]
fn devices_are_left_out_and_the_rest_is_data() {
    let (_dir, root, done) = Maker::new()
        .add(EntryType::Char, "dev/null", "", b"", 0o666)
        .add(EntryType::Block, "dev/sda", "", b"", 0o666)
        .add(EntryType::Fifo, "pipe", "", b"", 0o640)
        .add(EntryType::Regular, "su", "", b"x", 0o6755)
        .file("new\nline", "x")
        .unpack();
    done.unwrap();
    assert_eq!(fs::read_dir(root.join("dev")).unwrap().count(), 0);
    let su = fs::metadata(root.join("su")).unwrap();
    assert_eq!(
        (su.mode() & 0o7777, su.uid(), su.gid(), su.mtime()),
        (0o6755, 7, 8, 1_000_000_000)
    );
    assert_eq!(fs::metadata(root.join("pipe")).unwrap().mode() & 0o7777, 0o640);
    assert!(root.join("new\nline").exists());
}

#[test]
fn what_does_not_fit_or_makes_no_sense_is_refused() {
    let huge = |size: u64| {
        let mut maker = Maker::new();
        let mut header = Header::new_gnu();
        header.set_path("huge").unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        maker.builder.append(&header, io::empty()).unwrap();
        maker.unpack().2.unwrap_err().to_string()
    };
    assert!(huge(1 << 60).contains("unpacks to more than"));
    assert!(huge(4096).contains("is cut off") || huge(4096).contains("not a whole"));

    let mut maker = Maker::new();
    let mut header = Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_mode(0o644);
    header.set_uid(1 << 20);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_cksum();
    maker.builder.append(&header, io::empty()).unwrap();
    let err = maker.unpack().2.unwrap_err();
    assert!(err.to_string().ends_with("belongs to the id 1048576"), "{err}");

    // A long name of 64 MB would be held in memory.
    let (_dir, _, done) = Maker::new()
        .add(
            EntryType::GNULongName,
            "././@LongLink",
            "",
            &vec![b'a'; 8 << 20],
            0,
        )
        .file("a", "x")
        .unpack();
    assert!(done.unwrap_err().to_string().ends_with("larger than 4M"));

    assert!(Maker::new().unpack().2.is_err());
}

#[test]
fn what_the_hosts_tar_packs_is_unpacked_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    symlink("usr/bin", tree.join("bin")).unwrap();
    fs::write(tree.join("usr/bin/tool"), vec![b'x'; 100_000]).unwrap();
    fs::hard_link(tree.join("usr/bin/tool"), tree.join("usr/bin/twin")).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_at(b"end", 32 << 20).unwrap();
    let long = "n".repeat(150);
    fs::create_dir_all(tree.join(&long).join(&long)).unwrap();
    for (option, suffix) in [
        ("--gzip", "gz"),
        ("--xz", "xz"),
        ("--zstd", "zst"),
        ("--format=gnu", "tar"),
    ] {
        let path = dir.path().join(format!("a.{suffix}"));
        let packed = Command::new("tar")
            .args([option, "--sparse", "-C"])
            .arg(&tree)
            .arg("-cf")
            .arg(&path)
            .arg(".")
            .status()
            .unwrap();
        assert!(packed.success());
        let out = dir.path().join(suffix);
        fs::create_dir(&out).unwrap();
        Archive::open(&path).unwrap().unpack(&out, &Silent).unwrap();
        let root = out.join("rootfs");
        assert_eq!(fs::read(root.join("bin/twin")).unwrap().len(), 100_000);
        assert_eq!(fs::metadata(root.join("bin/twin")).unwrap().nlink(), 2);
        let meta = fs::metadata(root.join("sparse")).unwrap();
        assert_eq!(meta.len(), 64 << 20);
        assert!(meta.blocks() < 1024);
        assert!(root.join(&long).join(&long).is_dir());
        // Cut off, and with a wrong byte.
        let whole = fs::read(&path).unwrap();
        let cut = dir.path().join("cut");
        fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(
            Archive::open(&cut).unwrap().unpack(&out, &Silent).is_err(),
            "{suffix}"
        );
    }
}
