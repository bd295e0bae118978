//! A command as a script writes it, `{ "/bin/sh", "-c", "id", timeout = "10s" }`, and how it ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use mlua::{AnyUserData, Lua, Table, Value};
use nix::sys::signal::Signal;
use serde::Deserialize;

use super::deadline::bound;
use super::failure::{check, interrupted, mistake, raise};
use super::streams::{Captured, Streams};
use super::take::options;
use crate::guest::Span;
use crate::guest::schema::Record;
use crate::life::exec::{self, ExecRequest, Terminal, Whom};
use crate::life::{Host, Outcome};
use crate::lua::order;
use crate::lua::read::described;
use crate::sys::pidfd::Ended;

/// A command and how it is run.
pub(super) struct Run {
    pub(super) argv: Vec<String>,
    pub(super) timeout: Option<Span>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) dir: Option<PathBuf>,
    pub(super) is_captured: bool,
    user: Option<String>,
}

#[derive(Deserialize)]
struct Options {
    timeout: Option<Span>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    dir: Option<PathBuf>,
    #[serde(default)]
    capture: bool,
    user: Option<String>,
}

impl Run {
    pub(super) fn take(lua: &Lua, word: &str, value: &Value, record: &'static Record) -> mlua::Result<Self> {
        let Value::Table(table) = value else {
            let message = format!(
                "takes a table such as {{ \"id\", \"-u\" }}, not {}",
                described(value)
            );
            return Err(mistake(word, message));
        };
        let argv = argv(word, table)?;
        let options: Options = options(word, &named(lua, table)?, record)?;
        Ok(Self {
            argv,
            timeout: options.timeout,
            env: options.env,
            dir: options.dir,
            is_captured: options.capture,
            user: options.user,
        })
    }
}

/// The list part of a table, as texts.
pub(super) fn argv(word: &str, table: &Table) -> mlua::Result<Vec<String>> {
    let mut argv = Vec::new();
    let items = order::list(table)?
        .map_err(|hole| mistake(word, format!("argument {hole} is nil, and others follow it")))?;
    for (index, item) in (1..).zip(items) {
        match item {
            Value::String(text) if !text.as_bytes().contains(&0) => argv.push(text.to_string_lossy()),
            Value::Integer(number) => argv.push(number.to_string()),
            Value::Number(number) => argv.push(number.to_string()),
            other => {
                let what = match &other {
                    Value::String(_) => "a text with a NUL".to_owned(),
                    other => described(other),
                };
                return Err(mistake(word, format!("argument {index} is a text, not {what}")));
            }
        }
    }
    for pair in table.pairs::<Value, Value>() {
        if let (Value::Integer(index @ ..=0), _) = pair? {
            return Err(mistake(
                word,
                format!("there is no argument {index}: the first one is 1"),
            ));
        }
    }
    if argv.is_empty() {
        return Err(mistake(word, "no command was given"));
    }
    Ok(argv)
}

/// The rest of it: the options.
fn named(lua: &Lua, table: &Table) -> mlua::Result<Table> {
    let named = lua.create_table()?;
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        if !key.is_integer() {
            named.raw_set(key, value)?;
        }
    }
    Ok(named)
}

/// Runs a command in what runs already. The outer result is what cannot be expected, the inner one what the kernel says.
pub(super) fn exec(lua: &Lua, word: &str, whom: &Whom, run: Run) -> mlua::Result<crate::Result<Table>> {
    flush(lua);
    let user = match run.user.as_deref().map(str::parse) {
        None => None,
        Some(Ok(user)) => Some(user),
        Some(Err(invalid)) => {
            let invalid: crate::guest::Invalid = invalid;
            return Err(mistake(word, invalid.message));
        }
    };
    let request = ExecRequest {
        argv: run.argv.into_iter().map(OsString::from).collect(),
        env: run
            .env
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect(),
        user,
        dir: run.dir,
        terminal: Terminal::No,
    };
    let streams = if run.is_captured {
        Streams::captured()
    } else {
        Streams::of_caller()
    };
    let streams = streams.map_err(|err| raise(lua, word, &err))?;
    let outcome = Host::open()
        .and_then(|host| exec::exec_with(&host, whom, &request, streams.fds, bound(lua, run.timeout)));
    let output = streams.copier.finish().map_err(|err| raise(lua, word, &err))?;
    match outcome {
        Ok(outcome) => result(lua, &outcome, run.is_captured.then_some(output)).map(Ok),
        Err(err) => Ok(Err(err)),
    }
}

/// How a command ended. A signal that hostel was sent meanwhile ends the script too.
pub(super) fn result(lua: &Lua, outcome: &Outcome, output: Option<Captured>) -> mlua::Result<Table> {
    if let Some(signal) = outcome.signal {
        return Err(interrupted(
            lua,
            Signal::try_from(signal).unwrap_or(Signal::SIGINT),
        ));
    }
    if outcome.is_timed_out {
        // A step's deadline that ended the command ends the step.
        check(lua)?;
    }
    let result = lua.create_table()?;
    match outcome.ended {
        Ended::Code(code) => result.set("code", code)?,
        Ended::Signal(signal) => result.set("signal", signal)?,
    }
    result.set("timed_out", outcome.is_timed_out)?;
    let peak = outcome.memory_peak.and_then(|bytes| i64::try_from(bytes.0).ok());
    result.set("memory_peak", peak)?;
    if let Some(output) = output {
        result.set("stdout", lua.create_string(output.stdout)?)?;
        result.set("stderr", lua.create_string(output.stderr)?)?;
    }
    Ok(result)
}

/// Writes what Lua has buffered, so that it stands before what the command writes.
pub(super) fn flush(lua: &Lua) {
    let flush = || -> mlua::Result<()> {
        let io: Table = lua.globals().get("io")?;
        let stdout: AnyUserData = io.get("stdout")?;
        mlua::ObjectLike::call_method(&stdout, "flush", ())
    };
    // A script that has put something else in its place writes as it likes.
    let _ = flush();
}
