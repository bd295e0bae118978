//! `hostel build RECIPE [GUEST...]`

use clap::Parser;

use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::output::progress::Progress;
use crate::cli::recipe::{RecipeArgs, Secrets};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::GuestName;
use crate::life::{Host, build};
use crate::{Error, Kind, Result};

/// Build guests of a recipe, and do not start them
///
/// A guest is built whole or not at all. One that is there already is refused.
#[derive(Debug, Parser)]
pub(crate) struct Build {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Only these guests of the recipe
    #[arg(value_name = "GUEST")]
    guests: Vec<GuestName>,
}

impl Verb for Build {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel build web.lua", "all of its guests"),
        ("hostel build web.lua web", "one of them"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let Some(evaluated) = self.recipe.evaluate(session, Secrets::Read) else {
            return Ok(Exit::No);
        };
        let mut names: Vec<GuestName> = self.guests;
        if names.is_empty() {
            names = evaluated.specs.iter().map(|spec| spec.name.clone()).collect();
        }
        let reference = self.recipe.reference(&evaluated)?;
        let host = Host::open()?;
        let hooks = hooks::runner(session);
        super::each(session, &names, |session, name| {
            let spec = evaluated.spec(name).ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("`{}` has no guest `{name}`", self.recipe.recipe.display()),
                )
            })?;
            let progress = Progress::new(session.paint_err);
            build::build(&host, spec, Some(reference.clone()), &hooks, &progress)?;
            drop(progress);
            session.line(&format!("built {name}"))
        })
    }
}
