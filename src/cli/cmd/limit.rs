//! `hostel limit KEY=VALUE... -- COMMAND`

use clap::Parser;

use crate::Result;
use crate::cli::args::{self, CommandLine};
use crate::cli::exit::{Exit, Failure};
use crate::cli::primitive;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{Context, LimitChange};

/// Run a command that may use no more than this, with all that it starts
///
/// `hostel help limits` lists the limits and their units. When the command has ended, what it started is killed.
#[derive(Debug, Parser)]
pub(crate) struct Limit {
    /// The limits, such as memory=256M or nofile=1024
    #[arg(value_name = "KEY=VALUE", required = true, add = args::limits())]
    limits: Vec<LimitChange>,
    #[command(flatten)]
    line: CommandLine,
}

impl Verb for Limit {
    const GROUP: Group = Group::Primitives;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel limit memory=256M pids=64 -- make -j",
            "a build that cannot eat the machine",
        ),
        ("hostel limit cpus=0.5 nice=10 -- gzip -9 big", "half a processor"),
    ];
    const FAILURE: Failure = Failure::LikeEnv;

    fn run(self, session: &mut Session) -> Result<Exit> {
        let context = Context {
            limits: args::limits_of(&self.limits),
            ..primitive::plain()
        };
        primitive::run(session, &context, self.line)
    }
}
