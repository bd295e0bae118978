//! `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:IMAGE]`: images as other tools write them.
//!
//! The words are those of `containers-transports(5)`. Nothing is downloaded: `skopeo copy` and `docker save` do that. All
//! of it is hostile input: documents and layers must be what their digests say, and layers are unpacked one onto the
//! other by the unpacker that archives have, so that a link of one layer leads no other out of the root.

mod pick;
mod store;

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;

use oci_spec::image::{Arch, Digest, ImageConfiguration};
use sha2::{Digest as _, Sha256};

use self::pick::{Hash, Layer, Picked, Wanted};
use self::store::Store;
use super::tar::unpacker::Unpacker;
use super::tar::{MAX_META, MAX_TAIL, Metered, Stream};
use super::{make_root, short};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::image::Container;
use crate::guest::start_of_image::StartOfImage;
use crate::storage::{Inside, Layout, Progress};
use crate::sys;

/// Counts changes to how layers are unpacked; it is part of the key.
const REVISION: u8 = 1;

/// An image that is there, as a layout.
pub(super) struct Oci<'a> {
    container: &'a Container,
    store: Store,
    picked: Picked,
}

impl<'a> Oci<'a> {
    /// Finds it, for an architecture by Go's name for it.
    pub(super) fn find(layout: &Layout, container: &'a Container, arch: &str) -> Result<Self> {
        let store = Store::open(layout, &container.path, container.transport.is_dir())?;
        let wanted = Wanted {
            path: &container.path,
            transport: container.transport,
            tag: container.tag.as_deref(),
            arch: Arch::from(arch),
        };
        let picked = wanted.pick(&store)?;
        Ok(Self {
            container,
            store,
            picked,
        })
    }

    /// Of its configuration, which names the content of every layer.
    pub(super) fn key(&self) -> String {
        let hash = Sha256::new()
            .chain_update([REVISION])
            .chain_update(&self.picked.id);
        format!("oci-{}", short(hash))
    }

    /// What it says of how it is started, in hostel's words.
    pub(super) fn start(&self) -> StartOfImage {
        start_of(&self.picked.config)
    }

    /// Makes `rootfs` in `dir`.
    pub(super) fn unpack(&self, dir: &Path, progress: &dyn Progress) -> Result<()> {
        let root = dir.join("rootfs");
        make_root(&root)?;
        let count = self.picked.layers.len();
        for (number, layer) in self.picked.layers.iter().enumerate() {
            progress.stage(&format!(
                "unpacking layer {} of {count} of {}",
                number + 1,
                self.container.path.display()
            ));
            self.layer(layer, &root, progress)
                .context(|| format!("layer {} of `{}`", number + 1, self.container.path.display()))?;
        }
        Ok(())
    }

    fn layer(&self, layer: &Layer, root: &Path, progress: &dyn Progress) -> Result<()> {
        let open = || {
            self.store.find(&layer.name)?.ok_or_else(|| {
                Error::new(Kind::NotFound, format!("there is no `{}`", layer.name.display())).with_hint(
                    "the layout is not whole; a layer that is only named by an address is not fetched",
                )
            })
        };
        if let Some(digest) = &layer.digest {
            let mut hash = Hash::of(digest)?;
            drain(open()?, u64::MAX, &mut hash)?;
            if !hash.is(digest) {
                return Err(damaged(digest));
            }
        }
        let mut stream = Stream::fed(Box::new(open()?), &layer.name)?;
        let mut hash = Hash::of(&layer.diff_id)?;
        let unpacked = entries(&mut stream.reader, &mut hash, root, &layer.name, progress);
        // A decompressor that failed is the cause of whatever the reader complained about.
        stream.finish(&layer.name, unpacked.is_ok())?;
        unpacked?;
        if hash.is(&layer.diff_id) {
            Ok(())
        } else {
            Err(damaged(&layer.diff_id))
        }
    }
}

fn damaged(digest: &Digest) -> Error {
    Error::new(Kind::Invalid, format!("it is damaged: it is not `{digest}`"))
        .with_hint("nothing was kept of it; copy the image again")
}

/// Reads to the end, at most `most` bytes, and hashes.
fn drain(mut reader: impl Read, most: u64, hash: &mut Hash) -> Result<()> {
    let mut buffer = vec![0; 1 << 17];
    let mut left = most;
    while left > 0 {
        sys::interrupt::check()?;
        let read = match reader.read(&mut buffer) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            other => other.context(|| "read the layer")?,
        };
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        left = left.saturating_sub(read as u64);
    }
    Ok(())
}

/// Hashes what goes through.
struct Hashed<'a> {
    reader: &'a mut dyn Read,
    hash: &'a mut Hash,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// Puts one layer onto those below it.
