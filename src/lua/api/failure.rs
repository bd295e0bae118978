//! What a script sees of a failure: `err.kind`, `err.message`, `err.hint`.

use std::cell::Cell;

use mlua::{Lua, MetaMethod, UserData, UserDataFields, UserDataMethods, Value};
use nix::sys::signal::Signal;

use crate::error::{Error, Kind, Result};
use crate::lua::diagnostic::Code;
use crate::lua::read::described;
use crate::lua::state::Raised;
use crate::lua::vm::caller;
use crate::sys::interrupt;

/// A failure as a value.
#[derive(Debug, Clone)]
pub(in crate::lua) struct Failure {
    kind: Kind,
    pub(in crate::lua) message: String,
    pub(in crate::lua) hint: Option<String>,
    pub(in crate::lua) at: Option<(String, usize)>,
}

impl Failure {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// A failure that a test makes up.
    pub(in crate::lua) fn new(lua: &Lua, kind: Kind, message: String) -> Self {
        Self::of(lua, &Error::new(kind, message))
    }

    fn of(lua: &Lua, err: &Error) -> Self {
        Self {
            kind: err.kind(),
            message: err.to_string(),
            hint: err.hint().map(str::to_owned),
            at: Some(caller(lua)).filter(|(file, _)| !file.is_empty()),
        }
    }
}

impl UserData for Failure {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("kind", |_, this| Ok(this.kind.as_str()));
        fields.add_field_method_get("message", |_, this| Ok(this.message.clone()));
        fields.add_field_method_get("hint", |_, this| Ok(this.hint.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(match &this.at {
                Some((file, line)) => format!("{file}:{line}: {}", this.message),
                None => this.message.clone(),
            })
        });
    }
}

/// The signal that ended the script, once one has.
#[derive(Debug, Default)]
pub(in crate::lua) struct Signalled(pub(in crate::lua) Cell<Option<Signal>>);

/// A mistake of the script's, raised at its line.
pub(super) fn mistake(word: &str, message: impl std::fmt::Display) -> mlua::Error {
    Raised::new(Code::Runtime, format!("{word}: {message}"))
        .word(word)
        .kind(Kind::Usage)
        .into()
}

/// A failure, raised at the script's line.
pub(super) fn raise(lua: &Lua, word: &str, err: &Error) -> mlua::Error {
    if err.kind() == Kind::Interrupted || interrupt::is_expired() {
        return interrupted(lua, interrupt::pending().unwrap_or(Signal::SIGINT));
    }
    let mut raised = Raised::new(Code::Runtime, format!("{word}: {err}"))
        .word(word)
        .kind(err.kind());
    raised.help = err.hint().map(str::to_owned);
    raised.at = Some(caller(lua)).filter(|(file, _)| !file.is_empty());
    raised.into()
}

/// The end of the script by a signal. It is taken: what the script does while it unwinds is not interrupted by it
/// again.
pub(in crate::lua) fn interrupted(lua: &Lua, signal: Signal) -> mlua::Error {
    if signal == Signal::SIGALRM {
        let mut raised = Raised::new(Code::Deadline, "the deadline is over").kind(Kind::Timeout);
        raised.at = Some(caller(lua)).filter(|(file, _)| !file.is_empty());
        return raised.into();
    }
    interrupt::forget();
    if let Some(signalled) = lua.app_data_ref::<Signalled>() {
        signalled.0.set(Some(signal));
    }
    Raised::new(Code::Interrupted, format!("interrupted by {}", signal.as_str()))
        .kind(Kind::Interrupted)
        .into()
}

/// Raises when a signal has come.
pub(super) fn check(lua: &Lua) -> mlua::Result<()> {
    interrupt::check().map_err(|err| raise(lua, "interrupted", &err))
}

/// What a call gives that can expect that something is not there: the value, or `nil` and why.
pub(super) type Outcome<T> = mlua::Result<(Option<T>, Option<Failure>)>;

/// A result as such a call gives it.
pub(super) fn or_absent<T>(lua: &Lua, word: &str, result: Result<T>) -> Outcome<T> {
    match result {
        Ok(value) => Ok((Some(value), None)),
        Err(err) if matches!(err.kind(), Kind::NotFound | Kind::State) => {
            Ok((None, Some(Failure::of(lua, &err))))
        }
        Err(err) => Err(raise(lua, word, &err)),
    }
}

/// A result where every failure is one that can be expected: data from elsewhere, a file, another machine. What ends
/// the script, a signal or a deadline, is raised.
pub(super) fn or_failure<T>(lua: &Lua, result: Result<T>) -> Outcome<T> {
    match result {
        Ok(value) => Ok((Some(value), None)),
        Err(err) if err.kind() == Kind::Interrupted || interrupt::is_expired() => {
            Err(raise(lua, "interrupted", &err))
        }
        Err(err) => Ok((None, Some(Failure::of(lua, &err)))),
    }
}

/// What `pcall` gives for an error: a [`Failure`] for hostel's, a text for Lua's, anything else as it was raised.
/// The end by a signal cannot be caught.
pub(in crate::lua) fn caught(lua: &Lua, problem: Value) -> mlua::Result<Value> {
    let Value::Error(error) = &problem else {
        return Ok(problem);
    };
    let mut at = error.as_ref();
    while let mlua::Error::CallbackError { cause, .. }
    | mlua::Error::BadArgument { cause, .. }
    | mlua::Error::WithContext { cause, .. } = at
    {
        at = cause;
    }
    let Some(raised) = at.downcast_ref::<Raised>() else {
        let text = match at {
            mlua::Error::RuntimeError(message) => message.clone(),
            other => other.to_string(),
        };
        return lua.create_string(&text).map(Value::String);
    };
    // A deadline holds until the workflow has taken note of it, which sets the next.
    if raised.kind == Some(Kind::Interrupted) || (raised.code == Code::Deadline && interrupt::is_expired()) {
        return Err(raised.clone().into());
    }
    let failure = Failure {
        kind: raised.kind.unwrap_or(Kind::Usage),
        message: raised.message.clone(),
        hint: raised.help.clone(),
        at: raised.at.clone(),
    };
    lua.create_userdata(failure).map(Value::UserData)
}

/// A text from a value that stands where a text is needed.
pub(super) fn text(word: &str, what: &str, value: &Value) -> mlua::Result<String> {
    match value {
        Value::String(text) => Ok(text.to_string_lossy()),
        other => Err(mistake(
            word,
            format!("{what} is a text, not {}", described(other)),
        )),
    }
}
