//! Recipes on the command line: the file, its inputs, and what is wrong with it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueHint;
use serde_json::json;

use super::session::Session;
use crate::error::Context as _;
use crate::guest::{Invalid, Spec};
use crate::lua::{self, Diagnostics, EvalOptions, Evaluated};
use crate::plan::{self, Facts};
use crate::storage::{Layout, RecipeRef};
use crate::{Error, Result};

/// A recipe and its inputs.
#[derive(Debug, clap::Args)]
pub(crate) struct RecipeArgs {
    /// The recipe
    #[arg(value_name = "RECIPE", value_hint = ValueHint::FilePath)]
    pub(crate) recipe: PathBuf,
    /// The value of an input that the recipe declares; may be repeated
    #[arg(long = "set", alias = "input", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<Input>,
    /// A JSON file with values of inputs: one object of texts, numbers and truth values; --set wins
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) inputs: Option<PathBuf>,
}

/// `NAME=VALUE`.
#[derive(Debug, Clone)]
pub(crate) struct Input(String, String);

impl FromStr for Input {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self(name.to_owned(), value.to_owned())),
            _ => Err(Invalid {
                message: format!("`{}` is not an input", text.escape_debug()),
                hint: Some("`NAME=VALUE`".to_owned()),
            }),
        }
    }
}

/// Whether the values of secrets are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// They are read, to be put into guests.
    Read,
    /// `<secret NAME>` stands for them.
    LeftOut,
}

impl RecipeArgs {
    /// The inputs, by name, and where a file has them.
    fn given(&self) -> Result<lua::GivenInputs, Diagnostics> {
        let (mut values, places) = match &self.inputs {
            Some(file) => lua::inputs_file(file)?,
            None => Default::default(),
        };
        let set = self.set.iter().map(|input| (input.0.clone(), input.1.clone()));
        values.extend(set);
        Ok((values, places))
    }

    /// What the recipe means; `None` when it has mistakes, which have then been told.
    pub(crate) fn evaluate(&self, session: &mut Session, secrets: Secrets) -> Option<Evaluated> {
        let (inputs, input_places) = match self.given() {
            Ok(given) => given,
            Err(diagnostics) => {
                tell(session, &diagnostics);
                return None;
            }
        };
        let options = EvalOptions {
            inputs,
            input_places,
            secrets: (secrets == Secrets::Read).then(|| Layout::from_env().root().to_owned()),
            ..EvalOptions::default()
        };
        evaluate(session, &self.recipe, &options)
    }

    /// What is kept of the recipe beside the guests that were made from it.
    pub(crate) fn reference(&self, evaluated: &Evaluated) -> Result<RecipeRef> {
        let path =
            std::path::absolute(&self.recipe).context(|| format!("find `{}`", self.recipe.display()))?;
        Ok(RecipeRef {
            path,
            sha256: evaluated.hash.clone(),
            inputs: self.given().map_err(Error::from)?.0,
        })
    }
}

/// What a recipe means; `None` when it has mistakes, which have then been told. What it printed goes to standard
/// error, so that it does not mix with the plan.
pub(crate) fn evaluate(session: &mut Session, recipe: &Path, options: &EvalOptions) -> Option<Evaluated> {
    match lua::evaluate(recipe, options) {
        Ok(evaluated) => {
            for line in &evaluated.output {
                session.note(line);
            }
            Some(evaluated)
        }
        Err(diagnostics) => {
            tell(session, &diagnostics);
            None
        }
    }
}

/// Tells of guests that the recipe no longer has: a plan without `--prune` leaves them alone.
pub(crate) fn tell_left_behind(session: &mut Session, specs: &[Spec], facts: &Facts, recipe: &Path) {
    let recipe = recipe.to_string_lossy();
    let names: Vec<String> = plan::left_behind(specs, facts, &recipe)
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if !names.is_empty() && !session.is_json {
        let is = if names.len() == 1 { "is" } else { "are" };
        session.note(&format!(
            "note: {} came from this recipe and {is} no longer in it; `--prune` would take away what is left",
            names.join(", ")
        ));
    }
}

pub(crate) fn tell(session: &mut Session, diagnostics: &Diagnostics) {
    let text = if session.is_json {
        let err = Error::from(diagnostics.clone());
        json!({
            "kind": err.kind().as_str(),
            "message": err.to_string(),
            "diagnostics": diagnostics.0.iter().map(for_editors).collect::<Vec<_>>(),
        })
        .to_string()
    } else {
        diagnostics.render(session.paint_err.is_on())
    };
    session.note(text.trim_end());
}

/// A diagnostic with its `range` as the Language Server Protocol has it: lines and UTF-16 units from 0.
fn for_editors(diagnostic: &lua::Diagnostic) -> serde_json::Value {
    let mut value = json!(diagnostic);
    value["severity"] = json!("error");
    if let Some(place) = &diagnostic.place {
        let units = |count: usize| -> usize { place.text.chars().take(count).map(char::len_utf16).sum() };
        let (line, start) = (place.line.saturating_sub(1), place.column.saturating_sub(1));
        value["range"] = json!({
            "start": { "line": line, "character": units(start) },
            "end": { "line": line, "character": units(start + place.width) },
        });
    }
    value
}
