//! `hostel gc`

use clap::Parser;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::{Host, sweep};
use crate::selftest;

/// Take away what killed commands and guests that ended by themselves have left
///
/// Every command does that for the guest it works on; this one does it for all. What a running guest or command
/// uses is not touched.
#[derive(Debug, Parser)]
pub(crate) struct Gc {
    /// Print JSON: an array of what was taken away, each with `what`
    #[arg(long)]
    json: bool,
}

impl Verb for Gc {
    const GROUP: Group = Group::Host;
    const EXAMPLES: &'static [Example] = &[("hostel gc", "after a crash, to be tidy")];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let host = Host::open()?;
        let mut swept = sweep::sweep(&host)?;
        let dead = selftest::sweep(&host)?;
        swept.extend(dead.into_iter().map(|what| sweep::Swept { what }));
        if self.json {
            session.json(&swept)?;
        } else {
            for left in &swept {
                session.line(&format!("removed {}", left.what))?;
            }
        }
        Ok(Exit::Success)
    }
}
