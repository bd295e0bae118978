//! `hostel pause GUEST...`

use clap::Parser;

use crate::Result;
use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::GuestName;
use crate::life::{Host, observe, pause};

/// Stop every process of guests from running, until they are resumed
///
/// They keep their memory, files and sockets
#[derive(Debug, Parser)]
pub(crate) struct Pause {
    /// The names of the guests
    #[arg(value_name = "GUEST", required = true, add = args::guests())]
    guests: Vec<GuestName>,
}

impl Verb for Pause {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[("hostel pause web", "hold it, as for a copy of its files")];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        super::each(session, &self.guests, |session, name| {
            // Before the lock: where no guest ever was there is no lock to take.
            observe::applied(&host, name)?;
            pause::pause(&host, name)?;
            session.line(&format!("paused {name}"))
        })
    }
}
