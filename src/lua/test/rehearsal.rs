//! What `t.flow` asks of hostel: the workflow of a file, its arguments, and the calls that it makes on the way, which go
//! to the test instead of a host.

use std::path::PathBuf;

use mlua::{Function, IntoLua as _, Lua, LuaSerdeExt as _, Table, Value};
use serde_json::{Map, Value as Json};

use super::host::FakeHost;
use super::tree::Shared;
use super::words::misuse;
use super::{guest, host, volume};
use crate::Kind;
use crate::lua::api::arguments::Arguments;
use crate::lua::api::{Failure, flow, json, stage};
use crate::lua::diagnostic::Code;
use crate::lua::order;
use crate::lua::read::described;
use crate::lua::script;
use crate::lua::state::{Raised, Source};
use crate::lua::vm::Vm;

pub(super) fn add(vm: &Vm, module: &Table, shared: &Shared) -> mlua::Result<()> {
    let lua = &vm.lua;
    let (file, state) = (std::rc::Rc::clone(shared), std::rc::Rc::clone(&vm.state));
    let load = lua.create_function(move |lua, given: String| {
        let path = below(&file, &given);
        let wrong = |message: String| misuse("flow", message);
        let text = script::trusted(&path).map_err(|diagnostics| {
            wrong(
                diagnostics
                    .0
                    .first()
                    .map_or_else(String::new, |first| first.message.clone()),
            )
        })?;
        let name = path.display().to_string();
        let source = Source::new(name, text);
        let function = source.load(lua, None);
        let mut state = state.borrow_mut();
        if state.source(&source.name).is_none() {
            state.sources.push(source);
        }
        function
    })?;
    module.set("flow_load", load)?;
    let is_workflow = |_: &Lua, value: Value| Ok(flow::is_workflow(&value));
    module.set("is_workflow", lua.create_function(is_workflow)?)?;
    let file = std::rc::Rc::clone(shared);
    module.set(
        "flow_args",
        lua.create_function(move |lua, (declared, given): (Table, Table)| {
            arguments(lua, &file, &declared, &given)
        })?,
    )?;
    module.set(
        "stage",
        lua.create_function(|lua, asked: Option<Function>| {
            stage::set(lua, asked);
            Ok(())
        })?,
    )?;
    module.set("calls", stage::CALLS.to_vec())?;
    module.set("failure", lua.create_function(failure)?)?;
    module.set("raise", lua.create_function(raise)?)?;
    // As it would come back from its file.
    module.set(
        "kept",
        lua.create_function(|lua, record: Value| {
            let kept = json::encode(lua, &record).map_err(|why| misuse("flow", why))?;
            json::decode(lua, &kept)
        })?,
    )?;
    module.set(
        "host_with",
        lua.create_function(|_, names: Vec<String>| host_with(names))?,
    )?;
    module.set("on_guest", lua.create_function(guest::on_guest)?)?;
    module.set("on_volume", lua.create_function(volume::on_volume)?)?;
    let file = std::rc::Rc::clone(shared);
    module.set(
        "on_host",
        lua.create_function(move |lua, args| guest::on_host(lua, &file, args))?,
    )
}

/// A path of the test: relative to its file.
fn below(shared: &Shared, given: &str) -> PathBuf {
    let file = shared.borrow();
    if given.starts_with('/') || file.folder == std::path::Path::new(".") {
        return PathBuf::from(given);
    }
    file.folder.join(given)
}

/// The arguments of a run, as they come from a command line: each text is checked and turned into its kind.
fn arguments(lua: &Lua, shared: &Shared, declared: &Table, given: &Table) -> mlua::Result<Table> {
    let arguments = Arguments::read(declared)?;
    let mut typed = Map::new();
    for pair in given.pairs::<String, Value>() {
        let (name, value) = pair?;
        let text = match &value {
            Value::Table(list) => {
                let items = order::only_list(list)?
                    .map_err(|odd| misuse("flow", format!("the argument `{name}` has {odd}")))?;
                let items = items.iter().map(|item| Ok(Json::String(text(&name, item)?)));
                Json::Array(items.collect::<mlua::Result<_>>()?)
            }
            Value::String(path) if arguments.kind(&name) == Some("path") => {
                // As on a command line: whoever resumes the run stands elsewhere.
                let path = below(shared, &path.to_string_lossy());
                Json::String(std::path::absolute(&path).unwrap_or(path).display().to_string())
            }
            one => Json::String(text(&name, one)?),
        };
        typed.insert(name, text);
    }
    arguments.values(lua, &Json::Object(typed))
}

fn text(name: &str, value: &Value) -> mlua::Result<String> {
    Ok(match value {
        Value::String(text) => text.to_string_lossy(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        other => {
            return Err(misuse(
                "flow",
                format!("the argument `{name}` is {}", described(other)),
            ));
        }
    })
}

/// Whether a test can make up a failure of this kind: one of what a workflow asked for, not of how hostel was called or
/// of hostel itself.
fn can_be_made_up(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Usage | Kind::Interrupted | Kind::System | Kind::Internal
    )
}

fn kind_of(word: &str) -> mlua::Result<Kind> {
    let found = Kind::from_word(word).filter(|kind| can_be_made_up(*kind));
    found.ok_or_else(|| {
        let kinds = Kind::ALL.into_iter().filter(|kind| can_be_made_up(*kind));
        let known: Vec<&str> = kinds.map(Kind::as_str).collect();
        let (word, known) = (word.escape_debug(), known.join(", "));
        misuse(
            "flow",
            format!("there is no kind of failure `{word}`; there are {known}"),
        )
    })
}

/// What a call gives behind `nil`.
fn failure(lua: &Lua, (message, kind): (String, String)) -> mlua::Result<Value> {
    Failure::new(lua, kind_of(&kind)?, message).into_lua(lua)
}

/// Raises as hostel's own calls do. A kind of `deadline` is a step's that is over, `interrupted` is Ctrl-C.
fn raise(_: &Lua, (word, message, kind): (String, String, String)) -> mlua::Result<()> {
    let raised = match kind.as_str() {
        "deadline" => Raised::new(Code::Deadline, message).kind(Kind::Timeout),
        "interrupted" => Raised::new(Code::Interrupted, message).kind(Kind::Interrupted),
        other => Raised::new(Code::Runtime, message).kind(kind_of(other)?),
    };
    Err(raised.word(word).into())
}

/// A host on which these guests run.
fn host_with(names: Vec<String>) -> mlua::Result<FakeHost> {
    let mut host = host::fake()?;
    for name in names {
        let spec = serde_json::json!({ "name": name, "image": "busybox" });
        let spec = serde_json::from_value(spec).map_err(|err| misuse("flow", err))?;
        host.create(&spec).map_err(|err| host::raised("flow", &err))?;
    }
    Ok(host)
}

/// A table of what serde knows.
pub(super) fn shown(lua: &Lua, value: &impl serde::Serialize) -> mlua::Result<Value> {
    let options = mlua::serde::ser::Options::new().serialize_none_to_null(false);
    lua.to_value_with(value, options)
}
