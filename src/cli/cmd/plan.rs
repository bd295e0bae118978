//! `hostel plan RECIPE`

use clap::Parser;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::output::plan;
use crate::cli::recipe::{RecipeArgs, Secrets, tell_left_behind};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::{Host, apply};
use crate::plan::Options;

/// Show what `apply` would do, and do nothing
///
/// The exit code is 0 if nothing is to be done, 2 if something is, 1 if the recipe has mistakes or something
/// failed. What somebody changed on the host behind the recipe's back is shown too.
#[derive(Debug, Parser)]
pub(crate) struct Plan {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Also take away guests that came from this recipe and are no longer in it
    #[arg(long)]
    prune: bool,
    /// Print JSON: `actions`, each with `guest`, `action`, its `changes` and new `volumes`
    #[arg(long)]
    json: bool,
}

impl Verb for Plan {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel plan web.lua", "what would be done"),
        ("hostel plan web.lua --json", "the same for a program"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        // The values of secrets decide whether something changed; they are never shown.
        let Some(evaluated) = self.recipe.evaluate(session, Secrets::Read) else {
            return Ok(Exit::No);
        };
        let host = Host::open()?;
        let facts = apply::facts(&host)?;
        let recipe = self.recipe.reference(&evaluated)?.path;
        let options = Options {
            prune: self.prune.then(|| recipe.to_string_lossy().into_owned()),
        };
        let plan = apply::plan(&host, &evaluated.specs, &facts, &options)?;
        if self.json {
            session.json(&plan)?;
        } else {
            let text = plan::text(&plan, session.paint);
            session.print(&text)?;
        }
        if !self.prune {
            tell_left_behind(session, &evaluated.specs, &facts, &recipe);
        }
        Ok(if plan.actions.is_empty() {
            Exit::Success
        } else {
            Exit::Changes
        })
    }
}
