//! `hostel fmt [PATH...]`

use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::Result;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::lua::tools::format::{Changed, Formatted, Wish, format};

/// Format recipes and scripts, with stylua
///
/// The nearest stylua.toml, beside a file or above, says how; without one hostel's own style holds, which is what
/// `hostel init` writes down. stylua is found in PATH or named by `HOSTEL_STYLUA`. With --check or --diff nothing is
/// written. The exit code is 0 if all is well, 1 if --check or --diff found something, 2 if a file could not be formatted.
#[derive(Debug, Parser)]
pub(crate) struct Fmt {
    /// Lua files, and directories that are searched for them; what is hidden in these is left out
    #[arg(value_name = "PATH", default_value = ".", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// Only tell which files are not formatted
    #[arg(long)]
    check: bool,
    /// Only show what would change
    #[arg(long)]
    diff: bool,
    /// Print JSON: `files`, what `changed`, and `errors`
    #[arg(long)]
    json: bool,
}

impl Verb for Fmt {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel fmt", "every Lua file below this directory"),
        ("hostel fmt web.lua --diff", "what would change in one"),
        ("hostel fmt --check", "for continuous integration"),
    ];
    const FAILURE: Failure = Failure::Unanswered;

    fn run(self, session: &mut Session) -> Result<Exit> {
        let wish = if self.check || self.diff {
            Wish::Tell
        } else {
            Wish::Write
        };
        let done = format(&self.paths, wish)?;
        if self.json {
            session.json(&done)?;
        } else {
            self.tell(session, &done, wish)?;
        }
        Ok(if !done.errors.is_empty() {
            Exit::Command(2)
        } else if wish == Wish::Tell && !done.changed.is_empty() {
            Exit::No
        } else {
            Exit::Success
        })
    }
}

impl Fmt {
    fn tell(&self, session: &mut Session, done: &Formatted, wish: Wish) -> Result<()> {
        for changed in &done.changed {
            if self.diff {
                diff(session, changed)?;
                continue;
            }
            let what = match wish {
                Wish::Write => "formatted",
                Wish::Tell => "not formatted:",
            };
            session.line(&format!("{what} {}", changed.file.display()))?;
        }
        session.flush()?;
        for err in &done.errors {
            let mut place = err.file.display().to_string();
            for number in [err.line, err.column].into_iter().flatten() {
                place = format!("{place}:{number}");
            }
            let mark = session.paint_err.red("error:");
            session.note(&format!("{mark} {place}: {}", err.message));
        }
        if done.changed.is_empty() && done.errors.is_empty() {
            let plural = if done.files == 1 { "" } else { "s" };
            session.line(&format!("{} file{plural}, all formatted", done.files))?;
        }
        Ok(())
    }
}

fn diff(session: &mut Session, changed: &Changed) -> Result<()> {
    let name = changed.file.display();
    let head = session.paint.bold(&format!("--- {name}\n+++ {name}"));
    session.line(&head)?;
    let mut shift = 0_isize;
    for hunk in &changed.hunks {
        let count = |text: &str| isize::try_from(text.lines().count()).unwrap_or(isize::MAX);
        let (old, new) = (count(&hunk.original), count(&hunk.expected));
        // A hunk without lines is named by the line before it.
        let from = |count: isize| hunk.line.saturating_add_signed(isize::from(count > 0));
        let head = format!(
            "@@ -{},{old} +{},{new} @@",
            from(old),
            from(new).saturating_add_signed(shift)
        );
        let head = session.paint.cyan(&head);
        session.line(&head)?;
        for line in hunk.original.lines() {
            let line = session.paint.red(&format!("-{line}"));
            session.line(&line)?;
        }
        for line in hunk.expected.lines() {
            let line = session.paint.green(&format!("+{line}"));
            session.line(&line)?;
        }
        shift += new - old;
    }
    Ok(())
}
