//! The command line: arguments in, requests to the library, output and exit codes out. No logic of guests.
//!
//! `argv[1]` picks the verb and only that verb's parser is built: a start of `hostel context` costs what that one
//! verb costs, however many there are. What was typed is the verb's own struct (`cmd/<verb>.rs`, whose doc
//! comments are the help); what is meant are the types of [`guest`](crate::guest) and of the verbs.

mod args;
mod cmd;
mod dispatch;
mod docs;
mod exit;
mod help;
mod hooks;
mod output;
mod primitive;
mod recipe;
mod session;
mod usage;
mod verb;

/// Runs the program on its own arguments; its exit code.
pub fn main() -> u8 {
    // First of all: with one of them closed, the next file to be opened would be what messages are written into.
    crate::sys::open::fill_standard_streams();
    crate::sys::heap::populate();
    dispatch::run(std::env::args_os().skip(1).collect())
}