fn entries(
    reader: &mut dyn Read,
    hash: &mut Hash,
    root: &Path,
    label: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let broken = |err: io::Error| Error::new(Kind::Invalid, "it is not a whole tar archive").with_source(err);
    let allowance = Cell::new(MAX_META);
    let mut hashed = Hashed { reader, hash };
    let mut archive = tar::Archive::new(Metered {
        reader: &mut hashed,
        allowance: &allowance,
    });
    let mut unpacker = Unpacker::layer(label, Inside::open(root, label.display().to_string())?)?;
    for entry in archive.entries().map_err(broken)? {
        sys::interrupt::check()?;
        let mut entry = entry.map_err(broken)?;
        allowance.set(u64::MAX);
        let name = entry.path_bytes().into_owned();
        match hidden(&name) {
            None => unpacker.entry(&mut entry)?,
            Some(Hidden::Nothing) => {}
            Some(Hidden::Refused) => {
                return Err(unpacker.refuse(&name, "takes away what has no name"));
            }
            Some(Hidden::Below) => {
                let path = unpacker.clean(&name)?;
                unpacker.make_opaque(path.parent().unwrap_or(Path::new("")))?;
            }
            Some(Hidden::Name(taken)) => {
                let path = unpacker.clean(&name)?;
                let taken = std::os::unix::ffi::OsStrExt::from_bytes(taken);
                let taken: &std::ffi::OsStr = taken;
                unpacker.remove(&name, &path.with_file_name(taken), true)?;
            }
        }
        progress.bytes(unpacker.bytes, None);
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
        allowance.set(MAX_META);
    }
    let tail = &mut archive.into_inner().reader.take(MAX_TAIL);
    io::copy(tail, &mut io::sink()).map_err(broken)?;
    unpacker.finish_layer(progress)
}

/// Layers from memory.
pub(super) fn unpack_layers(layers: &[&[u8]], dir: &Path) -> Result<()> {
    let root = dir.join("rootfs");
    make_root(&root)?;
    for layer in layers {
        let mut hash = Hash::any();
        entries(
            &mut &layer[..],
            &mut hash,
            &root,
            Path::new("layer"),
            &crate::storage::Silent,
        )?;
    }
    Ok(())
}

/// What an entry takes away of the layers below.
#[derive(Debug, PartialEq, Eq)]
enum Hidden<'n> {
    /// The file of that name beside it.
    Name(&'n [u8]),
    /// All that its directory has.
    Below,
    /// Nothing: what aufs kept of its own.
    Nothing,
    /// What cannot be.
    Refused,
}

/// `None` for an entry that is a file.
fn hidden(name: &[u8]) -> Option<Hidden<'_>> {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let taken = last.strip_prefix(b".wh.")?;
    Some(match taken {
        b".wh..opq" => Hidden::Below,
        b"" | b"." | b".." => Hidden::Refused,
        _ if taken.starts_with(b".wh.") => Hidden::Nothing,
        _ => Hidden::Name(taken),
    })
}

fn start_of(config: &ImageConfiguration) -> StartOfImage {
    let mut start = StartOfImage::default();
    let Some(config) = config.config() else {
        return start;
    };
    for variable in config.env().iter().flatten() {
        if let Some((name, value)) = variable.split_once('=') {
            start.env.insert(name.to_owned(), value.to_owned());
        }
    }
    let words = config.entrypoint().iter().chain(config.cmd()).flatten();
    start.exec = words.cloned().collect();
    let word = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    start.dir = word(config.working_dir()).filter(|dir| dir.starts_with('/'));
    start.stop_signal = word(config.stop_signal());
    if let Some(user) = word(config.user()) {
        let (name, group) = user
            .split_once(':')
            .map_or((user.as_str(), None), |(n, g)| (n, Some(g)));
        start.user = Some(name.to_owned());
        if let Some(group) = group {
            start.untaken.push(format!("the group `{group}` of its user"));
        }
    }
    let list = |what: &str, values: &Option<Vec<String>>| {
        let values = values.as_ref().filter(|values| !values.is_empty())?;
        Some(format!("{what} {}", values.join(" ")))
    };
    start.untaken.extend(list("the ports", config.exposed_ports()));
    start.untaken.extend(list("the volumes", config.volumes()));
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_away_is_told_from_files() {
        for (name, expected) in [
            (&b"etc/passwd"[..], None),
            (b"etc/.wh.passwd", Some(Hidden::Name(b"passwd"))),
            (b".wh.a", Some(Hidden::Name(b"a"))),
            (b"etc/.wh.dir/", Some(Hidden::Name(b"dir"))),
            (b"etc/.wh..wh..opq", Some(Hidden::Below)),
            (b".wh..wh.plnk", Some(Hidden::Nothing)),
            (b"a/.wh...", Some(Hidden::Refused)),
            (b"a/.wh..", Some(Hidden::Refused)),
            (b"a/.wh.", Some(Hidden::Refused)),
            (b"a/.wh", None),
        ] {
            assert_eq!(hidden(name), expected, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn a_configuration_in_hostels_words() {
        let text = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
            "config":{"User":"www:33","Env":["A=b=c","PATH=/bin"],"Entrypoint":["/e"],"Cmd":["x","y"],"WorkingDir":"/srv",
            "ExposedPorts":{"80/tcp":{}},"Volumes":null,"StopSignal":"SIGQUIT"}}"#;
        let start = start_of(&serde_json::from_str(text).unwrap());
        assert_eq!(start.exec, ["/e", "x", "y"]);
        assert_eq!(start.env["A"], "b=c");
        assert_eq!(start.user.as_deref(), Some("www"));
        assert_eq!(
            (start.dir.as_deref(), start.stop_signal.as_deref()),
            (Some("/srv"), Some("SIGQUIT"))
        );
        assert_eq!(start.untaken, ["the group `33` of its user", "the ports 80/tcp"]);
        let bare = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert_eq!(
            start_of(&serde_json::from_str(bare).unwrap()),
            StartOfImage::default()
        );
    }
}
