//! `hostel selftest`: the known ways out of a guest, each tried on this host in throw-away guests.
//!
//! A [`Row`] is one way out. It makes its attack as the root of a guest (or hands hostel a hostile tree), and says
//! whether anything came of it. It must be able to fail: the same attack is made where nothing is in its way, and
//! when it does not work even there, or does not come to its end, that is an error and never a pass.
//!
//! The same rows are tests of the privileged suite (`tests/privileged/rows.rs`), which adds what takes long or what
//! nobody wants on a host in use. docs/security.md has the table from way out to defence to test.

mod arena;
mod canary;
mod command;
mod place;
mod rows;
mod script;

use serde::Serialize;

pub use place::{Place, sweep};
pub use rows::ROWS;

use arena::Arena;

use crate::error::{Error, Kind, Result};
use crate::sys::interrupt;

/// The program that makes the system calls of an attack (`src/attack`), for this architecture.
pub static ATTACKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostel-attack"));

/// One known way out.
pub struct Row {
    /// Its number in docs/security.md.
    pub number: u8,
    /// What it is, in a few words.
    pub name: &'static str,
    /// What is tried.
    pub tries: &'static str,
    attempt: fn(&Arena<'_>) -> Result<Verdict>,
}

/// What an attempt showed.
#[derive(Debug)]
enum Verdict {
    /// Nothing came of it; what that was seen by.
    Closed(String),
    /// Something did.
    Open(String),
    /// This host cannot show it, for that reason.
    Skipped(String),
}

/// How much of what is open is told: the first is enough to begin with.
const SHOWN: usize = 8;

/// What is open of a row so far.
#[derive(Debug, Default)]
struct Found(Vec<String>);

impl Found {
    fn new() -> Self {
        Self::default()
    }

    /// Something that must be so; `open` says what it is when it is not.
    fn expect(&mut self, is_so: bool, open: impl Into<String>) {
        if !is_so {
            self.0.push(open.into());
        }
    }

    fn extend(&mut self, open: impl IntoIterator<Item = String>) {
        self.0.extend(open);
    }

    /// The verdict; `closed` says what was tried when nothing is open.
    fn verdict(self, closed: impl Into<String>) -> Verdict {
        let mut open = self.0;
        open.sort();
        open.dedup();
        if open.is_empty() {
            return Verdict::Closed(closed.into());
        }
        let more = open.len().saturating_sub(SHOWN);
        open.truncate(SHOWN);
        if more > 0 {
            open.push(format!("and {more} more"));
        }
        Verdict::Open(open.join("; "))
    }
}

/// The attack must work where nothing is in its way.
fn control(works: bool, what: &str) -> Result<()> {
    if works {
        return Ok(());
    }
    Err(Error::new(
        Kind::External,
        format!("the attack proves nothing here: {what} does not work without a guest either"),
    ))
}

/// How a row went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The way out is closed.
    Ok,
    /// It is open.
    Failed,
    /// This host cannot show it.
    Skipped,
    /// It could not be tried.
    Error,
}

/// What came of a row.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its number.
    pub row: u8,
    /// What it is.
    pub name: &'static str,
    /// How it went.
    pub state: State,
    /// What was seen.
    pub detail: String,
}

/// Who is told how it goes.
pub trait Watcher {
    /// A row is being tried.
    fn begin(&mut self, row: &Row);
    /// A row is done.
    fn done(&mut self, report: Report) -> Result<()>;
}

/// Runs `work` with a place for a self-test, in a process of its own: whichever of the two processes is killed, the
/// other takes away what was made. The exit code of `work`.
pub fn in_place(work: impl FnOnce(&Place) -> u8) -> Result<u8> {
    let place = Place::take()?;
    let code = place::watched(&place, work);
    match (code, place.clear()) {
        (code, Ok(())) => code,
        (Ok(_), Err(err)) => Err(err),
        (Err(first), Err(err)) => Err(first.and_also(err)),
    }
}

/// Tries rows, and tells of each when it is done. Those that race start a guest `starts` times.
///
/// # Errors
/// What keeps all of them from being tried, and an interrupt.
pub fn attempt(place: &Place, rows: &[&Row], starts: u32, watcher: &mut dyn Watcher) -> Result<()> {
    place::settle(place)?;
    let arena = Arena::new(place, starts);
    arena.image()?;
    for row in rows {
        watcher.begin(row);
        let (state, detail) = match on_files(row, &arena) {
            Ok(Verdict::Closed(detail)) => (State::Ok, detail),
            Ok(Verdict::Open(detail)) => (State::Failed, detail),
            Ok(Verdict::Skipped(detail)) => (State::Skipped, detail),
            Err(err) => {
                interrupt::check()?;
                let hint = err.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                (State::Error, format!("{err}{hint}"))
            }
        };
        watcher.done(Report {
            row: row.number,
            name: row.name,
            state,
            detail,
        })?;
        arena.clear()?;
    }
    Ok(())
}

/// Tries a row; and where files are what it is about, once more on files that are layers.
fn on_files(row: &Row, arena: &Arena<'_>) -> Result<Verdict> {
    let first = (row.attempt)(arena)?;
    if !rows::ON_LAYERS.contains(&row.number) {
        return Ok(first);
    }
    let Verdict::Closed(closed) = first else {
        return Ok(first);
    };
    arena.clear()?;
    if !arena.lay()? {
        return Ok(Verdict::Closed(format!("{closed}; layers are not possible here")));
    }
    let second = (row.attempt)(arena);
    arena.clear()?;
    arena.lie_flat()?;
    Ok(match second? {
        Verdict::Closed(_) => Verdict::Closed(format!("{closed}; on layers too")),
        Verdict::Open(open) => Verdict::Open(format!("on layers: {open}")),
        Verdict::Skipped(why) => Verdict::Skipped(format!("on layers: {why}")),
    })
}
