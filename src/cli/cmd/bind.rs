//! `hostel bind ADDRESS... -- COMMAND`

use clap::Parser;

use crate::Result;
use crate::cli::args::{Address, CommandLine};
use crate::cli::exit::{Exit, Failure};
use crate::cli::primitive;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::Context;

/// Run a command whose sockets carry the given addresses only
///
/// Binding to any address is binding to these; binding to another one fails with EADDRNOTAVAIL; connections leave
/// from these. The addresses are on the host already, or in 127.0.0.0/8.
#[derive(Debug, Parser)]
pub(crate) struct Bind {
    /// The addresses; the first of a family is its primary one
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<Address>,
    #[command(flatten)]
    line: CommandLine,
}

impl Verb for Bind {
    const GROUP: Group = Group::Primitives;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel bind 127.9.0.1 -- python3 -m http.server 80",
            "two of these with two addresses do not meet",
        ),
        (
            "hostel bind 127.9.0.1 -- hostel caps --only net_bind_service -- nginx",
            "with one capability besides",
        ),
    ];
    const FAILURE: Failure = Failure::LikeEnv;

    fn run(self, session: &mut Session) -> Result<Exit> {
        let context = Context {
            bind: self.addresses.iter().map(|address| address.0).collect(),
            open_network: false,
            ..primitive::plain()
        };
        primitive::run(session, &context, self.line)
    }
}
