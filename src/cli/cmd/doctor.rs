//! `hostel doctor`

use std::path::PathBuf;

use clap::Parser;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::output::color::Paint;
use crate::cli::output::table::{Align, Cell, Table};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::doctor::{self, State};

/// Tell what this host can and cannot do for guests
///
/// Each line is `ok`, `limited` (some guests cannot be had) or `missing` (no guest can be had). The exit code is
/// 1 when something is missing. Nothing is changed.
#[derive(Debug, Parser)]
pub(crate) struct Doctor {
    /// Print JSON: an array of `name`, `state`, `found` and `hint`
    #[arg(long)]
    json: bool,
}

impl Verb for Doctor {
    const GROUP: Group = Group::Host;
    const EXAMPLES: &'static [Example] = &[
        ("hostel doctor", "look at the host before the first guest"),
        ("hostel doctor --json", "the same for a program"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let root = std::env::var_os("HOSTEL_ROOT").unwrap_or_else(|| "/var/lib/hostel".into());
        let findings = doctor::examine(&PathBuf::from(root));
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
