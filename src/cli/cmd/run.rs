//! `hostel run FILE [ARGS]`

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::recipe::tell;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::lua::script::{self, Args};

/// Run a script of primitives and verbs, written in Lua
///
/// `require "hostel"` has them; `hostel doc hostel` lists them. The script runs as you do. A FILE without `/` that is
/// not here is looked for as scripts/FILE.lua. What follows FILE is the script's own: `--name=value`, `--name value`
/// and `--name` are `flags.name`, the rest is `args`. By custom `--plan` shows the steps without doing them.
#[derive(Debug, Parser)]
pub(crate) struct Run {
    /// The script
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// What the script is given
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Verb for Run {
    const GROUP: Group = Group::Primitives;
    const EXAMPLES: &'static [Example] = &[
        (
            "hostel run examples/07-primitives.lua --plan",
            "the steps of a script, without doing them",
        ),
        (
            "hostel run migrate --guest web --to beta",
            "scripts/migrate.lua, with two flags",
        ),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        session.flush()?;
        let Err(failed) = script::run(&found(self.file), &Args::parse(&self.args)) else {
            return Ok(Exit::Success);
        };
        tell(session, &failed.diagnostics);
        Ok(failed.signal.map_or(Exit::No, Exit::of_signal))
    }
}

fn found(file: PathBuf) -> PathBuf {
    if file.components().count() == 1 && !file.exists() {
        let below = Path::new("scripts").join(&file).with_extension("lua");
        if below.exists() {
            return below;
        }
    }
    file
}
