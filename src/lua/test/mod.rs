//! `hostel test`: tests of recipes and scripts, written in Lua with `require "hostel.test"`.
//!
//! ```text
//! paths ──discover──▶ *_test.lua ──child──▶ one process a file ──file──▶ groups and cases ──▶ events over a pipe
//! ```
//!
//! A case looks at what hostel itself would do: recipes are evaluated as always, plans come from [`crate::plan::diff()`],
//! and a fake host refuses by the code that refuses on a real one. Nothing of a host is touched, and nobody needs root.

mod child;
mod coverage;
mod discover;
mod file;
mod golden;
mod guest;
mod hook;
mod host;
mod lines;
mod recipe;
mod rehearsal;
mod tree;
mod volume;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use coverage::{Coverage, FileCoverage};
pub use discover::discover;
#[cfg(test)]
pub(super) use {
    hook::{SpyGuest, SpyHandle},
    host::FakeHost,
};

use super::Diagnostics;
use crate::Result;

/// How tests are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only cases whose full name contains this.
    pub filter: Option<String>,
    /// Golden files are written, not compared.
    pub bless: bool,
    /// Which lines run is counted.
    pub coverage: bool,
    /// How long one file may take.
    pub timeout: Duration,
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything that it expects holds.
    Passed,
    /// Something does not.
    Failed,
    /// It was not run, or gave up by itself.
    Skipped,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its name, below those of the groups around it.
    pub name: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub millis: u64,
    /// What did not hold.
    pub diagnostics: Diagnostics,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl Case {
    /// Its whole name.
    pub fn title(&self) -> String {
        title(&self.name)
    }
}

/// `fleet > gives every guest an address`.
fn title(name: &[String]) -> String {
    name.join(" > ")
}

/// What one file came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// The file, as it was found.
    pub file: PathBuf,
    /// Its tests, in the order in which they are written.
    pub cases: Vec<Case>,
    /// What is wrong with the file as a whole: it could not be run to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Diagnostics>,
    /// What was printed outside of tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// How many tests `t.only` left out.
    pub left_out: usize,
    /// Golden files that were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blessed: Vec<PathBuf>,
    /// How long all of it took.
    pub millis: u64,
    #[serde(skip)]
    hits: coverage::Hits,
}

impl FileReport {
    /// How many tests ended like this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.cases.iter().filter(|case| case.outcome == outcome).count()
    }

    /// Whether something in it is wrong.
    pub fn is_failed(&self) -> bool {
        self.broken.is_some() || self.count(Outcome::Failed) > 0
    }
}

/// What the process of a file tells.
#[derive(Debug, Serialize, Deserialize)]
enum Event {
    /// A case begins.
    Began(Vec<String>),
    /// A case has ended.
    Ended(Case),
    /// The file as a whole is wrong.
    Broken(Diagnostics),
    /// The end, after everything ran.
    Done(Box<Done>),
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    output: Vec<String>,
    left_out: usize,
    blessed: Vec<PathBuf>,
    hits: BTreeMap<String, BTreeMap<usize, u64>>,
}

/// Runs one file. `seen` is told each case as it ends.
///
/// # Errors
/// [`crate::Kind::Interrupted`] when a signal asked for the end; what the file started is gone then.
pub fn run(file: &Path, options: &Options, seen: &mut dyn FnMut(&Case)) -> Result<FileReport> {
    child::run(file, options, seen)
}
