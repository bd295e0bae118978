//! `hostel export`: a guest as one file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::hooks::{HookRunner, around_copy};
use super::host::Host;
use super::observe::{self, State};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{GuestName, Invalid};
use crate::storage::archive::{self, FORMAT, Manifest, Written};
use crate::storage::files::{self, Access};
use crate::storage::snapshot::Label;
use crate::storage::still::Source;
use crate::storage::{Home, Inside, Progress, snapshot};

/// What of a guest is written.
#[derive(Debug, Clone, Default)]
pub struct What {
    /// A snapshot of it instead of what it is now.
    pub snapshot: Option<Label>,
    /// Only what has changed since this snapshot.
    pub since: Option<Label>,
}

/// Writes a guest, which may run, to `to`. One that runs stands still only while a snapshot is made, which is written
/// and then gone.
pub fn export(
    host: &Host,
    name: &GuestName,
    what: &What,
    to: &mut dyn Write,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Written> {
    let lock = super::lock(host, name)?;
    let applied = observe::applied(host, name)?;
    let kept = files::read(&host.layout, name)?;
    let mut spec = applied.spec.clone();
    // They are functions of its recipe, which does not go along.
    spec.hooks.clear();
    let manifest = Manifest {
        format: FORMAT,
        hostel: env!("CARGO_PKG_VERSION").to_owned(),
        created: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        storage: kept.storage(),
        since: None,
        start: applied.start.clone(),
        spec,
    };
    let volumes: Vec<String> = applied
        .spec
        .mounted_volumes()
        .iter()
        .map(ToString::to_string)
        .collect();
    if !volumes.is_empty() {
        progress.warning(&format!(
            "what is in the volumes of `{name}` is not in the archive ({}); `hostel volume export` writes it",
            volumes.join(", ")
        ));
    }
    let home = Home::of_guest(&host.layout, name);
    let base = what.since.as_ref();
    let base = base
        .map(|label| snapshot::open(&host.layout, &home, label).map(|held| (label, held)))
        .transpose()?;
    let mut write = |tree: &Inside| {
        if let Some((label, held)) = &base {
            let since = (label.as_str(), &held.tree);
            return archive::write_changes(tree, manifest.clone(), since, to, progress);
        }
        progress.stage(&format!("exporting {name}"));
        archive::write(tree, &manifest, to, progress)
    };
    if let Some(label) = &what.snapshot {
        let held = snapshot::open(&host.layout, &home, label)?;
        // It is held by itself: the guest may be started and stopped meanwhile.
        drop(lock);
        return write(&held.tree);
    }
    if observe::status(host, name)?.state == State::Stopped {
        return write(&files::open_as(&host.layout, name, &kept, Access::Read)?);
    }
    let taken = around_copy(hooks, [&applied], || {
        let source = Source::look(&host.layout, name)?;
        snapshot::temporary(&host.layout, &home, source, progress)
    })?;
    // It goes on, and may be stopped and started meanwhile.
    drop(lock);
    write(&taken.open()?)
}

/// The file that a guest is written into.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// How it is compressed.
    pub compression: Compression,
    /// Whether it replaces one that is there.
    pub is_forced: bool,
}

/// Writes a guest into a file, which is there only when it is whole.
pub fn to_file(
    host: &Host,
    name: &GuestName,
    what: &What,
    target: Target<'_>,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Written> {
    // Before anything is made: of a guest that is not there, no file is.
    observe::applied(host, name)?;
    into_file(target, &mut |to| export(host, name, what, to, hooks, progress))
}

/// What writes an archive.
pub type Writing<'a> = dyn FnMut(&mut dyn Write) -> Result<Written> + 'a;

