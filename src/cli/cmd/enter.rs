//! `hostel enter GUEST`

use clap::Parser;

use crate::Result;
use crate::cli::args::OneGuest;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::exec::{self, ExecRequest, Terminal, Whom};
use crate::life::{Host, users::UserSpec};

/// Open a login shell in a guest
///
/// It has a terminal of the guest's own: job control, window size and Ctrl-C work as on a console. The exit code
/// is the shell's.
#[derive(Debug, Parser)]
pub(crate) struct Enter {
    #[command(flatten)]
    guest: OneGuest,
    /// Log in as this user of the guest, by name or number
    #[arg(short, long, value_name = "USER")]
    user: Option<UserSpec>,
}

impl Verb for Enter {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel enter web", "be root in the guest"),
        ("hostel enter web -u postgres", "be somebody else"),
    ];
    const FAILURE: Failure = Failure::LikeEnv;

    fn run(self, _session: &mut Session) -> Result<Exit> {
        let request = ExecRequest {
            user: self.user,
            // Commands can be piped in: then there is no terminal to be had.
            terminal: Terminal::Auto,
            ..ExecRequest::default()
        };
        let ended = exec::exec(&Host::open()?, &Whom::Guest(self.guest.guest), &request)?;
        Ok(Exit::of(ended))
    }
}
