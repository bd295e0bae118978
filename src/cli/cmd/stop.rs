//! `hostel stop GUEST...`

use clap::Parser;

use crate::Result;
use crate::cli::args::SomeGuests;
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{GuestName, Span};
use crate::life::stop::{self, StopHow, Stopped};
use crate::life::{Host, order};

/// Stop guests
///
/// The guest's init is asked to stop everything. When its time is over, what is left is killed. Several are
/// stopped at once, those that depend on another before it.
#[derive(Debug, Parser)]
pub(crate) struct Stop {
    #[command(flatten)]
    which: SomeGuests,
    /// Every guest that runs
    #[arg(short, long)]
    all: bool,
    /// How long it may take before it is killed, such as 10s; what the recipe says without it
    #[arg(short, long, value_name = "TIME")]
    timeout: Option<Span>,
    /// Do not ask: kill it at once
    #[arg(short, long, conflicts_with = "timeout")]
    kill: bool,
}

impl Verb for Stop {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel stop web", "stop one guest"),
        ("hostel stop --timeout 5s web db", "impatiently"),
        ("hostel stop --all", "before the host goes down"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let names = if self.all {
            order::running(&host)?
        } else {
            order::stopping(&host, &self.which.guests)?
        };
        let how = StopHow {
            timeout: self.timeout,
            kill: self.kill,
        };
        let hooks = hooks::runner(session);
        let end = |name: &GuestName| stop::stop(&host, name, how, &hooks);
        super::each_ending(session, &host, &names, end, |name, stopped| match stopped {
            Stopped::Gracefully => format!("stopped {name}"),
            Stopped::Killed => format!("killed {name}"),
            Stopped::DidNotRun => format!("{name} did not run"),
        })
    }
}
