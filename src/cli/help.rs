//! Help: of the program, of a verb, of a topic.

use std::ffi::OsStr;
use std::fmt::Write as _;

use clap::builder::StyledStr;

use super::output::color::Paint;
use super::session::Session;
use super::verb::{Entry, Example, Group, VERBS};
use crate::Result;

/// What hostel is, in a line.
pub(crate) const ABOUT: &str = "Complete Linux servers on one stock kernel, written in Lua";

/// The examples of a verb as the last part of its help.
pub(crate) fn examples(examples: &[Example]) -> StyledStr {
    let mut text = String::from("\x1b[1m\x1b[4mExamples:\x1b[0m\n");
    for (line, what) in examples {
        let _ = write!(text, "  {line}\n      {what}\n");
    }
    text.truncate(text.trim_end().len());
    StyledStr::from(text)
}

/// Prints the help of a verb: `-h` in short, `--help` in full. Words before it name a command of the verb's own.
pub(crate) fn print_verb(session: &mut Session, verb: &Entry, typed: &[&OsStr], is_long: bool) -> Result<()> {
    let mut command = verb.documented();
    let words = typed.iter().filter_map(|word| word.to_str());
    for word in words.take_while(|word| !word.starts_with('-')) {
        let Some(inner) = command.find_subcommand(word) else {
            break;
        };
        command = inner.clone().bin_name(format!("hostel {} {word}", verb.name));
    }
    let text = if is_long {
        full(&mut command)
    } else {
        command.render_help()
    };
    let text = if session.paint.is_on() {
        text.ansi().to_string()
    } else {
        text.to_string()
    };
    session.line(text.trim_end())
}

/// All that there is to say about a verb; one line an argument where one line says it all.
pub(crate) fn full(command: &mut clap::Command) -> StyledStr {
    let has_more = command.get_long_about().is_some()
        || command.get_arguments().any(|arg| arg.get_long_help().is_some());
    if has_more {
        command.render_long_help()
    } else {
        command.render_help()
    }
}

/// The list of verbs and topics.
pub(crate) fn overview(paint: Paint) -> String {
    let mut text = format!(
        "{ABOUT}.\n\n{} hostel [--color WHEN] COMMAND [ARGUMENTS]\n",
        paint.bold("Usage:")
    );
    for group in Group::ALL {
        let mut verbs = VERBS.iter().filter(|verb| verb.group == group).peekable();
        if verbs.peek().is_none() {
            continue;
        }
        let _ = write!(text, "\n{}\n", paint.bold(&format!("{}:", group.title())));
        for verb in verbs {
            let about = verb.parser().get_about().map(ToString::to_string);
            let name = paint.cyan(&format!("{:<11}", verb.name));
            let _ = writeln!(text, "  {name} {}", about.unwrap_or_default());
        }
    }
    let _ = write!(text, "\n{}\n", paint.bold("Topics:"));
    for topic in TOPICS {
        let name = paint.cyan(&format!("{:<11}", topic.name));
        let _ = writeln!(text, "  {name} {}", topic.about);
    }
    text.push_str("\n`hostel COMMAND --help` and `hostel help TOPIC` tell more.\n");
    text
}

/// All verbs as one parser, for completion and the man page of the program.
pub(crate) fn tree() -> clap::Command {
    clap::Command::new("hostel")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .subcommands(VERBS.iter().map(Entry::parser))
}

/// Something that several verbs share.
pub(crate) struct Topic {
    /// What is typed after `hostel help`.
    pub(crate) name: &'static str,
    /// What it is about.
    pub(crate) about: &'static str,
    /// All there is to say.
    pub(crate) text: &'static str,
}

/// Every topic.
pub(crate) static TOPICS: &[Topic] = &[
    Topic {
        name: "environment",
        about: "Environment variables",
        text: include_str!("topics/environment.txt"),
    },
    Topic {
        name: "exit",
        about: "Exit codes",
        text: include_str!("topics/exit.txt"),
    },
    Topic {
        name: "limits",
        about: "Limits and units, as `KEY=VALUE`",
        text: include_str!("topics/limits.txt"),
    },
];
