//! `hostel unify`: guests that have their equal files once.

use super::host::Host;
use super::observe;
use crate::error::Result;
use crate::guest::GuestName;
use crate::storage::unify::{self, Options, Report};
use crate::storage::{Progress, state};

/// Whether it is done or taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Equal files are shared.
    Share,
    /// Each guest has its own again.
    Undo,
}

/// Does it to `guests`, or to all when there is none.
pub fn unify(
    host: &Host,
    guests: &[GuestName],
    direction: Direction,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    let mut names = guests.to_vec();
    if names.is_empty() {
        names = state::list(&host.layout)?;
    }
    for name in &names {
        observe::applied(host, name)?;
    }
    names.sort();
    names.dedup();
    host.layout.ensure()?;
    match direction {
        Direction::Share => unify::unify(&host.layout, &names, options, progress),
        Direction::Undo => unify::undo(&host.layout, &names, options, progress),
    }
}
