//! `hostel caps [--keep LIST] [--drop LIST] [--only LIST] -- COMMAND`

use clap::Parser;

use crate::Result;
use crate::cli::args::{CapList, CommandLine};
use crate::cli::exit::{Exit, Failure};
use crate::cli::primitive;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::{self, Context};

/// Run a command with fewer capabilities
///
/// They are gone from every set, the bounding set included: no program that the command runs gets them back.
/// Names are those of capabilities(7), without CAP_ and in any case.
#[derive(Debug, Parser)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub(crate) struct Caps {
    /// Those that a guest has by default, and these
    #[arg(long, value_name = "LIST", group = "which", conflicts_with = "only")]
    keep: Option<CapList>,
    /// Not these
    #[arg(long, value_name = "LIST", group = "which")]
    drop: Option<CapList>,
    /// These and no others, or none
    #[arg(long, value_name = "LIST", group = "which")]
    only: Option<CapList>,
    #[command(flatten)]
    line: CommandLine,
}

impl Verb for Caps {
    const GROUP: Group = Group::Primitives;
    const EXAMPLES: &'static [Example] = &[
        ("hostel caps --drop net_raw,sys_admin -- /bin/sh", "a weaker root"),
        ("hostel caps --only chown,setuid -- /bin/sh", "a very weak one"),
        ("hostel caps --only none -- id", "none at all"),
    ];
    const FAILURE: Failure = Failure::LikeEnv;

    fn run(self, session: &mut Session) -> Result<Exit> {
        let caps = guest::Caps {
            keep: self.keep.map_or_else(Vec::new, |list| list.0),
            drop: self.drop.map_or_else(Vec::new, |list| list.0),
            only: self.only.map(|list| list.0),
        };
        let context = Context {
            caps: primitive::caps(&caps),
            ..primitive::plain()
        };
        primitive::run(session, &context, self.line)
    }
}
