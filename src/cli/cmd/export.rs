//! `hostel export GUEST`

use std::fmt::Display;
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::cli::args::OneGuest;
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::output::human;
use crate::cli::output::progress::Progress;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::error::Context as _;
use crate::life::Host;
use crate::life::export::{self, Compression, Target, What};
use crate::storage::archive::Written;
use crate::storage::snapshot::Label;
use crate::{Error, Kind, Result};

/// Write a guest into one file, or what has changed of it
///
/// The archive is a plain tar that other tools read too: manifest.json, the files below rootfs, and a checksum. Owners
/// are those that the guest sees; extended attributes, capabilities, ACLs, holes and hard links are kept, device nodes
/// and sockets are not. A guest that runs stands still for a snapshot. The archive has what the guest has, secrets too.
#[derive(Debug, Parser)]
pub(crate) struct Export {
    #[command(flatten)]
    guest: OneGuest,
    /// Write it to this file, which is there only when it is whole; standard output without
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Write this snapshot of the guest instead of what it is now
    #[arg(short, long, value_name = "SNAPSHOT")]
    snapshot: Option<Label>,
    /// Write only what has changed since this snapshot, for `hostel import --onto`
    #[arg(long, value_name = "SNAPSHOT")]
    since: Option<Label>,
    /// How it is compressed; as the name of the file says without, and not at all on standard output
    #[arg(short, long, value_name = "HOW")]
    compress: Option<Compression>,
    /// Replace the file if it is there
    #[arg(short, long, requires = "output")]
    force: bool,
}

impl Verb for Export {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel export web -o web.tar.zst", "a guest as a file"),
        (
            "hostel export web | ssh beta hostel import -",
            "over to another host",
        ),
        (
            "hostel export web --snapshot tue --since mon -o tue.tar.zst",
            "what a day has changed",
        ),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let name = &self.guest.guest;
        let what = What {
            snapshot: self.snapshot,
            since: self.since,
        };
        let host = Host::open()?;
        let hooks = hooks::runner(session);
        let progress = Progress::new(session.paint_err);
        let to = Destination::of(self.output.as_deref(), self.compress, self.force)?;
        match to {
            Destination::Stream(out, compression) => {
                export::to_stream(&host, name, &what, out, compression, &hooks, &progress)?;
                Ok(Exit::Success)
            }
            Destination::File(target) => {
                let written = export::to_file(&host, name, &what, target, &hooks, &progress)?;
                drop(progress);
                tell(session, name, target.path, &written)
            }
        }
    }
}

/// Where an archive goes.
pub(super) enum Destination<'a> {
    /// Standard output.
    Stream(File, Compression),
    /// A file.
    File(Target<'a>),
}

impl<'a> Destination<'a> {
    /// As the options say: into the file, compressed as its name says, or to standard output, which is no terminal.
    pub(super) fn of(
        output: Option<&'a Path>,
        compress: Option<Compression>,
        is_forced: bool,
    ) -> Result<Self> {
        if let Some(path) = output {
            return Ok(Self::File(Target {
                path,
                compression: compress.unwrap_or_else(|| Compression::of(path)),
                is_forced,
            }));
        }
        if std::io::stdout().is_terminal() {
            return Err(Error::new(Kind::Usage, "an archive is not written to a terminal")
                .with_hint("`-o FILE` names a file"));
        }
        let out = std::io::stdout().as_fd().try_clone_to_owned();
        let out = File::from(out.context(|| "duplicate")?);
        Ok(Self::Stream(out, compress.unwrap_or_default()))
    }
}

/// Says what was written into the file.
pub(super) fn tell(
    session: &mut Session,
    name: impl Display,
    path: &Path,
    written: &Written,
) -> Result<Exit> {
    let size = std::fs::metadata(path)
        .context(|| format!("stat `{}`", path.display()))?
        .len();
    session.line(&format!(
        "exported {name}: {} files, {} as {}",
        written.entries,
        human::bytes(written.bytes),
        human::bytes(size)
    ))?;
    Ok(Exit::Success)
}
