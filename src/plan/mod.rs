//! Plans: what is to be done, in order, as data. Pure: nothing here touches the host.
//!
//! [`launch()`] turns a [`Context`](crate::guest::Context) into the ordered steps of one start; [`mod@diff`] turns
//! recipes and what is on the host into the actions of one `apply`. `--plan`, the errors, the tests and the
//! kernel side all speak of these same values.

pub mod diff;
pub mod launch;
pub mod step;

pub use diff::{Action, Change, Effect, Fact, Facts, Options, Plan, Verb, diff, left_behind};
pub use launch::{is_in_place, launch};
pub use step::{Phase, Program, Step};
