//! `hostel doctor`

use clap::Parser;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::output::color::Paint;
use crate::cli::output::table::{Align, Cell, Table};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::doctor::{self, State};
use crate::storage::Layout;

/// Tell what this host can and cannot do for guests
///
/// Each line is `ok`, `limited` (some guests cannot be had, or not as many as are asked for) or `missing` (no guest can
/// be had). Settings of the kernel that guests share are told with the number of guests that they are enough for,
/// and the line for sysctl.d; ids that a guest has, or could get, and somebody else too, with whose they are. The exit code is
/// 1 when something is missing. Nothing is changed.
#[derive(Debug, Parser)]
pub(crate) struct Doctor {
    /// How many guests the host is to be enough for
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=49_150))]
    guests: u64,
    /// Print JSON: an array of `name`, `state`, `found` and `hint`; `guests` and `sysctl` of settings of the kernel
    #[arg(long)]
    json: bool,
}

impl Verb for Doctor {
    const GROUP: Group = Group::Host;
    const EXAMPLES: &'static [Example] = &[
        ("hostel doctor", "look at the host before the first guest"),
        ("hostel doctor --guests 50", "whether fifty guests find room"),
        ("hostel doctor --json", "the same for a program"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let findings = doctor::examine(&Layout::from_env(), self.guests);
        let is_missing = findings.iter().any(|finding| finding.state == State::Missing);
        if self.json {
            session.json(&findings)?;
        } else {
            let mut table = Table::new(&[
                ("STATE", Align::Left),
                ("WHAT", Align::Left),
                ("FOUND", Align::Left),
            ]);
            for finding in &findings {
                table.row(vec![
                    state(finding.state),
                    finding.name.into(),
                    finding.found.as_str().into(),
                ]);
            }
            let text = table.render(session.paint);
            session.print(&text)?;
            for finding in &findings {
                if let Some(hint) = &finding.hint {
                    let label = session.paint.cyan("hint:");
                    session.line(&format!("{label} {}: {hint}", finding.name))?;
                }
            }
        }
        Ok(if is_missing { Exit::No } else { Exit::Success })
    }
}

fn state(state: State) -> Cell {
    match state {
        State::Ok => Cell::painted("ok", Paint::green),
        State::Limited => Cell::painted("limited", Paint::yellow),
        State::Missing => Cell::painted("missing", Paint::red),
    }
}
