//! `hostel.guest "web"` and `hostel.guests()`: guests that were applied, and what can be done with them.

pub(in crate::lua) mod files;
pub(in crate::lua) mod limit;
mod verbs;

use mlua::{
    IntoLua, IntoLuaMulti, Lua, LuaSerdeExt as _, MetaMethod, MultiValue, Table, UserData, UserDataFields,
    UserDataMethods, Value,
};

use super::command::{self, Run};
use super::failure::{check, mistake, or_absent, raise, text};
use super::stage::{effect, rehearsed};
use crate::guest::{GuestName, Xid, schema};
use crate::life::exec::Whom;
use crate::life::{Host, observe};
use crate::storage::state;

/// A guest that was applied.
pub(in crate::lua) struct Handle {
    pub(in crate::lua) name: GuestName,
    /// `None` when only the name was given, as in a plan.
    pub(in crate::lua) xid: Option<Xid>,
}

/// A guest from a workflow's journal. It may be gone: its methods say so.
pub(super) fn thawed(kept: &Table) -> mlua::Result<Handle> {
    let name: String = kept.get("name")?;
    let name = name
        .parse()
        .map_err(|invalid: crate::guest::Invalid| mistake("guest", invalid.message))?;
    let xid: Option<u32> = kept.get("xid")?;
    let xid = xid
        .map(Xid::new)
        .transpose()
        .map_err(|invalid| mistake("guest", invalid.message))?;
    Ok(Handle { name, xid })
}

/// Adds `guest` and `guests`.
pub(super) fn register(lua: &Lua, module: &Table) -> mlua::Result<()> {
    let one = lua.create_function(|lua, name: Value| {
        let name: GuestName = text("guest", "the name", &name)?
            .parse()
            .map_err(|invalid: crate::guest::Invalid| mistake("guest", invalid.message))?;
        if let Some(answer) = rehearsed(lua, "hostel.guest", None, name.as_str())? {
            return Ok(answer);
        }
        or_absent(lua, "guest", find(&name))?.into_lua_multi(lua)
    })?;
    module.set("guest", one)?;
    let all = lua.create_function(|lua, ()| {
        if let Some(answer) = rehearsed(lua, "hostel.guests", None, ())? {
            return Ok(answer);
        }
        let list = || -> crate::Result<Vec<Handle>> {
            let names = state::list(&Host::open()?.layout)?;
            // One that is destroyed in between is not there.
            names
                .iter()
                .filter_map(|name| match find(name) {
                    Err(err) if err.kind() == crate::Kind::NotFound => None,
                    other => Some(other),
                })
                .collect()
        };
        let guests = list().map_err(|err| raise(lua, "guests", &err))?;
        lua.create_sequence_from(guests)?.into_lua_multi(lua)
    })?;
    module.set("guests", all)?;
    files::register(lua, module)
}

fn find(name: &GuestName) -> crate::Result<Handle> {
    let applied = observe::applied(&Host::open()?, name)?;
    Ok(Handle {
        name: name.clone(),
        xid: Some(applied.xid),
    })
}

/// A verb: refused once a signal has come, `nil, err` for what is not there or not in the state for it.
fn act<T: IntoLua>(
    lua: &Lua,
    guest: &Handle,
    word: &str,
    given: impl IntoLuaMulti,
    verb: impl FnOnce(&Host) -> crate::Result<T>,
) -> mlua::Result<MultiValue> {
    if let Some(answer) = guest.asked(lua, word, given)? {
        return Ok(answer);
    }
    command::flush(lua);
    or_absent(lua, word, Host::open().and_then(|host| verb(&host)))?.into_lua_multi(lua)
}

impl Handle {
    /// What a rehearsal answers; a plan and a signal refuse.
    fn asked(&self, lua: &Lua, word: &str, given: impl IntoLuaMulti) -> mlua::Result<Option<MultiValue>> {
        check(lua)?;
        let (call, name) = (format!("guest:{word}"), Some(self.name.as_str()));
        // Looking is allowed in a plan.
        if word == "status" {
            return rehearsed(lua, &call, name, given);
        }
        effect(lua, &call, name, given)
    }
}

/// A status as a table.
struct Seen(observe::Status);

impl IntoLua for Seen {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        let options = mlua::serde::ser::Options::new().serialize_none_to_null(false);
        lua.to_value_with(&self.0, options)
    }
}

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |_, this| Ok(this.name.as_str().to_owned()));
        fields.add_field_method_get("xid", |_, this| Ok(this.xid.map(Xid::get)));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("status", |lua, this, ()| {
            act(lua, this, "status", (), |host| {
                observe::status(host, &this.name).map(Seen)
            })
        });
        methods.add_method("exec", |lua, this, command: Value| {
            let run = Run::take(lua, "exec", &command, &schema::EXEC)?;
            if let Some(answer) = this.asked(lua, "exec", command)? {
                return Ok(answer);
            }
            let ended = command::exec(lua, "exec", &Whom::Guest(this.name.clone()), run)?;
            or_absent(lua, "exec", ended)?.into_lua_multi(lua)
        });
        methods.add_method("limit", |lua, this, limits: Value| {
            let changes = limit::changes(lua, &limits)?;
            act(lua, this, "limit", limits, |host| {
                limit::limit(host, &this.name, &changes)
            })
        });
        verbs::add(methods);
        files::add(methods);
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("guest \"{}\"", this.name))
        });
    }
}
