//! `hostel.context { ... }` and its methods: what a command is confined to. Nothing happens before `run`; `plan`
//! shows the steps and needs no root. `hostel.bind { ... }`, `hostel.chroot(dir)`, `hostel.caps { ... }` and
//! `hostel.limit { ... }` begin a context with that one confinement.

use std::path::PathBuf;

use mlua::{AnyUserData, Lua, MetaMethod, Table, UserData, UserDataMethods, Value};

use super::take::take;
use crate::guest::schema::{self, Record, Type};
use crate::guest::{CapSet, Caps, Context, Identity, Isolate, Span, Xid};
use crate::life::{self, Host};
use crate::lua::diagnostic::Code;
use crate::lua::read::described;
use crate::lua::state::Raised;
use crate::sys::pidfd::Ended;

/// A context that is being described.
struct Described(Context);

fn of(field: &str, record: &'static Record) -> mlua::Result<&'static Type> {
    record
        .field(field)
        .map(|f| &f.kind)
        .ok_or_else(|| raise(field, "is not in the schema"))
}

fn raise(word: &str, message: impl std::fmt::Display) -> mlua::Error {
    Raised::new(Code::Runtime, format!("{word}: {message}"))
        .word(word)
        .into()
}

fn error(word: &str, err: &crate::Error) -> mlua::Error {
    let mut raised = Raised::new(Code::Runtime, format!("{word}: {err}")).word(word);
    raised.help = err.hint().map(str::to_owned);
    raised.into()
}

/// Adds the functions that begin a context.
pub(super) fn register(lua: &Lua, module: &Table) -> mlua::Result<()> {
    module.set(
        "context",
        lua.create_function(|_, options: Table| context(&options))?,
    )?;
    for name in ["bind", "chroot", "caps", "limit"] {
        let begin = lua.create_function(move |_, value: Value| {
            let mut described = Described(Context {
                open_network: true,
                ..Context::default()
            });
            confine(&mut described.0, name, &value)?;
            Ok(described)
        })?;
        module.set(name, begin)?;
    }
    Ok(())
}

/// `hostel.context { xid = 900, hostname = "bar", isolate = { "pid", "mount" } }`.
fn context(options: &Table) -> mlua::Result<Described> {
    let mut context = Context {
        open_network: true,
        ..Context::default()
    };
    for pair in options.pairs::<String, Value>() {
        let (key, value) = pair?;
        match key.as_str() {
            "xid" if value.as_integer() == Some(1) => context.identity = Identity::Spectator,
            "xid" => {
                context.identity = Identity::Xid(take::<Xid>("context", &value, of("xid", &schema::GUEST)?)?);
            }
            "hostname" => {
                context.hostname = Some(take("context", &value, of("hostname", &schema::GUEST)?)?);
                context.isolate.uts = true;
            }
            "isolate" => {
                let words: Vec<String> = match &value {
                    Value::Table(list) => list.sequence_values().collect::<mlua::Result<_>>()?,
                    other => {
                        return Err(raise(
                            "context",
                            format!("`isolate` is a list, not {}", described(other)),
                        ));
                    }
                };
                let mut isolate = Isolate {
                    uts: context.isolate.uts,
                    ..Isolate::NONE
                };
                for word in words {
                    isolate
                        .add(&word)
                        .map_err(|invalid| raise("context", invalid.message))?;
                }
                context.isolate = isolate;
            }
            other => {
                let known = ["xid", "hostname", "isolate"];
                let mut raised = Raised::new(Code::UnknownField, format!("context: unknown field `{other}`"));
                raised.help =
                    crate::guest::caps::nearest(other, known).map(|n| format!("did you mean `{n}`?"));
                return Err(raised.word(other).into());
            }
        }
    }
    Ok(Described(context))
}

static MOUNT: Type = Type::Record(&schema::MOUNT);

/// Adds one confinement.
fn confine(context: &mut Context, word: &str, value: &Value) -> mlua::Result<()> {
    match word {
        "bind" => {
            context.bind = take(word, value, of("address", &schema::NET)?)?;
            context.open_network = false;
        }
        "chroot" => {
            context.root = Some(take::<PathBuf>(word, value, of("source", &schema::MOUNT)?)?);
            context.isolate.mount = true;
        }
        "mount" => context.mounts.push(take(word, value, &MOUNT)?),
        "caps" => {
            let caps: Caps = take(word, value, of("caps", &schema::GUEST)?)?;
            context.caps = Some(caps.resolve(CapSet::guest_default()));
        }
        "limit" => context.limits = take(word, value, of("limits", &schema::GUEST)?)?,
        other => return Err(raise(other, "is no confinement")),
    }
    Ok(())
}

impl UserData for Described {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        for name in ["bind", "chroot", "mount", "caps", "limit"] {
            // Each returns the context, so that they can be chained.
            methods.add_function(name, move |_, (this, value): (AnyUserData, Value)| {
                confine(&mut this.borrow_mut::<Described>()?.0, name, &value)?;
                Ok(this)
            });
        }
        methods.add_method("plan", |_, this, ()| {
            let steps = life::context::steps(&this.0, &[]).map_err(|err| error("plan", &err))?;
            let lines: Vec<String> = steps.iter().map(ToString::to_string).collect();
            Ok(lines.join("\n"))
        });
        methods.add_method("run", |lua, this, command: Table| run(lua, &this.0, &command));
        // Everything of a context is gone when `run` returns; there is nothing left to close.
        methods.add_method("close", |_, _, ()| Ok(()));
        methods.add_meta_method(MetaMethod::Close, |_, _, _: Value| Ok(()));
        methods.add_meta_method(MetaMethod::ToString, |_, _, ()| Ok("context"));
    }
}

/// `c:run { "/bin/sh", "-c", "id", timeout = "10s" }`: `code`, `signal`, `timed_out` and `memory_peak` (bytes).
fn run(lua: &Lua, context: &Context, command: &Table) -> mlua::Result<Table> {
    let mut timeout = None;
    for pair in command.pairs::<Value, Value>() {
        match pair? {
            (Value::Integer(_), Value::String(_)) => {}
            (Value::String(key), Value::String(text)) if key.as_bytes() == b"timeout" => {
                let span = text.to_string_lossy().parse::<Span>();
                timeout = Some(span.map_err(|invalid| raise("run", invalid.message))?);
            }
            (key, value) => {
                return Err(raise(
                    "run",
                    format!("{} cannot be {}", described(&key), described(&value)),
                ));
            }
        }
    }
    let argv: Vec<String> = command.sequence_values().collect::<mlua::Result<_>>()?;
    if argv.is_empty() {
        return Err(raise("run", "no command was given"));
    }
    let mut command = life::Command::new(argv);
    command.env = std::env::vars_os().collect();
    let host = Host::open().map_err(|err| error("run", &err))?;
    let outcome = life::context::run(&host, context, &command, timeout).map_err(|err| error("run", &err))?;
    let result = lua.create_table()?;
    match outcome.ended {
        Ended::Code(code) => result.set("code", code)?,
        Ended::Signal(signal) => result.set("signal", signal)?,
    }
    result.set("timed_out", outcome.is_timed_out)?;
    result.set("memory_peak", outcome.memory_peak.map(|b| b.0))?;
    Ok(result)
}
