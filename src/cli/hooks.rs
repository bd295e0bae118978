//! Who runs the hooks of recipes for the verbs that start and stop guests.

use super::output::color::Paint;
use super::output::error;
use super::session::Session;
use crate::guest::{GuestName, Hook, HookMoment};
use crate::life::hooks::{HookRunner, NoHooks};
use crate::storage::Applied;
use crate::{Error, Result};

/// Runs hooks, and tells of failures that do not end the command on standard error.
pub(crate) struct Hooks {
    paint: Paint,
}

/// The runner for this command.
pub(crate) fn runner(session: &Session) -> Hooks {
    Hooks {
        paint: session.paint_err,
    }
}

impl HookRunner for Hooks {
    fn run(&self, applied: &Applied, moment: HookMoment, hook: &Hook) -> Result<()> {
        NoHooks.run(applied, moment, hook)
    }

    #[allow(clippy::print_stderr, reason = "the command line is what tells the operator")]
    fn warn(&self, _guest: &GuestName, err: &Error) {
        let text = error::text(err, self.paint);
        let label = self.paint.yellow("warning:");
        let text = text.replacen(&self.paint.red("error:"), &label, 1);
        eprint!("{text}");
    }
}
