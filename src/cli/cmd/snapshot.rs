//! `hostel snapshot GUEST...`

use clap::Parser;

use crate::Result;
use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::output::progress::Progress;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::GuestName;
use crate::life::{Host, snapshot};
use crate::storage::snapshot::Label;

/// Take snapshots of the files of guests
///
/// A guest may run: its processes stand still while its files are copied, and its hooks for snapshots run around that.
/// A snapshot is kept as the guest's files are (see `hostel convert`), costs what a clone costs, and goes
/// with its guest. `hostel rollback` goes back to one.
#[derive(Debug, Parser)]
pub(crate) struct Snapshot {
    /// The names of the guests
    #[arg(value_name = "GUEST", required = true, add = args::guests())]
    guests: Vec<GuestName>,
    /// What it is called; the date and time (UTC) without
    #[arg(short, long, value_name = "LABEL")]
    name: Option<Label>,
    /// Keep this many of each guest, the newest, and remove the others
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
}

impl Verb for Snapshot {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel snapshot web --name before-upgrade", "one to go back to"),
        ("hostel snapshot web db --keep 7", "each night; a week is kept"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let hooks = hooks::runner(session);
        let keep = self.keep.and_then(|keep| usize::try_from(keep).ok());
        super::each(session, &self.guests, |session, name| {
            let progress = Progress::new(session.paint_err);
            let taken = snapshot::snapshot(&host, name, self.name.as_ref(), keep, &hooks, &progress)?;
            drop(progress);
            session.line(&format!("took {} of {name}", taken.label))?;
            for label in &taken.removed {
                session.line(&format!("removed {label} of {name}"))?;
            }
            Ok(())
        })
    }
}
