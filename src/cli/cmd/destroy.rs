//! `hostel destroy GUEST...`

use clap::Parser;

use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::GuestName;
use crate::life::observe::{self, State};
use crate::life::stop::{self, StopHow};
use crate::life::{Host, destroy, order};
use crate::{Error, Kind, Result};

/// Remove guests with all their files
///
/// There is no way back. A guest that runs is refused without --force.
#[derive(Debug, Parser)]
pub(crate) struct Destroy {
    /// The names of the guests
    #[arg(value_name = "GUEST", required = true, add = args::guests())]
    guests: Vec<GuestName>,
    /// Stop those that run first
    #[arg(short, long)]
    force: bool,
}

impl Verb for Destroy {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel destroy web", "remove a guest that is stopped"),
        ("hostel destroy --force web db", "remove two, whatever they do"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let names = order::stopping(&host, &self.guests)?;
        // All of them or none: a mistyped list must not end half way.
        for name in &names {
            if !self.force && observe::status(&host, name)?.state != State::Stopped {
                return Err(Error::new(Kind::State, format!("guest `{name}` runs"))
                    .with_hint(format!("`hostel stop {name}` stops it, or use `--force`")));
            }
        }
        let hooks = hooks::runner(session);
        let end = |name: &GuestName| {
            stop::stop(&host, name, StopHow::default(), &hooks)?;
            destroy::destroy(&host, name)
        };
        super::each_ending(session, &host, &names, end, |name, ()| {
            format!("destroyed {name}")
        })
    }
}
