//! Journals of workflows: what a run was asked for, and which of its steps are done.
//!
//! `flows/ID/journal.json` is one JSON file, replaced atomically before and after each step. Who works on a run holds
//! `flock(2)` on `flows/ID/lock`, so that two cannot resume it at once, and a run that nobody works on any more is known.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Layout, lock, state};
use crate::error::{Context, Error, Kind, Result};

/// The layout of the file. A number that this hostel does not know is refused, never guessed at.
const FORMAT: u32 = 1;

/// More than the values of any sensible run.
const MAX_BYTES: u64 = 64 << 20;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowState {
    /// It works, or was killed while it did.
    Running,
    /// It came to its end.
    Done,
    /// It failed behind a commit: there is no way back, only on.
    Failed,
    /// It failed, and takes back what it did, or was killed while it did.
    Undoing,
    /// Everything that it did was undone.
    Undone,
    /// It failed, and something could not be undone.
    UndoFailed,
}

impl FlowState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
        }
    }

    /// Whether nothing is left to do for the run.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Undone)
    }
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a record of a file: each is a fact of its own"
)]
pub struct Step {
    /// Its name, which no other step of the run has.
    pub name: String,
    /// `running`, `done`, `failed`, `skipped`, `undoing`, `undone`, `undo_failed`.
    pub state: String,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// How often it was tried.
    #[serde(default)]
    pub tries: u32,
    /// When it began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Why it failed, or its undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it has an undo.
    #[serde(default)]
    pub has_undo: bool,
    /// Whether it was cut off or failed half-way: it has no value.
    #[serde(default)]
    pub half: bool,
    /// Whether it is a commit.
    #[serde(default)]
    pub is_commit: bool,
    /// Whether it may run a second time.
    #[serde(default = "yes")]
    pub idempotent: bool,
}

fn yes() -> bool {
    true
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// Its id.
    pub id: String,
    /// The workflow's name.
    pub flow: String,
    /// The script, as it was found: an absolute path, or `embedded:NAME`.
    pub script: String,
    /// SHA-256 of the script and of each module that it required, by path.
    #[serde(default)]
    pub sources: BTreeMap<String, String>,
    /// Its arguments.
    #[serde(default)]
    pub args: Json,
    /// Where it is.
    pub state: FlowState,
    /// Whether it is behind its point of no return.
    #[serde(default)]
    pub committed: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it began, RFC 3339.
    pub started: String,
    /// When this was written.
    pub updated: String,
    /// The version of hostel.
    pub hostel: String,
    /// Its steps, in their order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    journal: &'a Journal,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The right to work on a run, and its journal.
#[derive(Debug)]
pub struct Hold {
    dir: PathBuf,
    _lock: Flock<File>,
}

/// An id: letters, digits, `-`, `_`. Never a path.
pub fn is_id(id: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !id.is_empty() && id.len() <= 128 && id.bytes().all(is_part)
}

impl Hold {
    /// A new run, whose id begins with `stem`.
    pub fn create(layout: &Layout, stem: &str) -> Result<(Self, String)> {
        layout.ensure()?;
        loop {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // Short enough to be typed; one that is taken is tried again.
            let id = format!("{stem}-{:06x}", (since.as_nanos() >> 8) & 0xff_ffff);
            let dir = layout.flows().join(&id);
            match DirBuilder::new().mode(0o700).create(&dir) {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                other => {
                    other.context(|| format!("make `{}`", dir.display()))?;
                    // Between the two lines `remove_dead` may have come: then there is nothing to lock.
                    if let Some(hold) = hold(&dir, true)? {
                        return Ok((hold, id));
                    }
                }
            }
        }
    }

    /// A run that nobody works on.
    pub fn take(layout: &Layout, id: &str) -> Result<Self> {
        let dir = dir(layout, id)?;
        hold(&dir, false)?.ok_or_else(|| {
            Error::new(Kind::Busy, format!("another hostel works on the run `{id}`"))
                .with_hint("wait until it has ended, or end it with SIGTERM")
        })
    }

    /// Replaces the journal; it is on the disk when this returns.
    pub fn write(&self, journal: &Journal) -> Result<()> {
        let path = self.dir.join("journal.json");
        let written = Written {
            format: FORMAT,
            journal,
        };
        let mut text = serde_json::to_vec_pretty(&written)
            .map_err(|err| Error::new(Kind::Internal, "write the journal").with_source(err))?;
        text.push(b'\n');
        state::replace(&path, &text)
    }

    /// Removes the run.
    pub fn remove(self) -> Result<()> {
        // The journal first: a directory without one is swept.
        match fs::remove_file(self.dir.join("journal.json")) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove `{}`", self.dir.display()), err));
            }
            _ => {}
        }
        fs::remove_dir_all(&self.dir).context(|| format!("remove `{}`", self.dir.display()))
    }
}

