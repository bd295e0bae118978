//! Any bytes as an archive of a root: what comes of it lies in its folder.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{folder, write};
use crate::guest::image::{Container, Transport};
use crate::storage::{Layout, image};

/// What stands beside the folder that an archive is unpacked into.
const SECRET: &[u8] = b"of the host";

/// Unpacks the bytes. Whatever they say, nothing beside the folder is made, changed or linked to, nothing outside is
/// reached by what was made, and no device file was.
pub fn archive(bytes: &[u8]) {
    contained("archive", |folder| {
        let file = folder.join("a.tar");
        write(&file, bytes);
        // Refused or not: what it left is what counts.
        let _ = image::unpack_tar(&file, folder);
    });
}

/// The bytes, parted by a mark, as layers of an image, one onto the other. The same holds.
pub fn layers(bytes: &[u8]) {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(PART.len()).position(|window| window == PART) {
        parts.push(&rest[..at]);
        rest = &rest[at + PART.len()..];
    }
    parts.push(rest);
    contained("layers", |folder| {
        let _ = image::unpack_layers(&parts, folder);
    });
}

/// The bytes as an image in one file, of both kinds. The same holds.
pub fn images(bytes: &[u8]) {
    for transport in [Transport::OciArchive, Transport::DockerArchive] {
        contained("images", |folder| {
            let file = folder.join("a.tar");
            write(&file, bytes);
            let layout = Layout::at(folder.join("state"));
            layout.ensure().unwrap_or_else(|err| panic!("{err}"));
            let container = Container {
                transport,
                path: file,
                tag: None,
            };
            let _ = image::unpack_image(&layout, &container, folder);
        });
    }
}

/// What parts two layers.
const PART: &[u8] = b"\n-- layer --\n";

fn contained(kind: &str, unpack: impl Fn(&Path)) {
    let folder = folder().join(kind);
    // Of the input before this one.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("canary")).unwrap_or_else(|err| panic!("{err}"));
    let secret = folder.join("canary/secret");
    write(&secret, SECRET);
    let before = std::fs::metadata(&secret).unwrap_or_else(|err| panic!("{err}"));
    unpack(&folder);
    let after = std::fs::metadata(&secret).unwrap_or_else(|err| panic!("the canary: {err}"));
    let facts = |of: &std::fs::Metadata| (of.nlink(), of.mode(), of.uid(), of.gid(), of.mtime(), of.ino());
    assert_eq!(facts(&before), facts(&after), "the canary is not as it was");
    assert_eq!(std::fs::read(&secret).ok().as_deref(), Some(SECRET));
    let mut beside: Vec<_> = names(&folder);
    beside.retain(|name| !["canary", "a.tar", "rootfs", "state"].contains(&name.as_str()));
    assert!(beside.is_empty(), "made beside the root: {beside:?}");
    assert_eq!(names(&folder.join("canary")), ["secret"]);
    only_plain(&folder.join("rootfs"));
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// No device file of the host's is below.
fn only_plain(dir: &Path) {
    use std::os::unix::fs::FileTypeExt as _;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        assert!(
            !kind.is_block_device() && !kind.is_char_device(),
            "a device: {}",
            entry.path().display()
        );
        if kind.is_dir() {
            only_plain(&entry.path());
        }
    }
}
