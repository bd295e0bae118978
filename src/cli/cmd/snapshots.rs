//! `hostel snapshots GUEST`

use clap::Parser;

use crate::Result;
use crate::cli::args::OneGuest;
use crate::cli::exit::Exit;
use crate::cli::output::human;
use crate::cli::output::table::{Align, Table};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::{Host, snapshot};
use crate::storage::snapshot::{Label, Snapshot as Taken};

/// List the snapshots of a guest, or remove some
///
/// The size is what a snapshot occupies by itself; data that it shares by reflink or as a btrfs snapshot is counted.
#[derive(Debug, Parser)]
pub(crate) struct Snapshots {
    #[command(flatten)]
    guest: OneGuest,
    /// Remove this one; may be repeated
    #[arg(long, value_name = "LABEL")]
    remove: Vec<Label>,
    /// Print JSON: an array of `label`, `created`, `storage` and `size` in bytes
    #[arg(long, conflicts_with = "remove")]
    json: bool,
}

impl Verb for Snapshots {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel snapshots web", "list them, the oldest first"),
        ("hostel snapshots web --remove before-upgrade", "remove one"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let name = &self.guest.guest;
        for label in &self.remove {
            snapshot::remove(&host, name, label)?;
            session.line(&format!("removed {label} of {name}"))?;
        }
        if !self.remove.is_empty() {
            return Ok(Exit::Success);
        }
        let all = snapshot::list(&host, name)?;
        print(session, &all, self.json)
    }
}

/// Prints snapshots, of a guest or of a volume.
pub(super) fn print(session: &mut Session, all: &[Taken], is_json: bool) -> Result<Exit> {
    if is_json {
        session.json(&all)?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&[
        ("SNAPSHOT", Align::Left),
        ("CREATED", Align::Left),
        ("STORAGE", Align::Left),
        ("SIZE", Align::Right),
    ]);
    for snapshot in all {
        // Without the fractions of a second.
        let created = snapshot.created.get(..19).unwrap_or(&snapshot.created);
        table.row(vec![
            snapshot.label.as_str().into(),
            format!("{created}Z").into(),
            snapshot.storage.name().into(),
            human::bytes(snapshot.size).into(),
        ]);
    }
    let text = table.render(session.paint);
    session.print(&text)?;
    Ok(Exit::Success)
}
