//! `hostel set GUEST KEY=VALUE...`

use clap::Parser;

use crate::Result;
use crate::cli::args::{self, OneGuest};
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::LimitChange;
use crate::life::{Host, observe, set};

/// Change limits of a guest, while it runs
///
/// They hold at once and from its next start on. `max` takes a limit away. `hostel help limits` lists the limits
/// and their units. The next `hostel plan` of its recipe shows the difference.
#[derive(Debug, Parser)]
pub(crate) struct Set {
    #[command(flatten)]
    guest: OneGuest,
    /// The limits, such as memory=512M or cpus=max
    #[arg(value_name = "KEY=VALUE", required = true, add = args::limits())]
    limits: Vec<LimitChange>,
}

impl Verb for Set {
    const GROUP: Group = Group::Guests;
    const EXAMPLES: &'static [Example] = &[
        ("hostel set web memory=512M cpus=1.5", "more for a busy guest"),
        ("hostel set web memory=max", "no limit any more"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let name = &self.guest.guest;
        let host = Host::open()?;
        // Before the lock: where no guest ever was there is no lock to take.
        observe::applied(&host, name)?;
        let change = set::set(&host, name, &self.limits)?;
        if change.uncounted {
            let label = session.paint_err.yellow("warning:");
            session.note(&format!(
                "{label} memory that `{name}` has already is not counted against its limit until it is restarted"
            ));
        }
        Ok(Exit::Success)
    }
}
