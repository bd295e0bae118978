//! How the verbs tell what hooks of recipes say. [`RecipeHooks`] runs them.

use std::io::Write as _;

use super::output::error;
use super::output::table::clean;
use super::session::Session;
use crate::Error;
use crate::guest::GuestName;
use crate::life::hooks::HookRunner;
use crate::lua::hooks::RecipeHooks;

/// The runner for this command: what hooks log, and failures that do not end the command, go to standard error.
pub(crate) fn runner(session: &Session) -> impl HookRunner + use<> {
    let paint = session.paint_err;
    RecipeHooks {
        log: |guest: &GuestName, line: &str| tell(&format!("{guest}: {}", clean(line))),
        warn: move |_: &GuestName, err: &Error| {
            let text = error::text(err, paint);
            let label = paint.yellow("warning:");
            tell(text.replacen(&paint.red("error:"), &label, 1).trim_end());
        },
    }
}

// What cannot be told is lost: a closed standard error is no reason to fail a start.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
