//! What the argument parser objects to, in the words and the shape of every other error.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::guest::Invalid;
use crate::{Error, Kind};

/// `err` as ours. `usage` is the verb's usage line, the hint where there is no better one.
pub(crate) fn error(err: &clap::Error, usage: &str) -> Error {
    let arg = || quoted(err, ContextKind::InvalidArg);
    let value = || quoted(err, ContextKind::InvalidValue);
    let message = match err.kind() {
        ErrorKind::UnknownArgument => format!("unexpected argument {}", arg()),
        ErrorKind::MissingRequiredArgument => format!("missing {}", arg()),
        ErrorKind::InvalidSubcommand => {
            format!("{} is not a command", quoted(err, ContextKind::InvalidSubcommand))
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "missing a command".to_owned()
        }
        ErrorKind::InvalidValue if is_empty(err) => format!("{} has no value", arg()),
        ErrorKind::InvalidValue => format!("{} is not a value of {}", value(), arg()),
        ErrorKind::ArgumentConflict => {
            let other = quoted(err, ContextKind::PriorArg);
            if other == arg() {
                format!("{} is given more than once", arg())
            } else {
                format!("{} cannot be used with {other}", arg())
            }
        }
        ErrorKind::ValueValidation => match invalid(err) {
            Some(invalid) => invalid.message.clone(),
            None => format!("{} is not a value of {}{}", value(), arg(), source(err)),
        },
        _ => first_line(err),
    };
    let made = Error::new(Kind::Usage, message);
    match hint(err) {
        Some(hint) => made.with_hint(hint),
        None if usage.is_empty() => made,
        None => made.with_hint(usage.trim().replacen("Usage: ", "usage: ", 1)),
    }
}

fn hint(err: &clap::Error) -> Option<String> {
    if let Some(invalid) = invalid(err) {
        return invalid.hint.clone();
    }
    for kind in [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
        ContextKind::SuggestedSubcommand,
    ] {
        if err.get(kind).is_some() {
            return Some(format!("did you mean {}?", quoted(err, kind)));
        }
    }
    if err.kind() == ErrorKind::InvalidValue && err.get(ContextKind::ValidValue).is_some() {
        return Some(format!("one of {}", quoted(err, ContextKind::ValidValue)));
    }
    None
}

fn invalid(err: &clap::Error) -> Option<&Invalid> {
    std::error::Error::source(err)?.downcast_ref()
}

fn source(err: &clap::Error) -> String {
    std::error::Error::source(err).map_or_else(String::new, |source| format!(": {source}"))
}

fn is_empty(err: &clap::Error) -> bool {
    matches!(err.get(ContextKind::InvalidValue), Some(ContextValue::String(value)) if value.is_empty())
}

/// The context's words in backticks, as every user string stands in ours.
fn quoted(err: &clap::Error, kind: ContextKind) -> String {
    let quote = |text: &str| format!("`{}`", text.escape_debug());
    match err.get(kind) {
        Some(ContextValue::String(text)) => quote(text),
        Some(ContextValue::Strings(texts)) => {
            let all: Vec<String> = texts.iter().map(|text| quote(text)).collect();
            all.join(", ")
        }
        Some(other) => quote(&other.to_string()),
        None => "an argument".to_owned(),
    }
}

fn first_line(err: &clap::Error) -> String {
    let text = err.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).replace('\'', "`")
}
