//! `hostel ls`

use std::time::Duration;

use clap::Parser;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::output::color::Paint;
use crate::cli::output::human;
use crate::cli::output::table::{Align, Cell, Table};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::Host;
use crate::life::observe::{self, State, Status};

/// List the guests
#[derive(Debug, Parser)]
pub(crate) struct Ls {
    /// Only those that run
    #[arg(short, long)]
    running: bool,
    /// Print their names only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print JSON: an array of what `hostel status --json` prints of each
    #[arg(long)]
    json: bool,
}

impl Verb for Ls {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel ls",
            "all guests, what they use and how long they have been up",
        ),
        ("hostel ls -rq", "the names of those that run"),
        ("hostel ls --json", "for a program"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let mut guests = observe::list(&Host::open()?)?;
        if self.running {
            guests.retain(|guest| guest.state != State::Stopped);
        }
        if self.json {
            session.json(&guests)?;
        } else if self.quiet {
            for guest in &guests {
                session.line(guest.name.as_str())?;
            }
        } else {
            let text = table(&guests).render(session.paint);
            session.print(&text)?;
        }
        Ok(Exit::Success)
    }
}

fn table(guests: &[Status]) -> Table {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("XID", Align::Right),
        ("STATE", Align::Left),
        ("PROC", Align::Right),
        ("MEM", Align::Right),
        ("CPU", Align::Right),
        ("DISK", Align::Right),
        ("ADDRESS", Align::Left),
        ("UPTIME", Align::Right),
    ]);
    for guest in guests {
        let is_up = guest.state != State::Stopped;
        let or_dash = |text: Option<String>| text.filter(|_| is_up).unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            guest.name.as_str().into(),
            guest.xid.to_string().into(),
            state(guest.state),
            or_dash(Some(guest.processes.to_string())).into(),
            or_dash(guest.memory_bytes.map(human::bytes)).into(),
            or_dash(guest.cpu_us.map(|us| human::cpu(Duration::from_micros(us)))).into(),
            disk(guest).into(),
            addresses(guest).into(),
            or_dash(guest.uptime_s.map(|s| human::span(Duration::from_secs(s)))).into(),
        ]);
    }
    table
}

/// What its files take, and of how much, where the file system counts it.
fn disk(guest: &Status) -> String {
    match guest.disk.map(|disk| (disk.used, disk.limit)) {
        None => "-".to_owned(),
        Some((used, None)) => human::bytes(used),
        Some((used, Some(limit))) => format!("{}/{}", human::bytes(used), human::bytes(limit)),
    }
}

/// The first address, and how many there are besides.
fn addresses(guest: &Status) -> String {
    match guest.addresses.as_slice() {
        [] => "-".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

pub(super) fn state(state: State) -> Cell {
    let paint = match state {
        State::Running => Paint::green,
        State::Paused => Paint::yellow,
        State::Stopped => Paint::dim,
    };
    Cell::painted(state.to_string(), paint)
}
