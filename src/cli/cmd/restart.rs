//! `hostel restart GUEST...`

use clap::Parser;

use crate::Result;
use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{GuestName, Span};
use crate::life::stop::{self, StopHow};
use crate::life::{Host, order, start};

/// Stop guests and start them again
///
/// A guest that does not run is started. Changes of its recipe that wait for a restart take effect.
#[derive(Debug, Parser)]
pub(crate) struct Restart {
    /// The names of the guests
    #[arg(value_name = "GUEST", required = true, add = args::guests())]
    guests: Vec<GuestName>,
    /// How long stopping may take before it is killed, such as 10s; what the recipe says without it
    #[arg(short, long, value_name = "TIME")]
    timeout: Option<Span>,
}

impl Verb for Restart {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[("hostel restart web", "stop it and start it")];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let mut names = order::stopping(&host, &self.guests)?;
        let how = StopHow {
            timeout: self.timeout,
            kill: false,
        };
        let hooks = hooks::runner(session);
        // What depends on others goes first and comes back last.
        let stopped = super::each(session, &names, |_, name| {
            stop::stop(&host, name, how, &hooks).map(drop)
        })?;
        if stopped != Exit::Success {
            return Ok(stopped);
        }
        names.reverse();
        super::each(session, &names, |session, name| {
            start::start(&host, name, &hooks)?;
            session.line(&format!("restarted {name}"))
        })
    }
}
