//! `hostel explain CODE|GUEST.FIELD`

use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::cli::exit::Exit;
use crate::cli::recipe;
use crate::cli::session::Session;
use crate::cli::verb::{Example, Group, Verb};
use crate::guest::GuestName;
use crate::life::{Host, observe};
use crate::lua::{Code, Did, EvalOptions, Origin, Origins, Wanted, provenance};
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
    /// Print JSON: by field, the list of layers with `layer`, `did`, `value` and `place`
    #[arg(long)]
    json: bool,
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
            if self.json {
                let page = serde_json::json!({ "code": code.as_str(), "title": code.title(), "text": code.explain() });
                return session.json(&page).map(|()| Exit::Success);
            }
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
            provenance: Wanted::Of([guest.to_owned()].into()),
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
        let mut found = evaluated
            .provenance
            .get(guest)
            .map(|all| at_or_below(all, &provenance::landing(field)))
            .unwrap_or_default();
        if found.is_empty() {
            let origins = provenance::unset(field).ok_or_else(|| {
                Error::new(Kind::NotFound, format!("a guest has no field `{field}`"))
                    .with_hint("`hostel doc guest` lists the fields")
            })?;
            found.insert(field.to_owned(), origins);
        }
        if self.json {
            return session.json(&found).map(|()| Exit::Success);
        }
        for (at, origins) in &found {
            let heading = session.paint.bold(&format!("{guest}.{at}"));
            session.line(&heading)?;
            if origins.is_empty() {
                session.line("  not set, and without a default")?;
            }
            for (index, origin) in origins.iter().enumerate() {
                session.line(&shown(origin, index + 1 == origins.len()))?;
            }
        }
        Ok(Exit::Success)
    }
}

/// The field and everything below it.
fn at_or_below(all: &Origins, field: &str) -> Origins {
    let is_below = |at: &str| {
        at.strip_prefix(field)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    all.iter()
        .filter(|(at, _)| is_below(at))
        .map(|(at, origins)| (at.clone(), origins.clone()))
        .collect()
}

/// `  web.lua:3:12 guest "web" = "64M"  <- decides`
fn shown(origin: &Origin, decides: bool) -> String {
    let place = match &origin.place {
        Some(place) => format!("{}:{}:{} {}", place.file, place.line, place.column, origin.layer),
        None if origin.did == Did::Default => "default".to_owned(),
        None => origin.layer.clone(),
    };
    // A table is shown by its fields, which follow.
    let value = match &origin.value {
        Some(serde_json::Value::String(text)) if origin.did == Did::Default => format!(" {text}"),
        Some(value) if !value.is_object() => format!(" = {value}"),
        _ => String::new(),
    };
    let did = match origin.did {
        Did::Append => " append",
        Did::Unset => " unset",
        Did::Default | Did::Set => "",
    };
    let mark = if decides { "  <- decides" } else { "" };
    // An appended list is `append = [..]` in full: `append [..]` reads better.
    let value = if origin.did == Did::Append {
        value.replacen(" = ", " ", 1)
    } else {
        value
    };
    format!("  {place}{did}{value}{mark}")
}
