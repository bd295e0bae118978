//! `hostel lint [PATH...]`

use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::Result;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::lua::tools::lint::lint;

/// Find what looks wrong in recipes and scripts, with luacheck
///
/// luacheck is told which words recipes, scripts (in a directory `scripts`) and tests (`NAME_test.lua`) have. A
/// .luacheckrc in this directory or above holds, with the words of a recipe added. luacheck is found in PATH or named by
/// `HOSTEL_LUACHECK`. Fields and values are `hostel check`'s to judge. The exit code is 0 if nothing was found, 1 if
/// something was, 2 if luacheck could not do its work.
#[derive(Debug, Parser)]
pub(crate) struct Lint {
    /// Lua files, and directories that are searched for them; what is hidden in these is left out
    #[arg(value_name = "PATH", default_value = ".", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// Print JSON: `files` and `findings`, each with its place
    #[arg(long)]
    json: bool,
}

impl Verb for Lint {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel lint", "every Lua file below this directory"),
        ("hostel lint web.lua --json", "one, for an editor"),
    ];
    const FAILURE: Failure = Failure::Unanswered;

    fn run(self, session: &mut Session) -> Result<Exit> {
        let done = lint(&self.paths)?;
        if self.json {
            session.json(&done)?;
        } else {
            for found in &done.findings {
                let (word, place) = (
                    if found.is_error { "error" } else { "warning" },
                    format!("{}:{}:{}", found.file.display(), found.line, found.column),
                );
                let mark = format!("{word}[{}]:", found.code);
                let mark = if found.is_error {
                    session.paint.red(&mark)
                } else {
                    session.paint.yellow(&mark)
                };
                session.line(&format!("{place}: {mark} {}", found.message))?;
                if let Some(help) = &found.help {
                    session.line(&format!("  = help: {help}"))?;
                }
            }
            let plural = |count: usize| if count == 1 { "" } else { "s" };
            let (found, files) = (done.findings.len(), done.files);
            session.line(&match found {
                0 => format!("{files} file{}, nothing found", plural(files)),
                _ => format!("{found} found in {files} file{}", plural(files)),
            })?;
        }
        Ok(if done.findings.is_empty() {
            Exit::Success
        } else {
            Exit::No
        })
    }
}
