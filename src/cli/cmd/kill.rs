//! `hostel kill GUEST...`

use clap::Parser;

use crate::Result;
use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::GuestName;
use crate::life::{Host, init_config, pause};

/// Send a signal to every process of guests
///
/// It waits for no other command: a guest that hangs is killed whatever happens to it. What a killed guest leaves
/// on the host goes with its next start or stop.
#[derive(Debug, Parser)]
pub(crate) struct Kill {
    /// The names of the guests
    #[arg(value_name = "GUEST", required = true, add = args::guests())]
    guests: Vec<GuestName>,
    /// The signal, by name or number (signal(7))
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
}

impl Verb for Kill {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel kill web", "end it now"),
        ("hostel kill -s HUP web", "tell all its processes something"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let signal = init_config::signal_number(&self.signal)?;
        super::each(session, &self.guests, |_, name| pause::kill(&host, name, signal))
    }
}
