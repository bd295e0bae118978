//! Arguments that several verbs take.

use std::ffi::{OsStr, OsString};

use clap::builder::TypedValueParser as _;
use clap_complete::engine::CompletionCandidate;

use super::output::color::When;

/// `--color WHEN`, which every verb takes.
pub(crate) fn color() -> clap::Arg {
    clap::Arg::new("color")
        .long("color")
        .value_name("WHEN")
        .help("Colour the output: auto (on a terminal, without NO_COLOR), always or never")
        .value_parser(clap::builder::PossibleValuesParser::new(When::NAMES).map(|name| When::known(&name)))
        .hide_possible_values(true)
        .display_order(1000)
}

/// What `--color` was given.
pub(crate) fn color_of(matches: &clap::ArgMatches) -> Option<When> {
    matches.get_one::<When>("color").copied()
}

/// What `--color` seems to be given in arguments that did not parse.
pub(crate) fn color_typed(args: &[&OsStr]) -> Option<When> {
    let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let value = match word.strip_prefix("--color=") {
            Some(value) => value,
            None if word == "--color" => words.get(at + 1)?,
            None => return None,
        };
        When::parse(value).ok()
    })
}

/// The command that a verb runs. It stands after `--`, so that its options are its own.
#[derive(Debug, clap::Args)]
pub(crate) struct CommandLine {
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) argv: Vec<OsString>,
}

/// Completes names of guests: the directories that the state directory holds.
pub(crate) fn guests() -> clap_complete::ArgValueCandidates {
    clap_complete::ArgValueCandidates::new(|| {
        let root = std::env::var_os("HOSTEL_ROOT").unwrap_or_else(|| "/var/lib/hostel".into());
        let Ok(entries) = std::fs::read_dir(std::path::Path::new(&root).join("guests")) else {
            return Vec::new();
        };
        let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.retain(|name| {
            name.to_str()
                .is_some_and(|name| name.parse::<crate::guest::GuestName>().is_ok())
        });
        names.sort();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}
