//! What `hostel.flow` is made of: the journal, the clock, deadlines, and what can be kept of a value.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{AnyUserData, Function, Lua, LuaSerdeExt as _, Table, Value};

use super::arguments::Arguments;
use super::deadline;
use super::failure::{self, Failure};
use super::guest::{Handle, thawed};
use super::{json, time};
use crate::error::Kind;
use crate::guest::caps::nearest;
use crate::lua::diagnostic::Code;
use crate::lua::read::described;
use crate::lua::state::Raised;
use crate::lua::vm::caller;
use crate::storage::flow::{Hold, Journal};
use crate::sys::interrupt;

/// Whether steps are only recorded: what would change something is refused then.
#[derive(Default)]
pub(in crate::lua) struct Planning(Cell<bool>);

/// Fails in a plan: what stands outside of a step must be without effect.
pub(super) fn planned(lua: &Lua, word: &str) -> mlua::Result<()> {
    if lua
        .app_data_ref::<Planning>()
        .is_some_and(|planning| planning.0.get())
    {
        let message = format!("{word}: stands outside of a step, and a plan changes nothing");
        let mut raised = Raised::new(Code::Flow, message)
            .word(word)
            .kind(Kind::State)
            .help("put it into the `run` of a step");
        raised.at = Some(caller(lua)).filter(|(file, _)| !file.is_empty());
        return Err(raised.into());
    }
    Ok(())
}

/// Where the records of a run go.
pub(in crate::lua) struct Desk {
    pub(in crate::lua) hold: Hold,
    /// What is added to each record: it is hostel's to know.
    pub(in crate::lua) complete: Box<dyn Fn(&mut Journal)>,
}

type Saver = Rc<std::cell::RefCell<Option<Desk>>>;

/// Where a run's records go from now on.
pub(in crate::lua) fn open(lua: &Lua, desk: Desk) {
    let saver: Saver = Rc::new(std::cell::RefCell::new(Some(desk)));
    lua.set_app_data(saver);
}

/// The run is over: another process may work on it.
pub(in crate::lua) fn close(lua: &Lua) {
    lua.remove_app_data::<Saver>();
}

/// The module.
pub(in crate::lua) fn module(lua: &Lua) -> mlua::Result<Table> {
    let core = lua.create_table()?;
    core.set("null", lua.null())?;
    core.set("fail", lua.create_function(fail)?)?;
    core.set(
        "describe",
        lua.create_function(|_, value: Value| Ok(described(&value)))?,
    )?;
    core.set(
        "nearest",
        lua.create_function(|_, (word, fields): (String, Table)| {
            let names: Vec<String> = fields
                .pairs::<String, Value>()
                .flatten()
                .map(|(name, _)| name)
                .collect();
            Ok(
                nearest(&word, names.iter().map(String::as_str))
                    .map(|near| format!("did you mean `{near}`?")),
            )
        })?,
    )?;
    core.set(
        "span",
        lua.create_function(|_, (what, value): (String, Value)| time::seconds(&what, &value))?,
    )?;
    core.set(
        "parameters",
        lua.create_function(|_, function: Function| {
            let info = function.info();
            Ok(if info.is_vararg { 1 } else { info.num_params })
        })?,
    )?;
    core.set(
        "like",
        lua.create_function(|lua, (value, is_list): (Table, Option<bool>)| {
            let made = lua.create_table()?;
            let array = lua.array_metatable();
            if is_list == Some(true) || value.metatable().as_ref() == Some(&array) {
                made.set_metatable(Some(array))?;
            }
            Ok(made)
        })?,
    )?;
    core.set(
        "frozen_guest",
        lua.create_function(|lua, value: Value| {
            let Value::UserData(data) = &value else {
                return Ok(None);
            };
            let Ok(handle) = data.borrow::<Handle>() else {
                return Ok(None);
            };
            let kept = lua.create_table()?;
            kept.set("name", handle.name.as_str())?;
            kept.set("xid", handle.xid.map(crate::guest::Xid::get))?;
            Ok(Some(kept))
        })?,
    )?;
    core.set(
        "thawed_guest",
        lua.create_function(|_, kept: Table| thawed(&kept))?,
    )?;
    core.set("keepable", lua.create_function(keepable)?)?;
    core.set("failure", lua.create_function(|lua, err: Value| seen(lua, &err))?)?;
    core.set(
        "planning",
        lua.create_function(|lua, is_planning: bool| {
            if let Some(planning) = lua.app_data_ref::<Planning>() {
                planning.0.set(is_planning);
            }
            Ok(())
        })?,
    )?;
    core.set(
        "check_args",
        lua.create_function(|_, table: Table| Arguments::read(&table).map(drop))?,
    )?;
    core.set("effects", lua.create_function(|lua, ()| effects(lua))?)?;
    Ok(core)
}

