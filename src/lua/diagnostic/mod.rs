//! Mistakes as data: what, where, and what would be right. Printed by [`Diagnostics`]' `Display`, kept as JSON by
//! serde.

mod codes;
mod place;
mod render;
mod tokens;

pub use codes::Code;
pub(crate) use place::Finder;
pub(crate) use tokens::Scan;

use serde::{Deserialize, Serialize};

/// A place in a source file, with the line it is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file, as it was named on the command line or relative to the recipe.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
    /// The source line.
    pub text: String,
}

/// A word on a line of a text that is looked at once.
pub(crate) fn find_word(file: &str, source: &str, line: usize, word: &str) -> Option<Place> {
    Finder::new(file, source, &Scan::of(source)).word(line, word)
}

/// Every search for a place, over any text: for the fuzzer, which checks that what is found is there.
#[doc(hidden)]
pub fn every_search(source: &str, line: usize, name: &str, path: &[String]) -> Vec<Place> {
    use crate::lua::read::At;
    let scan = Scan::of(source);
    let find = Finder::new("web.lua", source, &scan);
    let word = path.last().map_or("", String::as_str);
    [
        find.call(line, name),
        find.word(line, word),
        find.unbalanced(line, word),
        find.key(line, name, path, At::Key),
        find.key(line, name, path, At::Value),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The stable code.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// More to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Other places, each with what is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    pub(crate) fn new(code: Code, message: impl Into<String>, place: Option<Place>) -> Self {
        Self {
            code,
            message: message.into(),
            place,
            help: None,
            notes: Vec::new(),
            related: Vec::new(),
        }
    }

    pub(crate) fn with_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

/// All mistakes of one run, in the order of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn one(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }

    /// As text, with colours where the terminal has them.
    pub fn render(&self, colour: bool) -> String {
        render::render(&self.0, colour)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostics> for crate::Error {
    fn from(diagnostics: Diagnostics) -> Self {
        let message = match diagnostics.0.as_slice() {
            [one] => one.message.clone(),
            many => format!("{} mistakes in the recipe", many.len()),
        };
        crate::Error::new(crate::Kind::Invalid, message)
    }
}
