//! `hostel check RECIPE`

use clap::Parser;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::recipe::{RecipeArgs, Secrets};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};

/// Check a recipe: every mistake, each with its place and what would be right
///
/// Neither root nor the host is needed.
///
/// With --json, the guests of a right recipe are a list on standard output. Mistakes are one object on standard error:
/// `kind`, `message` and `diagnostics`, each of these with `code`, `severity`, `message`, `place` (`file`, `line`, `column`,
/// `width`, `text`: from 1, in characters), `range` (from 0, in UTF-16 units, as language servers have it), and where there
/// is something to say `help`, `notes` and `related`, a list of pairs of another place and what is there.
#[derive(Debug, Parser)]
pub(crate) struct Check {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Print the guests as JSON, as they are after templates; mistakes are JSON too
    #[arg(long)]
    json: bool,
}

impl Verb for Check {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel check web.lua", "before it is committed"),
        ("hostel check web.lua --json", "what its guests come to"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let Some(evaluated) = self.recipe.evaluate(session, Secrets::LeftOut) else {
            return Ok(Exit::No);
        };
        if self.json {
            session.json(&evaluated.specs)?;
        } else {
            let count = evaluated.specs.len();
            let guests = if count == 1 { "guest" } else { "guests" };
            session.line(&format!("{count} {guests}, no mistakes"))?;
        }
        // The process ends now.
        std::mem::forget(evaluated);
        Ok(Exit::Success)
    }
}
