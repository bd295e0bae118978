//! `hostel host clear`

use clap::{Parser, Subcommand};

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::{self, sweep};

/// Work on what hostel itself has on the host
#[derive(Debug, Parser)]
pub(crate) struct Host {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Remove hostel's own cgroup and BPF programs, which all guests share
    ///
    /// Refused while a guest or a context runs. The next start makes them anew.
    Clear,
}

impl Verb for Host {
    const GROUP: Group = Group::Host;
    const EXAMPLES: &'static [Example] = &[("hostel host clear", "leave nothing on the host but files")];

    fn run(self, _session: &mut Session) -> Result<Exit> {
        match self.what {
            What::Clear => sweep::clear_host(&life::Host::open()?)?,
        }
        Ok(Exit::Success)
    }
}