fn fail(lua: &Lua, (message, help): (String, Option<String>)) -> mlua::Result<()> {
    let mut raised = Raised::new(Code::Flow, message).kind(Kind::Usage);
    raised.help = help;
    raised.at = Some(caller(lua)).filter(|(file, _)| !file.is_empty());
    Err(raised.into())
}

fn keepable(lua: &Lua, (step, value): (String, Value)) -> mlua::Result<()> {
    let Err(why) = json::encode(lua, &value) else {
        return Ok(());
    };
    fail(
        lua,
        (
            format!("step `{step}` returned what its journal cannot keep: {why}"),
            Some("return plain data or a guest".to_owned()),
        ),
    )
}

/// `message`, `kind` and `hint` of what was raised.
fn seen(lua: &Lua, err: &Value) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let (message, kind) = match err {
        Value::Error(error) => {
            let mut at = error.as_ref();
            while let mlua::Error::CallbackError { cause, .. }
            | mlua::Error::BadArgument { cause, .. }
            | mlua::Error::WithContext { cause, .. } = at
            {
                at = cause;
            }
            match (at.downcast_ref::<Raised>(), at) {
                (Some(raised), _) => (
                    raised.message.clone(),
                    raised.kind.unwrap_or(Kind::Usage).as_str(),
                ),
                (None, mlua::Error::RuntimeError(message)) => (message.clone(), "error"),
                (None, other) => (other.to_string(), "error"),
            }
        }
        Value::UserData(data) if data.is::<Failure>() => {
            let failure = data.borrow::<Failure>()?;
            (failure.message.clone(), failure.kind().as_str())
        }
        Value::String(text) => (text.to_string_lossy(), "error"),
        Value::Table(table) => match table.raw_get::<Value>("message") {
            Ok(Value::String(text)) => (text.to_string_lossy(), "error"),
            _ => ("a table was raised".to_owned(), "error"),
        },
        other => (described(other), "error"),
    };
    table.set("message", message)?;
    table.set("kind", kind)?;
    Ok(table)
}

/// What a run takes from outside of itself; a test puts others in their place.
fn effects(lua: &Lua) -> mlua::Result<Table> {
    let effects = lua.create_table()?;
    effects.set(
        "save",
        lua.create_function(|lua, record: Table| save(lua, &record))?,
    )?;
    let begun = Instant::now();
    effects.set(
        "now",
        lua.create_function(move |_, ()| Ok(begun.elapsed().as_secs_f64()))?,
    )?;
    effects.set("wall", lua.create_function(|_, ()| Ok(time::rfc3339_now()))?)?;
    effects.set(
        "sleep",
        lua.create_function(|lua, seconds: f64| {
            time::sleep(lua, Duration::try_from_secs_f64(seconds).unwrap_or_default())
        })?,
    )?;
    effects.set(
        "arm",
        lua.create_function(|lua, left: Option<f64>| {
            // A time that is over already is over at once.
            let left = left.map(|left| Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX));
            deadline::arm(lua, left)
        })?,
    )?;
    effects.set("pcall", lua.named_registry_value::<Function>(super::RAW_PCALL)?)?;
    effects.set(
        "tell",
        lua.create_function(|_, line: String| {
            crate::lua::hooks::tell(&line);
            Ok(())
        })?,
    )?;
    Ok(effects)
}

fn save(lua: &Lua, record: &Table) -> mlua::Result<()> {
    // The journal is written whatever comes: a signal or a deadline is heeded by what comes after.
    let _ = interrupt::pending();
    let Some(saver) = lua.app_data_ref::<Saver>().map(|saver| Rc::clone(&saver)) else {
        return Ok(());
    };
    let saver = saver.borrow();
    let Some(desk) = saver.as_ref() else {
        return Ok(());
    };
    let json =
        json::encode(lua, &Value::Table(record.clone())).map_err(|why| failure::mistake("journal", why))?;
    let mut journal: Journal = serde_json::from_value(json)
        .map_err(|err| failure::mistake("journal", format!("write it: {err}")))?;
    (desk.complete)(&mut journal);
    desk.hold
        .write(&journal)
        .map_err(|err| failure::raise(lua, "journal", &err))
}

/// Whether a value is a workflow.
pub(in crate::lua) fn is_workflow(value: &Value) -> bool {
    let Value::Table(table) = value else {
        return false;
    };
    let name = table
        .metatable()
        .and_then(|meta| meta.raw_get::<String>("__name").ok());
    name.as_deref() == Some("hostel.workflow")
}

/// Names nothing: keeps `AnyUserData` in one place for guests in arguments.
pub(in crate::lua) fn guest(lua: &Lua, name: &crate::guest::GuestName) -> mlua::Result<AnyUserData> {
    lua.create_userdata(Handle {
        name: name.clone(),
        xid: None,
    })
}
