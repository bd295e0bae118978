//! What the kernel cannot know about a guest: the specification that was applied, and where it came from.
//!
//! It is one JSON file, replaced atomically, so that a reader sees the old or the new one and never half of one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Layout, scratch};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::start_of_image::StartOfImage;
use crate::guest::{GuestName, Service, Spec, Xid};

/// What was applied to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The specification as applied.
    pub spec: Spec,
    /// The context id, also when the specification leaves it to hostel.
    pub xid: Xid,
    /// The recipe it came from, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<RecipeRef>,
    /// The key of the image that the files were made from.
    pub image_key: String,
    /// How the image says that it is started, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartOfImage>,
    /// The version of hostel that applied it.
    pub hostel: String,
    /// The specification that the running instance was started with: what differs waits for a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Spec>,
}

impl Applied {
    /// The services that its init runs: the recipe's, or the image's.
    pub fn services(&self) -> BTreeMap<String, Service> {
        match &self.start {
            Some(start) => start.services(&self.spec),
            None => self.spec.services.clone(),
        }
    }

    /// Its environment: the recipe's, over the image's.
    pub fn env(&self) -> BTreeMap<String, String> {
        match &self.start {
            Some(start) => start.env(&self.spec),
            None => self.spec.env.clone(),
        }
    }
}

/// A recipe as it was when it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeRef {
    /// Where it was.
    pub path: PathBuf,
    /// The SHA-256 of its text, in hexadecimal.
    pub sha256: String,
    /// The values of its inputs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
}

/// The layout of the file. A number that this hostel does not know is refused, never guessed at.
const FORMAT: u32 = 1;

/// More than any specification has: a recipe that carries more into a guest has a mount or an image for it.
const MAX_BYTES: u64 = 64 << 20;

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    applied: &'a Applied,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// What was applied to the guest; `None` when there is no such guest.
pub fn read(layout: &Layout, name: &GuestName) -> Result<Option<Applied>> {
    let path = layout.spec(name);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(&path);
    let file = match file {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context(|| format!("open `{}`", path.display()))?,
    };
    let text = slurp(&file, &path)?;
    let applied = parse(&text).map_err(|err| damaged(&path, "is not what hostel writes").with_source(err))?;
    let Some(applied) = applied else {
        return Err(damaged(&path, "was written by a newer hostel").with_hint("use that version"));
    };
    if applied.spec.name != *name {
        return Err(damaged(
            &path,
            &format!("is that of the guest `{}`", applied.spec.name),
        ));
    }
    Ok(Some(applied))
}

/// What is on the disk when a file has been replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    /// The file, and that it is in its place.
    Yes,
    /// The same, and before it everything that was ever written to this file system: one flush instead of one a file.
    WithAllBefore,
    /// The file, in its place or not yet: after a power failure it is the old one or the new one.
    Atomic,
}

/// Replaces what was applied to the guest. Its directory is made when missing.
pub fn write(layout: &Layout, name: &GuestName, applied: &Applied) -> Result<()> {
    write_as(layout, name, applied, Durable::Yes)
}

/// The same for a guest that was just made: none of its files, which nobody has flushed, is younger on the disk.
pub fn write_with_files(layout: &Layout, name: &GuestName, applied: &Applied) -> Result<()> {
    write_as(layout, name, applied, Durable::WithAllBefore)
}

/// The same where only [`Applied::started`] is new: after a power failure nothing runs, and the old one does as well.
pub fn write_started(layout: &Layout, name: &GuestName, applied: &Applied) -> Result<()> {
    write_as(layout, name, applied, Durable::Atomic)
}

fn write_as(layout: &Layout, name: &GuestName, applied: &Applied, durable: Durable) -> Result<()> {
    let path = layout.spec(name);
    tracing::debug!("write `{}`", path.display());
    let written = Written {
        format: FORMAT,
        applied,
    };
    let mut text = serde_json::to_vec_pretty(&written)
        .map_err(|err| Error::new(Kind::Internal, format!("write `{}`", path.display())).with_source(err))?;
    text.push(b'\n');
    let dir = layout.guest_dir(name);
    match fs::DirBuilder::new().create(&dir) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io(format!("make `{}`", dir.display()), err));
        }
        _ => {}
    }
    replace_as(&path, &text, durable)
}

/// Forgets what was applied; the guest is not listed any more. It is no error when nothing was.
pub fn remove(layout: &Layout, name: &GuestName) -> Result<()> {
    let path = layout.spec(name);
    match fs::remove_file(&path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove `{}`", path.display()), err))
        }
        _ => Ok(()),
    }
}

/// The names that stand in a directory of the state, sorted. None where it is not there.
pub(super) fn names_in<T: FromStr + Ord>(dir: &Path) -> Result<Vec<T>> {
    let list = || format!("list `{}`", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(list)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context(list)?;
        names.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
    }
    names.sort();
    Ok(names)
}

/// The guests that something was applied to, sorted.
pub fn list(layout: &Layout) -> Result<Vec<GuestName>> {
    let mut names = names_in::<GuestName>(&layout.guests())?;
    // A directory without the file is a build that did not end, or no guest at all.
    names.retain(|name| fs::symlink_metadata(layout.spec(name)).is_ok());
    Ok(names)
}

