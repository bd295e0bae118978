//! `hostel apply RECIPE`

use clap::Parser;

use crate::Result;
use crate::cli::exit::Exit;
use crate::cli::hooks;
use crate::cli::output::plan;
use crate::cli::output::watch::Watch;
use crate::cli::recipe::{RecipeArgs, Secrets, tell_left_behind};
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::life::Host;
use crate::life::apply::{self, ApplyOptions};
use crate::plan::Options;

/// Make the host what a recipe says
///
/// What can be changed while a guest runs is; what needs a restart gets one. Guests are worked on in the order of
/// their dependencies, several at once. The first failure ends it: what that guest had begun is undone, what
/// others have finished stays. A second apply does nothing.
#[derive(Debug, Parser)]
pub(crate) struct Apply {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Also take away guests that came from this recipe and are no longer in it, with their files
    #[arg(long)]
    prune: bool,
    /// Build guests anew whose files come from elsewhere now; what is in them is lost
    #[arg(long)]
    rebuild: bool,
    /// Do not wait until guests are healthy, also where others depend on them
    #[arg(long)]
    no_wait: bool,
    /// How many guests are worked on at once; as many as there are processors without it
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
}

impl Verb for Apply {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel apply web.lua", "build, start and change what differs"),
        (
            "hostel apply web.lua --prune",
            "and take away what is no longer in it",
        ),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        let Some(evaluated) = self.recipe.evaluate(session, Secrets::Read) else {
            return Ok(Exit::No);
        };
        let host = Host::open()?;
        let reference = self.recipe.reference(&evaluated)?;
        let options = Options {
            prune: self.prune.then(|| reference.path.to_string_lossy().into_owned()),
        };
        let facts = apply::settled_facts(&host)?;
        let plan = apply::plan(&host, &evaluated.specs, &facts, &options)?;
        if !self.prune {
            tell_left_behind(session, &evaluated.specs, &facts, &reference.path);
        }
        apply::adopt(&host, &plan, &evaluated.specs, &reference)?;
        if plan.actions.is_empty() {
            session.line("no changes: the host is as the recipe says")?;
            return Ok(Exit::Success);
        }
        let mut how = ApplyOptions {
            rebuild: self.rebuild,
            no_wait: self.no_wait,
            ..ApplyOptions::default()
        };
        how.jobs = self.jobs.unwrap_or(how.jobs);
        let hooks = hooks::runner(session);
        let watch = Watch::new(session.paint, session.paint_err);
        apply::apply(
            &host,
            &plan,
            &evaluated.specs,
            Some(&reference),
            how,
            &hooks,
            &watch,
        )?;
        drop(watch);
        session.line(&format!("applied: {}", plan::summary(&plan).replace(" to ", " ")))?;
        Ok(Exit::Success)
    }
}
