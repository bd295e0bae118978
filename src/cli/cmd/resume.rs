//! `hostel resume GUEST...`

use clap::Parser;

use crate::Result;
use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::GuestName;
use crate::life::{Host, observe, pause};

/// Let paused guests go on
#[derive(Debug, Parser)]
pub(crate) struct Resume {
    /// The names of the guests
    #[arg(value_name = "GUEST", required = true, add = args::guests())]
    guests: Vec<GuestName>,
}

impl Verb for Resume {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[("hostel resume web", "let it go on")];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        super::each(session, &self.guests, |session, name| {
            // Before the lock: where no guest ever was there is no lock to take.
            observe::applied(&host, name)?;
            pause::resume(&host, name)?;
            session.line(&format!("resumed {name}"))
        })
    }
}
