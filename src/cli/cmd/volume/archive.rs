//! `hostel volume export` and `import`.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use crate::Result;
use crate::cli::cmd::export::{Destination, tell};
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::output::progress::Progress;
use crate::cli::session::Session;
use crate::error::Context as _;
use crate::guest::VolumeName;
use crate::life::Host;
use crate::life::export::{Compression, into_file, into_stream};
use crate::life::volume::archive::{self, ImportOptions};
use crate::storage::archive::Archive;
use crate::storage::snapshot::Label;
use crate::storage::volume;

/// What is written, and where.
pub(super) struct Export<'a> {
    pub(super) output: Option<&'a Path>,
    pub(super) snapshot: Option<&'a Label>,
    pub(super) compress: Option<Compression>,
    pub(super) force: bool,
}

pub(super) fn export(
    session: &mut Session,
    host: &Host,
    name: &VolumeName,
    what: &Export<'_>,
) -> Result<Exit> {
    // Before anything is made.
    volume::required(&host.layout, name)?;
    let hooks = hooks::runner(session);
    let progress = Progress::new(session.paint_err);
    let mut write =
        |to: &mut dyn std::io::Write| archive::export(host, name, what.snapshot, to, &hooks, &progress);
    match Destination::of(what.output, what.compress, what.force)? {
        Destination::Stream(out, compression) => {
            into_stream(out, compression, &mut write)?;
            Ok(Exit::Success)
        }
        Destination::File(target) => {
            let written = into_file(target, &mut write)?;
            drop(progress);
            tell(session, name, target.path, &written)
        }
    }
}

pub(super) fn import(
    host: &Host,
    path: &Path,
    options: &ImportOptions,
    progress: &dyn crate::storage::Progress,
) -> Result<VolumeName> {
    let archive = if path == Path::new("-") {
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        Archive::open(File::from(input.context(|| "duplicate")?), path)?
    } else {
        Archive::at(path)?
    };
    archive::import(host, archive, options, progress)
}
