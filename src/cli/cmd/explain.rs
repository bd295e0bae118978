//! `hostel explain CODE|GUEST.FIELD`

use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::cli::exit::Exit;
use crate::cli::recipe;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::GuestName;
use crate::life::{Host, observe};
use crate::lua::{Code, EvalOptions};
use crate::{Error, Kind, Result};

/// Tell more about a mistake, or where a value of a guest comes from
#[derive(Debug, Parser)]
pub(crate) struct Explain {
    /// A code such as E0102, or a guest and a field of it such as web.limits.memory
    #[arg(value_name = "WHAT", add = crate::cli::args::guest_fields())]
    what: String,
    /// The recipe; the one that was applied without it
    #[arg(short, long, value_name = "RECIPE", value_hint = ValueHint::FilePath)]
    recipe: Option<PathBuf>,
}

impl Verb for Explain {
    const GROUP: Group = Group::Recipes;
    const EXAMPLES: &'static [Example] = &[
        ("hostel explain E0102", "what a code means"),
        (
            "hostel explain web.limits.memory",
            "each place of the recipe that set it",
        ),
        ("hostel explain web.net -r web.lua", "before it is applied"),
    ];

    fn run(self, session: &mut Session) -> Result<Exit> {
        if let Some(code) = Code::parse(&self.what) {
            session.line(code.explain().trim_end())?;
            return Ok(Exit::Success);
        }
        let Some((guest, field)) = self.what.split_once('.') else {
            let message = format!(
                "`{}` is no code and no field of a guest",
                self.what.escape_debug()
            );
            return Err(Error::new(Kind::Usage, message).with_hint("such as `E0102` or `web.limits.memory`"));
        };
        let name: GuestName = guest.parse().map_err(Error::from)?;
        let mut options = EvalOptions {
            provenance: Some(guest.to_owned()),
            ..EvalOptions::default()
        };
        let path = if let Some(path) = self.recipe {
            path
        } else {
            let applied = observe::applied(&Host::open()?, &name)?;
            let reference = applied.recipe.ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("guest `{name}` did not come from a recipe"),
                )
                .with_hint("name one: `--recipe FILE`")
            })?;
            options.inputs = reference.inputs;
            reference.path
        };
        let Some(evaluated) = recipe::evaluate(session, &path, &options) else {
            return Ok(Exit::No);
        };
        if evaluated.spec(&name).is_none() {
            let message = format!("`{}` has no guest `{name}`", path.display());
            return Err(Error::new(Kind::NotFound, message));
        }
        let below = format!("{field}.");
        let mut found = evaluated
            .provenance
            .iter()
            .filter(|(at, _)| *at == field || at.starts_with(&below))
            .peekable();
        if found.peek().is_none() {
            session.line(&format!("{}: not set by the recipe", self.what))?;
        }
        for (at, origins) in found {
            let heading = session.paint.bold(&format!("{guest}.{at}"));
            session.line(&heading)?;
            for (index, origin) in origins.iter().enumerate() {
                let place = &origin.place;
                let decides = if index + 1 == origins.len() {
                    "  <- decides"
                } else {
                    ""
                };
                session.line(&format!(
                    "  {}:{}:{} {}{decides}",
                    place.file, place.line, place.column, origin.layer
                ))?;
            }
        }
        Ok(Exit::Success)
    }
}