/// Writes an archive into a file, which is there only when it is whole.
pub fn into_file(target: Target<'_>, write: &mut Writing<'_>) -> Result<Written> {
    let path = target.path;
    if !target.is_forced && path.symlink_metadata().is_ok() {
        return Err(
            Error::new(Kind::Exists, format!("`{}` is there already", path.display()))
                .with_hint("`--force` replaces it"),
        );
    }
    // Without a name until it is whole, so that nothing is left of it however hostel ends.
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let file = OpenOptions::new()
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE)
        .open(parent)
        .context(|| format!("make a file in `{}`", parent.display()))?;
    let copy = file.try_clone().context(|| "duplicate")?;
    let written = into_stream(copy, target.compression, write)?;
    file.sync_all()
        .context(|| format!("write `{}`", path.display()))?;
    name_it(&file, parent, target)?;
    Ok(written)
}

/// Gives the file its name. What it replaces is there until then: a file without a name can only take a free one, so it
/// has another name for a moment, always the same one. Whoever was killed in that moment leaves it to the next export.
fn name_it(file: &File, parent: &Path, target: Target<'_>) -> Result<()> {
    let path = target.path;
    let naming = || format!("name `{}`", path.display());
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    let (here, follow) = (nix::fcntl::AT_FDCWD, nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW);
    let link = |to: &Path| nix::unistd::linkat(here, own.as_str(), here, to, follow);
    let base = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = parent.join(format!(".{base}.new"));
    if target.is_forced {
        match std::fs::remove_file(&beside) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(naming(), err)),
            _ => {}
        }
        link(&beside).context(naming)?;
        std::fs::rename(&beside, path).context(naming)?;
    } else {
        link(path).context(naming)?;
    }
    // The name too outlives a power failure.
    File::open(parent).and_then(|dir| dir.sync_all()).context(naming)
}

/// A program that compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// `gzip`.
    Gzip,
    /// `xz`, on every processor.
    Xz,
    /// `zstd`, on every processor.
    Zstd,
}

impl FromStr for Compression {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "xz" => Ok(Self::Xz),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Invalid::new(
                format!("`{}` is no way to compress", text.escape_debug()),
                "`none`, `gzip`, `xz` or `zstd`",
            )),
        }
    }
}

impl Compression {
    /// What the name of a file says.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|ext| ext.to_str()) {
            Some("gz" | "tgz") => Self::Gzip,
            Some("xz" | "txz") => Self::Xz,
            Some("zst" | "tzst") => Self::Zstd,
            _ => Self::None,
        }
    }

    fn command(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Self::None => None,
            Self::Gzip => Some(("gzip", &["-c"])),
            Self::Xz => Some(("xz", &["-c", "-T0"])),
            Self::Zstd => Some(("zstd", &["-q", "-c", "-T0"])),
        }
    }
}

/// Writes a guest, compressed, to an open file or pipe.
pub fn to_stream(
    host: &Host,
    name: &GuestName,
    what: &What,
    file: File,
    compression: Compression,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Written> {
    into_stream(file, compression, &mut |to| {
        export(host, name, what, to, hooks, progress)
    })
}

/// Writes an archive, compressed, to an open file or pipe.
pub fn into_stream(file: File, compression: Compression, write: &mut Writing<'_>) -> Result<Written> {
    let Some((tool, args)) = compression.command() else {
        let mut file = BufWriter::with_capacity(1 << 17, file);
        let written = write(&mut file)?;
        file.flush().context(|| "write the archive")?;
        return Ok(written);
    };
    let mut child = compressor(tool, args, file)?;
    let exported = match child.stdin.take() {
        Some(input) => {
            let mut input = BufWriter::with_capacity(1 << 17, input);
            write(&mut input)
        }
        None => Err(Error::new(Kind::Internal, format!("`{tool}` has no input"))),
    };
    let status = child.wait().context(|| format!("wait for `{tool}`"))?;
    let written = exported?;
    if status.success() {
        return Ok(written);
    }
    Err(Error::new(Kind::External, format!("`{tool}` failed ({status})")))
}

fn compressor(tool: &str, args: &[&str], to: File) -> Result<Child> {
    let mut command = Command::new(tool);
    command.args(args).stdin(Stdio::piped()).stdout(to);
    crate::sys::command::tell(&command);
    match command.spawn() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::new(Kind::NotFound, format!("the host has no `{tool}`"))
                .with_hint("`--compress none` needs none"))
        }
        other => other.context(|| format!("run `{tool}`")),
    }
}
