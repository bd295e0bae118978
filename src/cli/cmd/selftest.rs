//! `hostel selftest`

use clap::Parser;
use serde_json::json;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::progress::Progress;
use crate::cli::output::table::clean;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::selftest::{self, ROWS, Report, Row, State, Watcher};
use crate::{Error, Kind, Result};

/// Try the known ways out of a guest on this host
///
/// Each row is one way out, tried by the root of throw-away guests that are made for it: nothing of yours is
/// touched, and nothing is left. A row is `ok` when nothing came of the attack, `FAILED` when something did,
/// `skipped` when this host cannot show it, and `error` when the attack itself could not be made: it must work where
/// nothing is in its way, or it proves nothing.
///
/// The exit code is 0 when every row is ok or skipped, 1 when one has failed, 2 when one could not be tried.
/// It takes about a minute, and a busybox that is linked statically.
#[derive(Debug, Parser)]
pub(crate) struct Selftest {
    /// Try these rows alone
    #[arg(long = "row", value_name = "N", num_args = 1.., value_parser = row)]
    rows: Vec<u8>,
    /// Start a guest this often in each row that races (7 and 9)
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    starts: u32,
    /// Say what each row tries, and try nothing
    #[arg(long)]
    list: bool,
    /// Print JSON: an array of `row`, `name`, `state` (ok, failed, skipped or error) and `detail`; with --list of
    /// `row`, `name` and `tries`
    #[arg(long)]
    json: bool,
}

fn row(text: &str) -> std::result::Result<u8, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| ROWS.iter().any(|row| row.number == *number));
    number.ok_or_else(|| {
        format!(
            "there is no row `{}`; `hostel selftest --list` has them",
            text.escape_debug()
        )
    })
}

impl Verb for Selftest {
    const GROUP: Group = Group::Host;
    const EXAMPLES: &'static [Example] = &[
        ("hostel selftest", "before strangers get a guest on this host"),
        ("hostel selftest --row 13 22", "two of the rows"),
        ("hostel selftest --json", "for a program that watches the host"),
    ];
    const FAILURE: Failure = Failure::Unanswered;

    fn run(self, session: &mut Session) -> Result<Exit> {
        let rows: Vec<&Row> = ROWS
            .iter()
            .filter(|row| self.rows.is_empty() || self.rows.contains(&row.number))
            .collect();
        if self.list {
            return self.print_list(session, &rows);
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::new(
                Kind::Denied,
                "a self-test makes guests, which takes root",
            ));
        }
        session.flush()?;
        let code = selftest::in_place(|place| {
            let mut told = Told {
                progress: Progress::new(session.paint_err),
                session,
                is_json: self.json,
                reports: Vec::new(),
            };
            let result = selftest::attempt(place, &rows, self.starts, &mut told).and_then(|()| told.end());
            result
                .and_then(|exit| session.flush().map(|()| exit.code()))
                .unwrap_or_else(|err| {
                    session.report(&err);
                    Self::FAILURE.code(&err, None)
                })
        })?;
        Ok(Exit::Command(code))
    }
}

impl Selftest {
    fn print_list(&self, session: &mut Session, rows: &[&Row]) -> Result<Exit> {
        if self.json {
            let all: Vec<_> = rows
                .iter()
                .map(|row| json!({ "row": row.number, "name": row.name, "tries": row.tries }))
                .collect();
            session.json(&all)?;
        }
        for row in rows.iter().filter(|_| !self.json) {
            session.line(&format!("{:>2}  {}: {}", row.number, row.name, row.tries))?;
        }
        Ok(Exit::Success)
    }
}

/// Prints a line for each row when it is done, or all of them as JSON in the end.
struct Told<'a> {
    session: &'a mut Session,
    progress: Progress<std::io::Stderr>,
    is_json: bool,
    reports: Vec<Report>,
}

impl Watcher for Told<'_> {
    fn begin(&mut self, row: &Row) {
        self.progress.stage(&format!("row {}: {}", row.number, row.name));
    }

    fn done(&mut self, report: Report) -> Result<()> {
        self.progress.clear();
        if !self.is_json {
            let word = match report.state {
                State::Ok => self.session.paint.green("ok"),
                State::Failed => self.session.paint.red("FAILED"),
                State::Skipped => self.session.paint.yellow("skipped"),
                State::Error => self.session.paint.red("error"),
            };
            let detail = clean(&report.detail);
            self.session
                .line(&format!("{:>2}  {}: {word}: {detail}", report.row, report.name))?;
            // Whoever watches sees it now.
            self.session.flush()?;
        }
        self.reports.push(report);
        Ok(())
    }
}

impl Told<'_> {
    fn end(&mut self) -> Result<Exit> {
        if self.is_json {
            self.session.json(&self.reports)?;
        }
        let has = |state| self.reports.iter().any(|report| report.state == state);
        Ok(match (has(State::Failed), has(State::Error)) {
            (true, _) => Exit::No,
            (false, true) => Exit::Command(2),
            (false, false) => Exit::Success,
        })
    }
}
