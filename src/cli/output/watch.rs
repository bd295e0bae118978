//! What an apply does, as it does it.

use std::io::Write as _;

use super::color::Paint;
use super::plan;
use super::progress::Progress;
use crate::guest::GuestName;
use crate::life::apply::Watcher;
use crate::plan::Action;

/// Prints a line on standard output for each guest that is done, and what is being done on standard error.
pub(crate) struct Watch {
    paint: Paint,
    progress: Progress<std::io::Stderr>,
}

impl Watch {
    /// Begins to watch.
    pub(crate) fn new(paint: Paint, paint_err: Paint) -> Self {
        Self {
            paint,
            progress: Progress::new(paint_err),
        }
    }
}

impl Watcher for Watch {
    fn begin(&self, action: &Action) {
        self.progress.stage(&format!("{} {}", action.verb, action.guest));
    }

    fn stage(&self, guest: &GuestName, what: &str) {
        self.progress.stage(&format!("{guest}: {what}"));
    }

    fn done(&self, action: &Action) {
        self.progress.clear();
        // A closed standard output does not end an apply half way: the last line of the verb will say so.
        let _ = writeln!(std::io::stdout(), "{}", plan::line(action, self.paint));
    }
}
