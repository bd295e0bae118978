//! Progress of what takes its time, on standard error.
//!
//! On a terminal the current stage is one line that replaces itself and is gone in the end. Elsewhere each stage
//! is a line of its own, and only once the work has lasted two seconds: short work leaves no trace in a log.
//! `HOSTEL_PROGRESS=never` takes it away; what stays, such as warnings, is printed all the same.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::color::Paint;
use super::human;
use super::table::clean;
use crate::storage;

/// How long work stays silent where it cannot be taken back.
const SILENT: Duration = Duration::from_secs(2);

/// The shortest time between two updates of one stage on a terminal.
const UPDATE: Duration = Duration::from_millis(100);

/// The shortest time between two updates of one stage elsewhere.
const UPDATE_PLAIN: Duration = Duration::from_secs(10);

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On a terminal, on a line that replaces itself.
    Terminal,
    /// In lines, once the work has lasted.
    Lines,
    /// Nowhere.
    Nowhere,
}

/// Shows progress. The work is done by one thread, so it speaks only when it is told something.
pub(crate) struct Progress<W: Write> {
    to: RefCell<W>,
    paint: Paint,
    place: Place,
    begun: Instant,
    updated: Cell<Option<Instant>>,
    /// The current stage, where it has not been printed.
    waiting: RefCell<Option<String>>,
    stage: RefCell<String>,
}

impl Progress<std::io::Stderr> {
    /// Progress on standard error.
    pub(crate) fn new(paint: Paint) -> Self {
        let to = std::io::stderr();
        let place = if std::env::var_os("HOSTEL_PROGRESS").is_some_and(|when| when == "never") {
            Place::Nowhere
        } else if to.is_terminal() {
            Place::Terminal
        } else {
            Place::Lines
        };
        Self::on(to, paint, place)
    }

    /// The same where others work beside: a line that replaces itself would be one of theirs.
    pub(crate) fn of_one_of_several(paint: Paint) -> Self {
        let mut progress = Self::new(paint);
        if progress.place == Place::Terminal {
            progress.place = Place::Lines;
        }
        progress
    }
}

impl<W: Write> Progress<W> {
    fn on(to: W, paint: Paint, place: Place) -> Self {
        Self {
            to: RefCell::new(to),
            paint,
            place,
            begun: Instant::now(),
            updated: Cell::new(None),
            waiting: RefCell::new(None),
            stage: RefCell::new(String::new()),
        }
    }

    /// A new stage has begun.
    pub(crate) fn stage(&self, what: &str) {
        let what = clean(what);
        self.stage.replace(what.clone());
        self.updated.set(Some(Instant::now()));
        match self.place {
            Place::Terminal => self.replace_line(&what),
            Place::Lines => {
                self.waiting.replace(Some(what));
                self.print_late();
            }
            Place::Nowhere => {}
        }
    }

    /// So much of the current stage is done.
    pub(crate) fn part(&self, text: &str) {
        self.print_late();
        let least = match self.place {
            Place::Terminal => UPDATE,
            Place::Lines => UPDATE_PLAIN,
            Place::Nowhere => return,
        };
        if self.updated.get().is_some_and(|then| then.elapsed() < least) {
            return;
        }
        self.updated.set(Some(Instant::now()));
        let line = format!("{}: {text}", self.stage.borrow());
        if self.place == Place::Terminal {
            self.replace_line(&line);
        } else if self.begun.elapsed() >= SILENT {
            self.line(&line);
        }
    }

    /// Something that stays: a warning, or a step of `apply`.
    pub(crate) fn keep(&self, line: &str) {
        self.erase();
        self.line(line);
    }

    /// Takes the current stage from the terminal, so that something else can be written there.
    pub(crate) fn clear(&self) {
        self.erase();
    }

    fn print_late(&self) {
        if self.begun.elapsed() >= SILENT
            && let Some(stage) = self.waiting.take()
        {
            self.line(&stage);
        }
    }

    // Progress that cannot be written is lost; the work goes on.
    fn line(&self, text: &str) {
        let _ = writeln!(self.to.borrow_mut(), "{text}");
    }

    fn replace_line(&self, text: &str) {
        // A line that wraps could not be replaced; 79 columns fit everywhere.
        let text: String = text.chars().take(79).collect();
        let mut to = self.to.borrow_mut();
        let _ = write!(to, "\r\x1b[2K{}", self.paint.dim(&text));
        let _ = to.flush();
    }

    fn erase(&self) {
        if self.place == Place::Terminal && self.updated.get().is_some() {
            let mut to = self.to.borrow_mut();
            let _ = write!(to, "\r\x1b[2K");
            let _ = to.flush();
        }
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        self.erase();
    }
}

impl<W: Write> storage::Progress for Progress<W> {
    fn stage(&self, what: &str) {
        Progress::stage(self, what);
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        let done = human::bytes(done);
        match total {
            Some(total) => self.part(&format!("{done} of {}", human::bytes(total))),
            None => self.part(&done),
        }
    }

    fn warning(&self, what: &str) {
        let label = self.paint.yellow("warning:");
        self.keep(&format!("{label} {}", clean(what)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::Progress as _;

    fn written(place: Place, is_late: bool) -> String {
        let mut out = Vec::new();
        let mut progress = Progress::on(&mut out, Paint::PLAIN, place);
        if is_late {
            progress.begun = Instant::now().checked_sub(SILENT).unwrap();
        }
        progress.stage("unpacking web");
        progress.bytes(1, Some(2));
        progress.warning("odd");
        drop(progress);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn short_work_leaves_no_lines() {
        assert_eq!(written(Place::Lines, false), "warning: odd\n");
        assert_eq!(written(Place::Lines, true), "unpacking web\nwarning: odd\n");
    }

    #[test]
    fn never_is_never() {
        assert_eq!(written(Place::Nowhere, true), "warning: odd\n");
    }

    #[test]
    fn a_terminal_sees_one_line_that_goes() {
        assert_eq!(
            written(Place::Terminal, false),
            "\r\x1b[2Kunpacking web\r\x1b[2Kwarning: odd\n\r\x1b[2K"
        );
    }
}
