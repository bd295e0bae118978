//! Who runs the hooks of recipes for the verbs that start and stop guests.

use std::io::Write as _;

use super::output::color::Paint;
use super::output::error;
use super::output::table::clean;
use super::session::Session;
use crate::guest::{GuestName, Hook, HookMoment};
use crate::life::hooks::HookRunner;
use crate::lua::{self, hooks::Recipe};
use crate::storage::Applied;
use crate::{Error, Kind, Result};

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

impl Hooks {
    // What cannot be told is lost: a closed standard error is no reason to fail a start.
    fn tell(text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

impl HookRunner for Hooks {
    fn run(&self, applied: &Applied, moment: HookMoment, hook: &Hook) -> Result<()> {
        let name = &applied.spec.name;
        let Some(from) = &applied.recipe else {
            return Err(Error::new(
                Kind::Invalid,
                format!("guest `{name}` has hooks but came from no recipe"),
            ));
        };
        let recipe = Recipe {
            path: from.path.clone(),
            hash: from.sha256.clone(),
            inputs: from.inputs.clone(),
        };
        for line in lua::hooks::run(&recipe, name, moment, hook)? {
            Self::tell(&format!("{name}: {}", clean(&line)));
        }
        Ok(())
    }

    fn warn(&self, _guest: &GuestName, err: &Error) {
        let text = error::text(err, self.paint);
        let label = self.paint.yellow("warning:");
        let text = text.replacen(&self.paint.red("error:"), &label, 1);
        Self::tell(text.trim_end());
    }
}
