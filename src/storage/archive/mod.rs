//! A guest or a volume as one file: a plain tar archive that other tools read too.
//!
//! ```text
//! manifest.json     the format's number, how it was kept, and the guest's specification or the volume's limits
//! rootfs/...        its files: owners as the guest numbers them, extended attributes, holes, hard links
//! checksum          SHA-256 of all that stands before it
//! ```
//!
//! An archive of changes has what differs from a snapshot, and for each name that is gone an entry below `removed`. It says
//! by a hash what it goes onto, and what comes of it.
//!
//! Device nodes and sockets are left out. An archive that is read is hostile input, its manifest too.

mod base;
mod leaf;
mod read;
pub(in crate::storage) mod record;
mod seal;
mod write;

pub use read::{Archive, unpack, unpack_onto};
pub use write::{Written, write, write_changes};

use std::cell::RefCell;
use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::guest::start_of_image::StartOfImage;
use crate::guest::{Spec, Storage, Volume, VolumeName};

/// The number of the format. One that this hostel does not know is refused, never guessed at.
pub const FORMAT: u32 = 1;

/// The number for an archive of changes: who does not know of them must not take one for the whole.
pub const FORMAT_OF_CHANGES: u32 = 2;

/// The number for an archive of a volume: it is no guest, and who takes it for one must not.
pub const FORMAT_OF_VOLUME: u32 = 3;

const MANIFEST: &str = "manifest.json";
const ROOTFS: &str = "rootfs";
/// Where an archive of changes names what is gone.
const REMOVED: &str = "removed";
const CHECKSUM: &str = "checksum";

/// What an archive says of what is in it.
pub trait Described: Serialize + serde::de::DeserializeOwned {
    /// What it is of, for messages.
    const OF: &'static str;
    /// Where such archives come from.
    const HINT: &'static str;
    /// What takes the others that hostel writes.
    const OTHERS: &'static str;
    /// The numbers of its formats.
    const FORMATS: &'static [u32];

    /// Whether what it says fits its format.
    fn is_sound(&self, format: u32) -> bool;
}

impl Described for Manifest {
    const OF: &'static str = "guest";
    const HINT: &'static str =
        "`hostel export` writes archives of guests; `image = \"tar:FILE\"` takes any other";
    const OTHERS: &'static str = "`hostel volume import` takes archives of volumes";
    const FORMATS: &'static [u32] = &[FORMAT, FORMAT_OF_CHANGES];

    fn is_sound(&self, format: u32) -> bool {
        self.since.is_some() == (format == FORMAT_OF_CHANGES)
    }
}

/// What an archive says of its volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeManifest {
    /// [`FORMAT_OF_VOLUME`].
    pub format: u32,
    /// The version of hostel that wrote it.
    pub hostel: String,
    /// When, RFC 3339.
    pub created: String,
    /// How it was kept.
    pub storage: Storage,
    /// What it was called.
    pub volume: VolumeName,
    /// Its limits.
    pub limits: Volume,
}

impl Described for VolumeManifest {
    const OF: &'static str = "volume";
    const HINT: &'static str = "`hostel volume export` writes archives of volumes";
    const OTHERS: &'static str = "`hostel import` takes archives of guests";
    const FORMATS: &'static [u32] = &[FORMAT_OF_VOLUME];

    fn is_sound(&self, _format: u32) -> bool {
        true
    }
}

/// What an archive says of its guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// The version of hostel that wrote it.
    pub hostel: String,
    /// When, RFC 3339.
    pub created: String,
    /// How its files were kept.
    pub storage: Storage,
    /// What it goes onto, where it has changes alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// How its image says that it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartOfImage>,
    /// What it is.
    pub spec: Spec,
}

/// What an archive of changes goes onto.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// What the snapshot was called, for whoever looks for it.
    pub snapshot: String,
    /// The hash of the tree that it goes onto.
    pub base: String,
    /// The hash of the tree that comes of it.
    pub result: String,
}

/// The start of a manifest, before anything else of it is believed.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// A hash of all that goes through, but for the last block: the header of the entry that holds the hash.
#[derive(Default)]
struct Lagging {
    hash: Sha256,
    held: Vec<u8>,
}

/// The size of a header of tar.
const BLOCK: usize = 512;

impl Lagging {
    fn update(&mut self, bytes: &[u8]) {
        // What was held, and then what comes, but for the last block of both.
        let all = self.held.len() + bytes.len();
        let free = all.saturating_sub(BLOCK);
        let old = free.min(self.held.len());
        self.hash.update(&self.held[..old]);
        self.held.drain(..old);
        let new = free - old;
        self.hash.update(&bytes[..new]);
        self.held.extend_from_slice(&bytes[new..]);
    }

    /// The hash of all but the last block.
    fn finish(&self) -> String {
        hex(self.hash.clone())
    }
}

fn hex(hash: Sha256) -> String {
    use std::fmt::Write as _;
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Passes bytes on and hashes them.
struct Hashing<'a, T> {
    inner: T,
    hash: &'a RefCell<Lagging>,
}

impl<T: io::Read> io::Read for Hashing<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.borrow_mut().update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_not_hashed() {
        let data: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
        for step in [1, 7, 511, 512, 513, 4096, 5000] {
            let mut lagging = Lagging::default();
            for chunk in data.chunks(step) {
                lagging.update(chunk);
            }
            assert_eq!(
                lagging.finish(),
                hex(Sha256::new().chain_update(&data[..5000 - BLOCK])),
                "{step}"
            );
        }
    }
}