fn slurp(file: &File, path: &Path) -> Result<Vec<u8>> {
    let meta = file.metadata().context(|| format!("stat `{}`", path.display()))?;
    if !meta.is_file() {
        return Err(damaged(path, "is not a file"));
    }
    let expected = usize::try_from(meta.len().min(MAX_BYTES)).unwrap_or(0);
    let mut text = Vec::with_capacity(expected + 1);
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut text)
        .context(|| format!("read `{}`", path.display()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(damaged(path, "is larger than 64M"));
    }
    Ok(text)
}

/// The file's content; `None` when its format is another one.
fn parse(text: &[u8]) -> serde_json::Result<Option<Applied>> {
    // As `write` begins it: the rest need not be gone through for a number that stands first.
    if !text.starts_with(b"{\n  \"format\": 1,\n") {
        let Format { format } = serde_json::from_slice(text)?;
        if format != FORMAT {
            return Ok(None);
        }
    }
    serde_json::from_slice(text).map(Some)
}

/// Any bytes as a state file; what is understood must be understood again as it is written.
pub(crate) fn parse_any(text: &[u8]) {
    let Ok(Some(applied)) = parse(text) else { return };
    let written = serde_json::to_vec_pretty(&Written {
        format: FORMAT,
        applied: &applied,
    });
    let second = written.and_then(|text| parse(&text));
    assert!(
        matches!(&second, Ok(Some(second)) if *second == applied),
        "{applied:?} is read again as {second:?}"
    );
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(Kind::Invalid, format!("`{}` {what}", path.display()))
        .with_hint("apply the guest's recipe again after moving this file away; the guest's files stay")
}

/// Writes a sibling, makes it durable, renames it over `path`, and makes the rename durable. For its owner alone:
/// a specification carries secrets.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<()> {
    replace_as(path, text, Durable::Yes)
}

/// The same with more or less on the disk afterwards.
pub(super) fn replace_as(path: &Path, text: &[u8], durable: Durable) -> Result<()> {
    let sibling = path.with_extension(format!("{}.new", scratch::unique()));
    let write = || {
        let mut file = private(&sibling)?;
        file.write_all(text)?;
        match durable {
            Durable::WithAllBefore => nix::unistd::syncfs(&file)?,
            Durable::Yes | Durable::Atomic => file.sync_all()?,
        }
        fs::rename(&sibling, path)?;
        if durable == Durable::Atomic {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        File::open(parent)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        // It may never have been made; what matters is reported below.
        let _ = fs::remove_file(&sibling);
    }
    written.context(|| format!("write `{}`", path.display()))
}

/// Writes a new file into a directory that nobody knows of yet. Who makes it known flushes it.
pub(super) fn put(path: &Path, text: &[u8]) -> Result<()> {
    private(path)
        .and_then(|mut file| file.write_all(text))
        .context(|| format!("write `{}`", path.display()))
}

/// A new file for its owner alone.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn applied(name: &str) -> Applied {
        let spec = serde_json::json!({ "name": name, "image": "busybox" });
        Applied {
            spec: serde_json::from_value(spec).unwrap(),
            xid: Xid::new(101).unwrap(),
            recipe: Some(RecipeRef {
                path: "/srv/web.lua".into(),
                sha256: "00".into(),
                inputs: BTreeMap::new(),
            }),
            image_key: "busybox-1".into(),
            start: None,
            hostel: "0.1.0".into(),
            started: None,
        }
    }

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        layout.ensure().unwrap();
        (dir, layout)
    }

    #[test]
    fn reads_what_it_wrote() {
        let (_dir, layout) = layout();
        let web = "web".parse().unwrap();
        assert_eq!(read(&layout, &web).unwrap(), None);
        write(&layout, &web, &applied("web")).unwrap();
        write(&layout, &web, &applied("web")).unwrap();
        assert_eq!(read(&layout, &web).unwrap(), Some(applied("web")));
        assert_eq!(list(&layout).unwrap(), vec![web.clone()]);
        let mode = fs::metadata(layout.spec(&web)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read_dir(layout.guest_dir(&web)).unwrap().count(), 1);
        remove(&layout, &web).unwrap();
        remove(&layout, &web).unwrap();
        assert!(list(&layout).unwrap().is_empty());
    }

    #[test]
    fn garbage_is_named_and_refused() {
        let (_dir, layout) = layout();
        let web: GuestName = "web".parse().unwrap();
        fs::create_dir(layout.guest_dir(&web)).unwrap();
        for garbage in [
            "",
            "{",
            "[]",
            "null",
            "{\"format\":1}",
            "{\"format\":2}",
            "\0\u{1}",
        ] {
            fs::write(layout.spec(&web), garbage).unwrap();
            let err = read(&layout, &web).unwrap_err();
            assert_eq!(err.kind(), Kind::Invalid, "{garbage:?}");
            assert!(err.to_string().contains("guests/web/spec.json"), "{err}");
        }
        write(&layout, &web, &applied("db")).unwrap();
        let err = read(&layout, &web).unwrap_err().to_string();
        assert!(err.ends_with("is that of the guest `db`"), "{err}");
    }

    #[test]
    fn follows_no_link_and_waits_for_no_fifo() {
        let (_dir, layout) = layout();
        let web: GuestName = "web".parse().unwrap();
        fs::create_dir(layout.guest_dir(&web)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", layout.spec(&web)).unwrap();
        assert!(read(&layout, &web).is_err());
        fs::remove_file(layout.spec(&web)).unwrap();
        nix::unistd::mkfifo(&layout.spec(&web), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&layout, &web).is_err());
    }
}
