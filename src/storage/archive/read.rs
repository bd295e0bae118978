//! Reading an archive, which is hostile input: entries are unpacked by the one unpacker that images have.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use super::{
    BLOCK, CHECKSUM, Described, FORMAT, FORMAT_OF_CHANGES, FORMAT_OF_VOLUME, Format, Hashing, Lagging,
    MANIFEST, Manifest, REMOVED, ROOTFS, seal,
};
use crate::error::{Context as _, Error, Kind, Result};
use crate::storage::image::tar::unpacker::Unpacker;
use crate::storage::image::tar::{MAX_META, Metered, Stream};
use crate::storage::{Inside, Progress};
use crate::sys;

/// A recipe that carries more into a guest has an image for it.
const MAX_MANIFEST: u64 = 64 << 20;

/// An archive whose manifest was read.
pub struct Archive<M = Manifest> {
    label: PathBuf,
    stream: Stream,
    hash: Lagging,
    /// What it says of what is in it.
    pub manifest: M,
}

impl<M: Described> Archive<M> {
    /// Opens the file at `path`.
    pub fn at(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|err| {
            let is_missing = err.kind() == io::ErrorKind::NotFound;
            let err = Error::io(format!("open `{}`", path.display()), err);
            if is_missing {
                err.with_kind(Kind::NotFound)
            } else {
                err
            }
        })?;
        Self::open(file, path)
    }

    /// Opens the file, which is called `label`; it may be a pipe, and compressed by gzip, xz, zstd or bzip2.
    pub fn open(file: File, label: &Path) -> Result<Self> {
        let mut stream = Stream::of(file, label)?;
        let mut hash = Lagging::default();
        let manifest = first(&mut stream.reader, &mut hash, label)?;
        Ok(Self {
            label: label.to_owned(),
            stream,
            hash,
            manifest,
        })
    }
}

/// The manifest, which is the first entry. What follows is left to be read.
fn first<M: Described>(reader: &mut dyn Read, hash: &mut Lagging, label: &Path) -> Result<M> {
    let is_none = format!("is no archive of a {}", M::OF);
    let no_guest =
        |what: &str| Error::new(Kind::Invalid, format!("`{}` {what}", label.display())).with_hint(M::HINT);
    let mut block = [0; BLOCK];
    reader
        .read_exact(&mut block)
        .map_err(|err| no_guest(&is_none).with_source(err))?;
    hash.update(&block);
    let header = Header::from_byte_slice(&block);
    let mut sum: u32 = 8 * u32::from(b' ');
    sum += block[..148]
        .iter()
        .chain(&block[156..])
        .map(|b| u32::from(*b))
        .sum::<u32>();
    let is_ours = header.cksum().is_ok_and(|said| said == sum)
        && header.path_bytes().as_ref() == MANIFEST.as_bytes()
        && header.entry_type() == EntryType::Regular;
    let size = header.entry_size().unwrap_or(u64::MAX);
    if !is_ours || size > MAX_MANIFEST {
        return Err(no_guest(&is_none));
    }
    let padded = size.div_ceil(BLOCK as u64) * BLOCK as u64;
    let mut text = Vec::new();
    reader
        .take(padded)
        .read_to_end(&mut text)
        .context(|| format!("read `{}`", label.display()))?;
    if text.len() as u64 != padded {
        return Err(no_guest("is cut off"));
    }
    hash.update(&text);
    text.truncate(usize::try_from(size).unwrap_or(0));
    let damaged = |err| no_guest("has a manifest that hostel did not write").with_source(err);
    let Format { format } = serde_json::from_slice(&text).map_err(damaged)?;
    if !M::FORMATS.contains(&format) {
        if [FORMAT, FORMAT_OF_CHANGES, FORMAT_OF_VOLUME].contains(&format) {
            return Err(no_guest(&is_none).with_hint(M::OTHERS));
        }
        let known: Vec<String> = M::FORMATS.iter().map(u32::to_string).collect();
        return Err(no_guest(&format!(
            "has the format {format}, and this hostel knows {}",
            known.join(" and ")
        ))
        .with_kind(Kind::Unsupported));
    }
    let manifest: M = serde_json::from_slice(&text).map_err(damaged)?;
    if !manifest.is_sound(format) {
        return Err(no_guest("has a manifest that hostel did not write"));
    }
    Ok(manifest)
}

/// Unpacks the files into the empty directory `root`. Only when this returns without an error they are what was
/// exported.
pub fn unpack<M>(archive: Archive<M>, root: &Path, progress: &dyn Progress) -> Result<()> {
    unpack_into(archive, &|label| Unpacker::new(label, root), progress)
}

