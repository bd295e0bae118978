//! How things look: colours, tables, quantities, errors, progress.

pub(crate) mod color;
pub(crate) mod error;
pub(crate) mod human;
#[allow(dead_code, reason = "the verbs on recipes show progress")]
pub(crate) mod progress;
pub(crate) mod table;
