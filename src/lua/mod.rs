//! The Lua side: recipes to [`Spec`]s, hooks, and what is wrong with them.
//!
//! A recipe is hermetic: it sees string, table, math, utf8 and hostel's words, and the same text always gives the
//! same specifications. [`evaluate()`] reads one in a process of its own, whose processor time and memory the
//! kernel bounds; the limits inside the Lua state are there for good messages.
//!
//! ```text
//! text ──vm──▶ bodies ──read (by guest::schema)──▶ nodes ──merge──▶ one node a guest ──finish──▶ Spec
//!                            └── mistakes ──diagnostic::place──▶ file:line:column
//! ```

mod api;
mod channel;
mod child;
mod confine;
mod declare;
pub mod diagnostic;
mod evaluate;
mod finish;
pub mod hooks;
mod input;
mod inputs_file;
mod isolated;
mod order;
pub mod provenance;
mod read;
pub mod registry;
pub mod repl;
mod require;
mod requires;
pub mod script;
mod secret;
mod source;
mod spec;
mod starter;
mod state;
pub mod test;
pub mod tools;
mod value;
mod vm;
mod vocabulary;
mod words;
pub mod workflow;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use diagnostic::{Code, Diagnostic, Diagnostics, Place};
pub use inputs_file::{GivenInputs, inputs_file};
pub use starter::starter;

use crate::guest::{GuestName, Spec};

/// How a recipe is evaluated.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Values of the recipe's declared inputs.
    pub inputs: BTreeMap<String, String>,
    /// Where values were written, when they came from a file.
    pub input_places: BTreeMap<String, Place>,
    /// Where secrets are, `$HOSTEL_ROOT`; without it their values are left out (`<secret NAME>` stands there), as
    /// suits a test or a plan without root. This process reads them; the one that evaluates never has them.
    pub secrets: Option<PathBuf>,
    /// How many Lua instructions it may use.
    pub instructions: u64,
    /// How many bytes its Lua state may use.
    pub memory: usize,
    /// How many seconds of processor time its process may use.
    pub cpu_seconds: u64,
    /// Whether it gets a process of its own. Without one, a pattern that backtracks can hang the caller.
    pub isolated: bool,
    /// The guests whose fields' origins are wanted.
    pub provenance: Wanted,
    /// Whether it is counted how often each line runs.
    pub coverage: bool,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            inputs: BTreeMap::new(),
            input_places: BTreeMap::new(),
            secrets: None,
            instructions: 300_000_000,
            memory: 256 << 20,
            cpu_seconds: 10,
            isolated: true,
            provenance: Wanted::None,
            coverage: false,
        }
    }
}

/// Of which guests it is kept what each layer says: that costs a copy of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Of none.
    #[default]
    None,
    /// Of those with these names.
    Of(BTreeSet<String>),
    /// Of every guest.
    All,
}

impl Wanted {
    /// Whether it is wanted of this guest.
    pub fn includes(&self, guest: &str) -> bool {
        match self {
            Self::None => false,
            Self::Of(names) => names.contains(guest),
            Self::All => true,
        }
    }
}

/// What a recipe means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluated {
    /// Its guests, in the recipe's order.
    pub specs: Vec<Spec>,
    /// The files that it is made of, the recipe first.
    pub sources: Vec<SourceFile>,
    /// One hash over all files, by their names below the recipe's folder: what is kept with an applied guest, and
    /// what a hook's recipe is compared with.
    pub hash: String,
    /// What it printed.
    pub output: Vec<String>,
    /// Of the guests that were asked for, where their fields come from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provenance: BTreeMap<String, Origins>,
    /// The inputs that it declares, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, DeclaredInput>,
    /// Where its secrets belong: the process that evaluates does not know their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<secret::SecretUse>,
    /// How often each line ran, by file, where that was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hits: BTreeMap<String, BTreeMap<usize, u64>>,
}

/// By a field's path, the places that set it, the deciding one last.
pub type Origins = BTreeMap<String, Vec<Origin>>;

/// A file of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// As it is named in messages.
    pub name: String,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

/// An input that a recipe declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredInput {
    /// `text`, `integer`, `number` or `boolean`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What holds when none is given, as it would be given; without it one must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The only values that it may have, if it says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A layer that said something about a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `guest "web"`, `template "base"`, or `hostel`, whose defaults are the lowest layer.
    pub layer: String,
    /// What it did.
    pub did: Did,
    /// What it said. A secret is a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
    /// Where; nowhere for a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// What a layer did with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Did {
    /// Nothing else is said, and this holds.
    Default,
    /// It said what the value is, or, of a table, some of its fields.
    Set,
    /// It added to the list (`append`).
    Append,
    /// It removed what it inherited (`unset`).
    Unset,
}

impl Evaluated {
    /// The specification of this guest.
    pub fn spec(&self, name: &GuestName) -> Option<&Spec> {
        self.specs.iter().find(|spec| spec.name == *name)
    }
}

/// Reads a recipe. Either everything in it is right, or every mistake that could be found is returned.
pub fn evaluate(recipe: &Path, options: &EvalOptions) -> Result<Evaluated, Diagnostics> {
    let mut evaluated = if options.isolated {
        isolated::evaluate(recipe, options)?
    } else {
        evaluate::here(recipe, options)?.evaluated
    };
    if let Some(root) = &options.secrets {
        let uses = std::mem::take(&mut evaluated.secrets);
        secret::fill(&mut evaluated.specs, uses, root)?;
    }
    Ok(evaluated)
}
