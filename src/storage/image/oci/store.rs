//! Where the files of an image layout are: a directory, or a tar archive that is read in place.
//!
//! Both are hostile input. Of a directory, names are resolved inside it; of an archive, only the headers are read, and
//! nothing of it is unpacked to find something.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use crate::error::{Context as _, Error, Kind, Result};
use crate::storage::image::tar::Stream;
use crate::storage::{Inside, Layout};

/// Names that an archive of an image may have: of each layer a few.
const MAX_NAMES: usize = 100_000;

/// The bytes of one file of the layout.
pub(super) struct Section {
    file: File,
    at: u64,
    left: u64,
}

impl Section {
    /// How much of it is still to be read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        if read == 0 && most > 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// The files of a layout.
pub(super) enum Store {
    /// Below a directory.
    Dir(Inside),
    /// Of a tar archive: where each begins, and how long it is.
    Tar {
        file: File,
        names: HashMap<PathBuf, Place>,
    },
}

/// Where a file of an archive is.
pub(super) enum Place {
    At(u64, u64),
    /// A link to another name: `docker save` of old writes a layer that two images have like that.
    Link(PathBuf),
}

impl Store {
    /// The layout at `path`; one that is compressed is first unpacked into a file without a name.
    pub(super) fn open(layout: &Layout, path: &Path, is_dir: bool) -> Result<Self> {
        let shown = || format!("open `{}`", path.display());
        let meta = std::fs::metadata(path).context(shown)?;
        if meta.is_dir() != is_dir || !(meta.is_dir() || meta.is_file()) {
            let (what, hint) = if is_dir {
                (
                    "is not a directory",
                    "an image in one file is `oci-archive:FILE` or `docker-archive:FILE`",
                )
            } else {
                ("is not a file", "an image layout in a directory is `oci:DIR`")
            };
            return Err(Error::new(Kind::Invalid, format!("`{}` {what}", path.display())).with_hint(hint));
        }
        if is_dir {
            return Ok(Self::Dir(Inside::open_followed(
                path,
                path.display().to_string(),
            )?));
        }
        let mut file = File::open(path).context(shown)?;
        if Stream::is_compressed(&mut file, path)? {
            file = decompressed(layout, file, path)?;
        }
        let names = names(&file, path)?;
        Ok(Self::Tar { file, names })
    }

    /// The file of that name; `None` when there is none.
    pub(super) fn find(&self, name: &Path) -> Result<Option<Section>> {
        match self {
            Self::Dir(inside) => {
                if !inside.exists(name)? {
                    return Ok(None);
                }
                let file = inside.open_file(name)?;
                let left = file
                    .metadata()
                    .context(|| format!("stat `{}`", name.display()))?
                    .len();
                Ok(Some(Section { file, at: 0, left }))
            }
            Self::Tar { file, names } => {
                let place = match names.get(name) {
                    // One step: a circle of links is no layer.
                    Some(Place::Link(target)) => names.get(target),
                    other => other,
                };
                let Some(Place::At(at, left)) = place else {
                    return Ok(None);
                };
                let file = file.try_clone().context(|| "duplicate")?;
                Ok(Some(Section {
                    file,
                    at: *at,
                    left: *left,
                }))
            }
        }
    }
}

/// The archive's bytes in a file that goes with its descriptor.
fn decompressed(layout: &Layout, file: File, path: &Path) -> Result<File> {
    let tmp = layout.images_tmp();
    std::fs::create_dir_all(&tmp).context(|| format!("make `{}`", tmp.display()))?;
    let mut plain = tempfile_in(&tmp)?;
    let mut stream = Stream::of(file, path)?;
    let copied = io::copy(&mut stream.reader, &mut plain);
    stream.finish(path, copied.is_ok())?;
    copied.context(|| format!("decompress `{}`", path.display()))?;
    plain
        .seek(SeekFrom::Start(0))
        .context(|| format!("read `{}`", path.display()))?;
    Ok(plain)
}

fn tempfile_in(dir: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE)
        .open(dir)
        .context(|| format!("make a file in `{}`", dir.display()))
}

fn names(file: &File, path: &Path) -> Result<HashMap<PathBuf, Place>> {
    let damaged = |err: io::Error| {
        Error::new(
            Kind::Invalid,
            format!("`{}` is not a whole tar archive", path.display()),
        )
        .with_source(err)
    };
    let own = file.try_clone().context(|| "duplicate")?;
    let length = file
        .metadata()
        .context(|| format!("stat `{}`", path.display()))?
        .len();
    let mut archive = tar::Archive::new(io::BufReader::new(own));
    let mut names = HashMap::new();
    for entry in archive.entries_with_seek().map_err(damaged)? {
        crate::sys::interrupt::check()?;
        let entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.into_owned();
        let place = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let (at, size) = (entry.raw_file_position(), entry.size());
                if at.checked_add(size).is_none_or(|end| end > length) {
                    return Err(damaged(io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
                Place::At(at, size)
            }
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name().map_err(damaged)?.unwrap_or_default();
                let up = match entry.header().entry_type() {
                    EntryType::Symlink => name.parent().unwrap_or(Path::new("")),
                    _ => Path::new(""),
                };
                match lexical(&up.join(target)) {
                    Some(target) => Place::Link(target),
                    None => continue,
                }
            }
            _ => continue,
        };
        let Some(name) = lexical(&name) else { continue };
        if names.len() >= MAX_NAMES {
            return Err(Error::new(
                Kind::Invalid,
                format!("`{}` has more than {MAX_NAMES} files", path.display()),
            ));
        }
        names.insert(name, place);
    }
    Ok(names)
}

/// The path without `.` and `..`; `None` for one that leads out.
fn lexical(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            Component::ParentDir if clean.pop() => {}
            _ => return None,
        }
    }
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        assert_eq!(lexical(Path::new("./a/../b/c")), Some("b/c".into()));
        assert_eq!(lexical(Path::new("../a")), None);
        assert_eq!(lexical(Path::new("/a")), None);
    }
}
