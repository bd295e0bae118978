//! Snapshots of the files of a guest or volume: `snapshots/LABEL` in its directory, laid out as that is.
//!
//! A snapshot is kept as the files are, so it costs what a clone costs. It goes with the guest or volume.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::driver::{self, From, Job};
use super::files::{self, Access, Files};
use super::scratch::Scratch;
use super::still::Source;
use super::{Bounds, Home, Inside, Layout, Progress, layer, state, tree};
use crate::error::{Context, Error, Kind, Result};
use crate::guest::{Invalid, Storage, serde_as_text};

/// The name of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of this second.
    fn now(now: OffsetDateTime) -> Self {
        let (date, time) = (now.date(), now.time());
        Self(format!(
            "{:04}{:02}{:02}-{:02}{:02}{:02}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        ))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Label {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if begins && text.len() <= 64 && text.bytes().all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                format!("`{}` is no name for a snapshot", text.escape_debug()),
                "letters and digits, then also `-`, `_` and `.`, at most 64",
            ))
        }
    }
}

serde_as_text!(Label);

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub label: Label,
    /// When it was taken, RFC 3339.
    pub created: String,
    /// How its files are kept.
    pub storage: Storage,
    /// What it occupies besides what it shares by layers, in bytes; extents that are shared are counted.
    pub size: u64,
}

/// What is kept of it.
#[derive(Serialize, Deserialize)]
struct Written {
    created: String,
}

/// Takes a snapshot. The caller holds the lock of what it is of; `source` is who may write there meanwhile.
pub fn create(
    layout: &Layout,
    home: &Home,
    mut source: Source,
    label: Option<&Label>,
    progress: &dyn Progress,
) -> Result<Label> {
    let dir = home.snapshots();
    let now = OffsetDateTime::now_utc();
    let label = match label {
        Some(label) => label.clone(),
        None => free(&dir, &Label::now(now)),
    };
    let place = dir.join(label.as_str());
    if fs::symlink_metadata(&place).is_ok() {
        return Err(
            Error::new(Kind::Exists, format!("`{home}` has a snapshot `{label}` already"))
                .with_hint("take another name, or none"),
        );
    }
    let kept = files::read_in(home.dir())?;
    let driver = driver::able(layout, kept.storage())?;
    let scratch = Scratch::new(layout)?;
    let made = scratch.path().join(label.as_str());
    make_dir(&made)?;
    source.keep_still(&kept, kept.storage())?;
    let from = From::Guest {
        home: home.dir(),
        files: &kept,
        is_live: source.is_running(),
    };
    let done = driver.make(&Job {
        layout,
        name: home.name(),
        from: &from,
        place: &made,
        bounds: &Bounds::NONE,
        progress,
    })?;
    drop(source);
    files::put(&made, &done.files)?;
    let created = now.format(&Rfc3339).unwrap_or_default();
    let text = serde_json::to_vec(&Written { created })
        .map_err(|err| Error::new(Kind::Internal, "write a snapshot's date").with_source(err))?;
    state::put(&made.join("snapshot.json"), &text)?;
    let opened = File::open(&made).context(|| format!("open `{}`", made.display()))?;
    nix::unistd::syncfs(&opened).context(|| "write the snapshot to the disk")?;
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io(format!("make `{}`", dir.display()), err));
        }
        _ => {}
    }
    fs::rename(&made, &place)
        .and_then(|()| File::open(&dir)?.sync_all())
        .context(|| format!("move into `{}`", place.display()))?;
    done.holds.kept();
    Ok(label)
}

/// A snapshot that is read: it stays until this is dropped.
pub struct Held {
    /// Its tree, to be looked at.
    pub tree: Inside,
    _lock: Flock<File>,
}

/// Opens a snapshot.
pub fn open(layout: &Layout, home: &Home, label: &Label) -> Result<Held> {
    let place = place(home, label)?;
    let opened = File::open(&place).context(|| format!("open `{}`", place.display()))?;
    let lock = Flock::lock(opened, FlockArg::LockSharedNonblock)
        .map_err(|(_, errno)| Error::os(format!("lock `{}`", place.display()), errno))?;
    // It may have gone between the two.
    self::place(home, label)?;
    let files = files::read_in(&place)?;
    let tree = files::open_in(layout, &place, &files, home.name(), Access::Read)?;
    Ok(Held { tree, _lock: lock })
}

/// The lock of whoever takes a snapshot away: nobody reads it.
fn unread(place: &Path, label: &str) -> Result<Flock<File>> {
    let opened = File::open(place).context(|| format!("open `{}`", place.display()))?;
    match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => Err(Error::new(
            Kind::State,
            format!("the snapshot `{label}` is being exported"),
        )
        .with_hint("wait for that, or end it")),
        Err((_, errno)) => Err(Error::os(format!("lock `{}`", place.display()), errno)),
    }
}

/// Refuses while one of the snapshots is read; until what is given is dropped, none can be.
pub fn all_unread(home: &Home) -> Result<Vec<Flock<File>>> {
    labels(home)?
        .iter()
        .map(|label| unread(&home.snapshots().join(label.as_str()), label.as_str()))
        .collect()
}

/// A snapshot that nobody sees, gone when it is dropped or its process dies.
pub struct Temporary<'a> {
    layout: &'a Layout,
    name: String,
    place: PathBuf,
    files: Files,
    _scratch: Scratch,
    _holds: layer::Holds,
}

