//! `hostel rollback GUEST LABEL`

use clap::Parser;

use crate::Result;
use crate::cli::args::OneGuest;
use crate::cli::exit::Exit;
use crate::cli::output::progress::Progress;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::{Host, snapshot};
use crate::storage::snapshot::Label;

/// Make the files of a guest those of a snapshot
///
/// The guest is stopped. What has changed in its files since is lost, unless a snapshot has it; the snapshot stays.
#[derive(Debug, Parser)]
pub(crate) struct Rollback {
    #[command(flatten)]
    guest: OneGuest,
    /// The snapshot; `hostel snapshots` lists them
    #[arg(value_name = "LABEL")]
    label: Label,
}

impl Verb for Rollback {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[("hostel rollback web before-upgrade", "as it was before")];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let name = &self.guest.guest;
        let progress = Progress::new(session.paint_err);
        snapshot::rollback(&host, name, &self.label, &progress)?;
        drop(progress);
        session.line(&format!("{name} is as in {}", self.label))?;
        Ok(Exit::Success)
    }
}