/// Unpacks changes onto the tree that they were made against, which is seen by its hash. Only when this returns without
/// an error the tree is what was exported.
pub fn unpack_onto(
    archive: Archive,
    open: &dyn Fn() -> Result<Inside>,
    progress: &dyn Progress,
) -> Result<()> {
    let label = archive.label.clone();
    let since = archive.manifest.since.clone().ok_or_else(|| {
        Error::new(
            Kind::Invalid,
            format!(
                "`{}` is a whole guest, not what has changed of one",
                label.display()
            ),
        )
        .with_hint("`hostel import` without `--onto` makes a guest of it")
    })?;
    progress.stage("reading what the changes go onto");
    if seal::of(&open()?, progress)?.0 != since.base {
        return Err(Error::new(
            Kind::State,
            format!(
                "`{}` goes onto the snapshot `{}`, and this is something else",
                label.display(),
                since.snapshot.escape_debug()
            ),
        )
        .with_hint(
            "the guest must be as the archive before this one left it: neither started nor changed since; nothing was \
             changed",
        ));
    }
    unpack_into(archive, &|label| Unpacker::onto(label, open()?), progress)?;
    progress.stage("reading what came of it");
    if seal::of(&open()?, progress)?.0 == since.result {
        return Ok(());
    }
    Err(Error::new(
        Kind::Invalid,
        format!("what came of `{}` is not what was exported", label.display()),
    )
    .with_hint("the file system may not keep what the other one kept; nothing was changed"))
}

fn unpack_into<M>(
    archive: Archive<M>,
    begin: &dyn Fn(&Path) -> Result<Unpacker>,
    progress: &dyn Progress,
) -> Result<()> {
    let Archive {
        label,
        mut stream,
        hash,
        ..
    } = archive;
    progress.stage(&format!("unpacking {}", label.display()));
    let unpacked = begin(&label)
        .and_then(|unpacker| entries(&mut stream.reader, hash, unpacker.below(ROOTFS), &label, progress));
    // A decompressor that failed is the cause of whatever the reader complained about.
    stream.finish(&label, unpacked.is_ok())?;
    unpacked
}

fn entries(
    reader: &mut dyn Read,
    hash: Lagging,
    mut unpacker: Unpacker,
    label: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let damaged = |err: io::Error| {
        Error::new(
            Kind::Invalid,
            format!("`{}` is not a whole tar archive", label.display()),
        )
        .with_source(err)
    };
    let refuse = |what: &str| Error::new(Kind::Invalid, format!("`{}` {what}", label.display()));
    let hash = RefCell::new(hash);
    let mut hashing = Hashing {
        inner: reader,
        hash: &hash,
    };
    let allowance = Cell::new(MAX_META);
    let metered = Metered {
        reader: &mut hashing,
        allowance: &allowance,
    };
    let mut archive = tar::Archive::new(metered);
    let has_changes = unpacker.is_onto();
    let mut is_verified = false;
    for entry in archive.entries().map_err(damaged)? {
        sys::interrupt::check()?;
        let mut entry = entry.map_err(damaged)?;
        allowance.set(u64::MAX);
        if is_verified {
            return Err(refuse("has more behind its checksum"));
        }
        if entry.path_bytes().as_ref() == CHECKSUM.as_bytes() {
            let expected = hash.borrow().finish();
            let mut said = String::new();
            (&mut entry)
                .take(128)
                .read_to_string(&mut said)
                .map_err(damaged)?;
            if said.trim_end() != expected {
                return Err(refuse("is damaged: its checksum is another")
                    .with_hint("nothing was kept of it; copy it again"));
            }
            is_verified = true;
        } else if has_changes && entry.path_bytes().starts_with(b"removed/") {
            let name = entry.path_bytes().into_owned();
            let path = unpacker.clean_below(&name, REMOVED)?;
            unpacker.remove(&name, &path, false)?;
        } else {
            unpacker.entry(&mut entry)?;
            progress.bytes(unpacker.bytes, None);
        }
        io::copy(&mut entry, &mut io::sink()).map_err(damaged)?;
        allowance.set(MAX_META);
    }
    if !is_verified {
        return Err(refuse("is cut off: it has no checksum"));
    }
    // What pads the last block, so that the decompressor comes to its end and can judge.
    io::copy(&mut archive.into_inner().reader.take(MAX_META), &mut io::sink()).map_err(damaged)?;
    if has_changes {
        // Nothing may have changed.
        unpacker.finish_layer(progress)
    } else {
        unpacker.finish(progress)
    }
}
