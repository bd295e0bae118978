//! How things look: colours, tables, quantities, errors, progress.

pub(crate) mod color;
pub(crate) mod error;
pub(crate) mod human;
pub(crate) mod pager;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod testing;
pub(crate) mod watch;