fn dir(layout: &Layout, id: &str) -> Result<PathBuf> {
    let dir = layout.flows().join(id);
    if !is_id(id) || !dir.is_dir() {
        return Err(
            Error::new(Kind::NotFound, format!("there is no run `{}`", id.escape_debug()))
                .with_hint("`hostel flow ls` lists them"),
        );
    }
    Ok(dir)
}

/// `None` when another process has it.
fn hold(dir: &Path, is_new: bool) -> Result<Option<Hold>> {
    match lock::try_lock(&dir.join("lock")) {
        Err(err) if is_new && err.errno() == Some(Errno::ENOENT) => Ok(None),
        lock => Ok(lock?.map(|lock| Hold {
            dir: dir.to_owned(),
            _lock: lock,
        })),
    }
}

/// Whether a process works on the run.
pub fn is_held(layout: &Layout, id: &str) -> Result<bool> {
    Ok(hold(&dir(layout, id)?, false)?.is_none())
}

/// The journal of a run.
pub fn read(layout: &Layout, id: &str) -> Result<Journal> {
    let path = dir(layout, id)?.join("journal.json");
    let damaged = |what: &str| {
        Error::new(Kind::Invalid, format!("`{}` {what}", path.display()))
            .with_hint(format!("`hostel flow rm --force {id}` forgets the run"))
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(&path);
    let file = match file {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            return Err(damaged("is not there: the run was killed before it began"));
        }
        other => other.context(|| format!("open `{}`", path.display()))?,
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut text)
        .context(|| format!("read `{}`", path.display()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(damaged("is larger than 64M"));
    }
    let not_ours = |err| damaged("is not what hostel writes").with_source(err);
    let Format { format } = serde_json::from_slice(&text).map_err(not_ours)?;
    if format != FORMAT {
        return Err(damaged("was written by another version of hostel"));
    }
    let journal: Journal = serde_json::from_slice(&text).map_err(not_ours)?;
    if journal.id != id {
        return Err(damaged("is that of another run"));
    }
    Ok(journal)
}

/// The ids of all runs, sorted. One that was killed before its journal was written is among them.
pub fn list(layout: &Layout) -> Result<Vec<String>> {
    let dir = layout.flows();
    let entries = match fs::read_dir(&dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("list `{}`", dir.display()))?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("list `{}`", dir.display()))?;
        if let Some(id) = entry.file_name().to_str().filter(|id| is_id(id)) {
            ids.push(id.to_owned());
        }
    }
    ids.sort();
    Ok(ids)
}

/// Whether a run has a journal: without one nothing of it has happened.
pub fn has_journal(layout: &Layout, id: &str) -> bool {
    layout.flows().join(id).join("journal.json").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn journal(id: &str) -> Journal {
        serde_json::from_value(serde_json::json!({
            "id": id, "flow": "f", "script": "/f.lua", "state": "running", "hostel": "0.1.0",
            "started": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z",
            "steps": [{ "name": "one", "state": "done", "value": { "a": [1, null] } }],
        }))
        .unwrap()
    }

    #[test]
    fn a_run_is_held_by_one_and_read_by_all() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        let (hold, id) = Hold::create(&layout, "f").unwrap();
        assert!(is_id(&id) && id.starts_with("f-"), "{id}");
        assert!(!has_journal(&layout, &id));
        assert_eq!(read(&layout, &id).unwrap_err().kind(), Kind::Invalid);
        hold.write(&journal(&id)).unwrap();
        assert_eq!(read(&layout, &id).unwrap(), journal(&id));
        let path = layout.flows().join(&id).join("journal.json");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(is_held(&layout, &id).unwrap());
        assert_eq!(Hold::take(&layout, &id).unwrap_err().kind(), Kind::Busy);
        drop(hold);
        assert!(!is_held(&layout, &id).unwrap());
        assert_eq!(list(&layout).unwrap(), std::slice::from_ref(&id));
        Hold::take(&layout, &id).unwrap().remove().unwrap();
        assert!(list(&layout).unwrap().is_empty());
        assert_eq!(read(&layout, &id).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn what_hostel_did_not_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path().join("state"));
        let (_hold, id) = Hold::create(&layout, "f").unwrap();
        let path = layout.flows().join(&id).join("journal.json");
        for text in ["", "{", "[]", "{\"format\":1}", "{\"format\":2}"] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&layout, &id).unwrap_err().kind(), Kind::Invalid, "{text:?}");
        }
        for id in ["..", ".", "", "a/b", "x y"] {
            assert_eq!(read(&layout, id).unwrap_err().kind(), Kind::NotFound, "{id:?}");
        }
    }
}
