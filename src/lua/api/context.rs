//! `hostel.context { ... }` and its methods: what a command is confined to. Nothing happens before `run`; `plan`
//! shows the steps and needs no root. `hostel.bind { ... }`, `hostel.chroot(dir)`, `hostel.caps { ... }` and
//! `hostel.limit { ... }` begin a context with that one confinement.

use mlua::{AnyUserData, IntoLuaMulti as _, Lua, MetaMethod, Table, UserData, UserDataMethods, Value};
use serde::Deserialize;

use super::command::{self, Run};
use super::confine::{WORDS, confine};
use super::deadline::bound;
use super::failure::{check, mistake, raise};
use super::stage::effect;
use super::streams::Streams;
use super::take::options;
use crate::guest::{Context, Hostname, Identity, Isolate, Xid, schema};
use crate::life::exec::Whom;
use crate::life::{self, Host};
use crate::lua::read::described;

/// A context that is being described.
pub(in crate::lua) struct Described {
    context: Context,
    /// What it joins instead.
    join: Option<Whom>,
}

#[derive(Deserialize)]
struct Options {
    xid: Option<u32>,
    hostname: Option<Hostname>,
    isolate: Option<Vec<String>>,
    join: Option<Whom>,
}

fn open() -> Described {
    let context = Context {
        open_network: true,
        ..Context::default()
    };
    Described { context, join: None }
}

/// Adds the functions that begin a context.
pub(super) fn register(lua: &Lua, module: &Table) -> mlua::Result<()> {
    let begin = lua.create_function(|_, options: Value| match &options {
        Value::Table(table) => context(table),
        other => Err(mistake(
            "context",
            format!("takes a table of options, not {}", described(other)),
        )),
    })?;
    module.set("context", begin)?;
    for name in WORDS.into_iter().filter(|word| *word != "mount") {
        let begin = lua.create_function(move |_, value: Value| {
            let mut described = open();
            confine(&mut described.context, name, &value)?;
            Ok(described)
        })?;
        module.set(name, begin)?;
    }
    Ok(())
}

/// `hostel.context { xid = 900, hostname = "bar", isolate = { "pid", "mount" } }`.
fn context(table: &Table) -> mlua::Result<Described> {
    let options: Options = options("context", table, &schema::CONTEXT)?;
    let mut described = open();
    if let Some(whom) = options.join {
        if options.xid.is_some() || options.hostname.is_some() || options.isolate.is_some() {
            return Err(mistake(
                "context",
                "`join` is all that can be said of a context that joins another",
            ));
        }
        described.join = Some(whom);
        return Ok(described);
    }
    let context = &mut described.context;
    match options.xid {
        None => {}
        Some(1) => context.identity = Identity::Spectator,
        Some(number) => {
            let xid = Xid::new(number).map_err(|invalid| mistake("context", invalid.message))?;
            context.identity = Identity::Xid(xid);
        }
    }
    let mut isolate = Isolate::NONE;
    for word in options.isolate.unwrap_or_default() {
        isolate
            .add(&word)
            .map_err(|invalid| mistake("context", invalid.message))?;
    }
    isolate.uts |= options.hostname.is_some();
    context.open_network = !isolate.net;
    context.isolate = isolate;
    context.hostname = options.hostname;
    Ok(described)
}

impl UserData for Described {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        for name in WORDS {
            // Each returns the context, so that they can be chained.
            methods.add_function(name, move |_, (this, value): (AnyUserData, Value)| {
                let mut described = this.borrow_mut::<Described>()?;
                if let Some(whom) = &described.join {
                    let message = format!("a context that joins {whom} is confined as that is");
                    return Err(mistake(name, message));
                }
                confine(&mut described.context, name, &value)?;
                drop(described);
                Ok(this)
            });
        }
        methods.add_method("plan", |lua, this, command: Option<Table>| {
            let argv = match &command {
                Some(table) => command::argv("plan", table)?,
                None => Vec::new(),
            };
            let steps: Vec<String> = match &this.join {
                Some(whom) => vec![format!("join {whom}"), format!("run {}", argv.join(" "))],
                None => life::context::steps(&this.context, &argv)
                    .map_err(|err| raise(lua, "plan", &err))?
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            };
            plan(lua, steps)
        });
        methods.add_method("run", |lua, this, command: Value| {
            let run = Run::take(lua, "run", &command, &schema::RUN)?;
            check(lua)?;
            let joined = this.join.as_ref().map(ToString::to_string);
            if let Some(answer) = effect(lua, "context:run", joined.as_deref(), command)? {
                return Ok(answer);
            }
            let ended = match &this.join {
                Some(whom) => command::exec(lua, "run", whom, run)?.map_err(|err| raise(lua, "run", &err)),
                None => run_in(lua, &this.context, run),
            };
            ended?.into_lua_multi(lua)
        });
        // Everything of a context is gone when `run` returns; there is nothing left to close.
        methods.add_method("close", |_, _, ()| Ok(()));
        methods.add_meta_method(MetaMethod::Close, |_, _, _: Value| Ok(()));
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(match (&this.join, this.context.identity) {
                (Some(whom), _) => format!("context of {whom}"),
                (None, Identity::Xid(xid) | Identity::Here(xid)) => format!("context {xid}"),
                (None, Identity::Spectator) => "context of the spectator".to_owned(),
                (None, Identity::Ephemeral) => "context".to_owned(),
            })
        });
    }
}

/// The steps as a list that `tostring` numbers.
fn plan(lua: &Lua, steps: Vec<String>) -> mlua::Result<Table> {
    let lines: Vec<String> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| format!("{:>2}. {step}", index + 1))
        .collect();
    let text = lines.join("\n");
    let list = lua.create_sequence_from(steps)?;
    let meta = lua.create_table()?;
    meta.set(
        "__tostring",
        lua.create_function(move |_, _: Value| Ok(text.clone()))?,
    )?;
    list.set_metatable(Some(meta))?;
    Ok(list)
}

fn run_in(lua: &Lua, context: &Context, run: Run) -> mlua::Result<Table> {
    command::flush(lua);
    let failed = |err: crate::Error| raise(lua, "run", &err);
    let (fds, copier) = if run.is_captured {
        let streams = Streams::captured().map_err(failed)?;
        (streams.fds, Some(streams.copier))
    } else {
        (Vec::new(), None)
    };
    let mut env: Vec<_> = std::env::vars_os().collect();
    if context.root.is_some() {
        // Where the caller's programs are says nothing about another tree.
        env.retain(|(key, _)| key != "PATH");
        env.push(("PATH".into(), life::command::PATH.into()));
    }
    env.retain(|(key, _)| !key.to_str().is_some_and(|key| run.env.contains_key(key)));
    env.extend(run.env.into_iter().map(|(key, value)| (key.into(), value.into())));
    let mut command = life::Command {
        argv: run.argv.into_iter().map(Into::into).collect(),
        env,
        dir: run.dir,
        fds,
        ..life::Command::default()
    };
    let host = Host::open().map_err(failed)?;
    let outcome = life::context::run(&host, context, &mut command, bound(lua, run.timeout));
    // The writing ends: what reads the output sees its end only when they are gone.
    drop(command);
    let output = copier
        .map(super::streams::Copier::finish)
        .transpose()
        .map_err(failed)?;
    command::result(lua, &outcome.map_err(failed)?, output)
}
