//! From the arguments to the verb, and from its result to the exit code.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;

use clap::error::ErrorKind;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use super::exit::{Exit, Failure, cause};
use super::output::color::When;
use super::session::{Session, is_broken_pipe};
use super::verb::{Entry, VERBS};
use super::{args, help, usage};
use crate::guest::caps::nearest;
use crate::{Error, Kind, Result, sys};

/// 128 + SIGPIPE: what a shell reports of every program whose reader is gone.
const BROKEN_PIPE: u8 = 141;

/// Runs the program on what follows its name.
pub(crate) fn run(mut args: Vec<OsString>) -> u8 {
    if std::env::var_os("COMPLETE").is_some() {
        clap_complete::CompleteEnv::with_factory(help::tree)
            .bin("hostel")
            .complete();
    }
    start_log();
    let (when, verb) = match leading(&mut args) {
        Ok(Leading::Verb(when, verb)) => (when, verb),
        Ok(Leading::Instead(when, verb)) => {
            args.clear();
            (when, verb)
        }
        Err(err) => return fail(&mut Session::new(When::Auto, false), Failure::Plain, &err),
    };
    let matches = match verb.parse(&args) {
        Ok(matches) => matches,
        Err(err) => return not_parsed(when, verb, &args, &err),
    };
    let when = args::color_of(&matches).unwrap_or(when);
    let is_json = matches!(matches.try_get_one::<bool>("json"), Ok(Some(true)));
    let mut session = Session::new(when, is_json);
    tracing::debug!("hostel {} {}", env!("CARGO_PKG_VERSION"), verb.name);
    let result = sys::interrupt::watch()
        .and_then(|()| verb.run(&matches, &mut session))
        .map(|exit| match (exit, sys::interrupt::pending()) {
            // An evaluation that was interrupted has been told of already.
            (Exit::No, Some(signal)) => Exit::of_signal(signal),
            _ => exit,
        })
        .map_err(cause)
        .and_then(|exit| session.flush().map(|()| exit));
    end(&mut session, verb.failure, result)
}

/// What stands before the verb.
enum Leading {
    /// The verb; its name and all before it are taken from the arguments.
    Verb(When, &'static Entry),
    /// `--help` or `--version`: a verb without arguments.
    Instead(When, &'static Entry),
}

fn leading(args: &mut Vec<OsString>) -> Result<Leading> {
    let mut when = When::Auto;
    let mut rest = std::mem::take(args).into_iter();
    let instead = |when, name| Entry::find(name).map(|verb| Leading::Instead(when, verb));
    while let Some(first) = rest.next() {
        let word = first.to_string_lossy();
        let found = match word.as_ref() {
            "-h" | "--help" => instead(when, "help"),
            "-V" | "--version" => instead(when, "version"),
            "--color" => {
                let value = rest.next().ok_or_else(|| {
                    Error::new(Kind::Usage, "`--color` has no value").with_hint("`auto`, `always` or `never`")
                })?;
                when = When::parse(&value.to_string_lossy())?;
                None
            }
            _ if word.starts_with("--color=") => {
                when = When::parse(&word["--color=".len()..])?;
                None
            }
            _ if word.starts_with('-') => {
                return Err(Error::new(
                    Kind::Usage,
                    format!("unexpected argument `{}`", word.escape_debug()),
                )
                .with_hint("options of a command stand after it; see `hostel --help`"));
            }
            name => Some(Leading::Verb(when, verb(name)?)),
        };
        if let Some(found) = found {
            args.extend(rest);
            return Ok(found);
        }
    }
    Err(Error::new(Kind::Usage, "no command given").with_hint("see `hostel --help`"))
}

fn verb(name: &str) -> Result<&'static Entry> {
    Entry::find(name).ok_or_else(|| {
        let hint = match nearest(name, VERBS.iter().map(|verb| verb.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "see `hostel --help`".to_owned(),
        };
        Error::new(
            Kind::Usage,
            format!("`{}` is not a hostel command", name.escape_debug()),
        )
        .with_hint(hint)
    })
}

/// `--help`, or wrong arguments.
fn not_parsed(when: When, verb: &Entry, args: &[OsString], err: &clap::Error) -> u8 {
    let own: Vec<&OsStr> = args
        .iter()
        .map(OsString::as_os_str)
        .take_while(|arg| *arg != "--")
        .collect();
    // The parser gave up before it could say; a wish for JSON is honoured all the same.
    let is_json = own.contains(&OsStr::new("--json"));
    let mut session = Session::new(args::color_typed(&own).unwrap_or(when), is_json);
    if err.kind() == ErrorKind::DisplayHelp {
        let is_long = own.contains(&OsStr::new("--help"));
        let result = help::print_verb(&mut session, verb, &own, is_long)
            .and_then(|()| session.flush())
            .map(|()| Exit::Success);
        return end(&mut session, verb.failure, result);
    }
    let usage = verb.parser().render_usage().to_string();
    fail(&mut session, verb.failure, &usage::error(err, &usage))
}

fn end(session: &mut Session, failure: Failure, result: Result<Exit>) -> u8 {
    match result {
        Ok(exit) => exit.code(),
        Err(err) if is_broken_pipe(&err) => BROKEN_PIPE,
        Err(err) => fail(session, failure, &err),
    }
}

fn fail(session: &mut Session, failure: Failure, err: &Error) -> u8 {
    session.report(err);
    failure.code(err, session.command.as_deref())
}

/// Logs to standard error what `HOSTEL_LOG` asks for, in the notation of `tracing_subscriber::filter::Targets`. (Its
/// `EnvFilter` knows spans too, of which hostel has none, and brings regular expressions with the tables of Unicode:
/// 30 pages that each start of a guest would relocate.)
fn start_log() {
    let Some(wanted) = std::env::var_os("HOSTEL_LOG").filter(|value| !value.is_empty()) else {
        return;
    };
    match wanted.to_string_lossy().parse::<Targets>() {
        Ok(targets) => tracing_subscriber::registry()
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_filter(targets),
            )
            .init(),
        Err(err) => {
            let _ = writeln!(
                std::io::stderr(),
                "warning: nothing is logged, because HOSTEL_LOG is not understood: {err}\n\
                 hint: a level (`error`, `warn`, `info`, `debug`, `trace`), or `hostel::life=trace,hostel::sys=debug`"
            );
        }
    }
}
