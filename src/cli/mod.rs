//! The command line: arguments in, requests to the library, output and exit codes out. No logic of guests.
//!
//! `argv[1]` picks the verb and only that verb's parser is built: a start of `hostel context` costs what that one
//! verb costs, however many there are. What was typed is the verb's own struct (`cmd/<verb>.rs`, whose doc
//! comments are the help); what is meant are the types of [`guest`](crate::guest) and of the verbs.

#[allow(dead_code, reason = "the verbs on guests use the rest")]
mod args;
mod cmd;
mod dispatch;
mod docs;
#[allow(dead_code, reason = "the verbs on guests use the rest")]
mod exit;
mod help;
#[allow(dead_code, reason = "the verbs on guests use the rest")]
mod output;
mod session;
mod usage;
mod verb;

use std::process::ExitCode;

/// Runs the program on its own arguments.
pub fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).collect();
    ExitCode::from(dispatch::run(args))
}