/// Takes a snapshot for a moment, as [`create`].
pub fn temporary<'a>(
    layout: &'a Layout,
    home: &Home,
    mut source: Source,
    progress: &dyn Progress,
) -> Result<Temporary<'a>> {
    let kept = files::read_in(home.dir())?;
    let driver = driver::able(layout, kept.storage())?;
    let scratch = Scratch::new(layout)?;
    let place = scratch.path().join("snapshot");
    make_dir(&place)?;
    source.keep_still(&kept, kept.storage())?;
    let made = driver.make(&Job {
        layout,
        name: home.name(),
        from: &From::Guest {
            home: home.dir(),
            files: &kept,
            is_live: source.is_running(),
        },
        place: &place,
        bounds: &Bounds::NONE,
        progress,
    })?;
    Ok(Temporary {
        layout,
        name: home.name().to_owned(),
        place,
        files: made.files,
        _scratch: scratch,
        _holds: made.holds,
    })
}

impl Temporary<'_> {
    /// Its tree, to be looked at.
    pub fn open(&self) -> Result<Inside> {
        files::open_in(self.layout, &self.place, &self.files, &self.name, Access::Read)
    }
}

/// The first of `20260102-030405`, `20260102-030405-2` ... that is not taken.
fn free(dir: &Path, label: &Label) -> Label {
    let is_taken = |label: &Label| fs::symlink_metadata(dir.join(label.as_str())).is_ok();
    let others = (2..).map(|n: u32| Label(format!("{label}-{n}")));
    std::iter::once(label.clone())
        .chain(others)
        .find(|label| !is_taken(label))
        .unwrap_or_else(|| label.clone())
}

fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .context(|| format!("make `{}`", path.display()))
}

/// The snapshots, the oldest first.
pub fn list(layout: &Layout, home: &Home) -> Result<Vec<Snapshot>> {
    let mut found = Vec::new();
    for label in labels(home)? {
        let place = home.snapshots().join(label.as_str());
        let path = place.join("snapshot.json");
        let text = match fs::read(&path) {
            // Removed meanwhile.
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            other => other.context(|| format!("read `{}`", path.display()))?,
        };
        let Written { created } = serde_json::from_slice(&text).map_err(|err| {
            Error::new(
                Kind::Invalid,
                format!("`{}` is not what hostel writes", path.display()),
            )
            .with_source(err)
        })?;
        let files = files::read_in(&place)?;
        found.push(Snapshot {
            label,
            created,
            storage: files.storage(),
            size: files::size_in(layout, &place, &files)?,
        });
    }
    found.sort_by(|a, b| (&a.created, &a.label).cmp(&(&b.created, &b.label)));
    Ok(found)
}

/// How many there are.
pub fn count(home: &Home) -> Result<usize> {
    labels(home).map(|labels| labels.len())
}

fn labels(home: &Home) -> Result<Vec<Label>> {
    let dir = home.snapshots();
    let entries = match fs::read_dir(&dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("list `{}`", dir.display()))?,
    };
    let mut labels: Vec<Label> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    labels.sort();
    Ok(labels)
}

/// Where a snapshot is.
fn place(home: &Home, label: &Label) -> Result<PathBuf> {
    let place = home.snapshots().join(label.as_str());
    if place.is_dir() {
        return Ok(place);
    }
    Err(
        Error::new(Kind::NotFound, format!("`{home}` has no snapshot `{label}`"))
            .with_hint(format!("`{}` lists them", home.listing())),
    )
}

/// Removes a snapshot. The caller holds the lock of what it is of.
pub fn remove(layout: &Layout, home: &Home, label: &Label) -> Result<()> {
    let place = place(home, label)?;
    let _lock = unread(&place, label.as_str())?;
    let layers: Vec<_> = match files::read_in(&place)? {
        Files::Overlay(stack) => stack.layers().collect(),
        _ => Vec::new(),
    };
    let scratch = Scratch::new(layout)?;
    fs::rename(&place, scratch.path().join("snapshot"))
        .context(|| format!("remove `{}`", place.display()))?;
    let parent = File::open(scratch.path()).context(|| format!("open `{}`", scratch.path().display()))?;
    tree::remove(&parent, Path::new("snapshot"))?;
    layer::remove_unused(layout, layers).map(drop)
}

/// Removes the oldest snapshots but for `keep`. Gives those that it has removed. The caller holds the lock of what it is of.
pub fn retain(layout: &Layout, home: &Home, keep: usize) -> Result<Vec<Label>> {
    let all = list(layout, home)?;
    let many = all.len().saturating_sub(keep);
    let old: Vec<Label> = all
        .into_iter()
        .take(many)
        .map(|snapshot| snapshot.label)
        .collect();
    old.iter().try_for_each(|label| remove(layout, home, label))?;
    Ok(old)
}

/// Makes the files those of a snapshot. The caller holds the lock of what it is of, and nobody uses it. They are kept
/// within `bounds` then too.
pub fn restore(
    layout: &Layout,
    home: &Home,
    label: &Label,
    bounds: &Bounds,
    progress: &dyn Progress,
) -> Result<()> {
    let place = place(home, label)?;
    let kept = files::read_in(&place)?;
    let old = files::read_in(home.dir())?;
    let from = From::Guest {
        home: &place,
        files: &kept,
        is_live: false,
    };
    driver::replace(layout, home, &old, &from, old.storage(), bounds, progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names_and_never_paths() {
        for good in ["a", "before-upgrade", "20260102-030405", "v1.2_x"] {
            assert_eq!(good.parse::<Label>().unwrap().to_string(), good);
        }
        for bad in ["", ".", "..", ".x", "-x", "a/b", "a b", "\u{e9}"] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
        let at = OffsetDateTime::from_unix_timestamp(1_000_000_000).unwrap();
        assert_eq!(Label::now(at).as_str(), "20010909-014640");
    }
}
