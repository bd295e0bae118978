//! `hostel.volume "data"` and `hostel.volumes()`: volumes, and what can be done with them.

use std::path::PathBuf;

use mlua::{
    IntoLua, IntoLuaMulti, Lua, LuaSerdeExt as _, MetaMethod, MultiValue, Table, UserData, UserDataFields,
    UserDataMethods, Value,
};
use serde::Deserialize;

use super::command;
use super::failure::{check, mistake, or_absent, raise, text};
use super::stage::{effect, rehearsed};
use super::take::options;
use crate::guest::{Bytes, Invalid, Storage, Volume, VolumeName, schema};
use crate::life::Host;
use crate::life::export::{Compression, Target, into_file};
use crate::life::volume::archive::ImportOptions;
use crate::life::volume::set::Change;
use crate::life::volume::{self, Seen};
use crate::lua::hooks::to_stderr;
use crate::storage::Silent;
use crate::storage::archive::Archive;
use crate::storage::snapshot::{Label, Snapshot};

/// A volume.
pub(in crate::lua) struct VolumeHandle(pub(in crate::lua) VolumeName);

fn named(word: &str, value: &Value) -> mlua::Result<VolumeName> {
    text(word, "the name", value)?
        .parse()
        .map_err(|invalid: Invalid| mistake(word, invalid.message))
}

fn label_of(word: &str, label: &Value) -> mlua::Result<Label> {
    text(word, "the snapshot", label)?
        .parse()
        .map_err(|invalid: Invalid| mistake(word, invalid.message))
}

/// Adds `volume`, `volumes`, `create_volume` and `import_volume`.
pub(super) fn register(lua: &Lua, module: &Table) -> mlua::Result<()> {
    let one = lua.create_function(|lua, name: Value| {
        let name = named("volume", &name)?;
        if let Some(answer) = rehearsed(lua, "hostel.volume", None, name.as_str())? {
            return Ok(answer);
        }
        let found = Host::open().and_then(|host| volume::show(&host, &name));
        or_absent(lua, "volume", found.map(|seen| VolumeHandle(seen.name)))?.into_lua_multi(lua)
    })?;
    module.set("volume", one)?;
    let all = lua.create_function(|lua, ()| {
        if let Some(answer) = rehearsed(lua, "hostel.volumes", None, ())? {
            return Ok(answer);
        }
        let list = Host::open().and_then(|host| volume::list(&host));
        let list = list.map_err(|err| raise(lua, "volumes", &err))?;
        lua.create_sequence_from(list.into_iter().map(|seen| VolumeHandle(seen.name)))?
            .into_lua_multi(lua)
    })?;
    module.set("volumes", all)?;
    let create = lua.create_function(|lua, (name, table): (Value, Option<Table>)| {
        let name = named("create_volume", &name)?;
        let said = said("create_volume", table.as_ref())?;
        make(lua, "create_volume", (name.as_str(), table), |host| {
            volume::create::create(host, &name, &said, &Silent).map(|_| VolumeHandle(name.clone()))
        })
    })?;
    module.set("create_volume", create)?;
    let import = lua.create_function(|lua, (path, table): (Value, Option<Table>)| {
        let given = text("import_volume", "the file", &path)?;
        let path = PathBuf::from(&given);
        let how: Reading = match &table {
            Some(table) => options("import_volume", table, &schema::IMPORT_VOLUME)?,
            None => Reading::default(),
        };
        let options = ImportOptions {
            name: how.name,
            size: how.size,
            storage: how.storage,
        };
        make(lua, "import_volume", (given, table), |host| {
            volume::archive::import(host, Archive::at(&path)?, &options, &Silent).map(VolumeHandle)
        })
    })?;
    module.set("import_volume", import)
}

#[derive(Deserialize, Default)]
struct Reading {
    name: Option<VolumeName>,
    size: Option<Bytes>,
    storage: Option<Storage>,
}

#[derive(Deserialize, Default)]
struct Taking {
    name: Option<Label>,
    keep: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Writing {
    compress: Option<Compression>,
    snapshot: Option<Label>,
    #[serde(default)]
    force: bool,
}

/// A function of the module that makes something.
fn make<T: IntoLua>(
    lua: &Lua,
    word: &str,
    given: impl IntoLuaMulti,
    verb: impl FnOnce(&Host) -> crate::Result<T>,
) -> mlua::Result<MultiValue> {
    check(lua)?;
    if let Some(answer) = effect(lua, &format!("hostel.{word}"), None, given)? {
        return Ok(answer);
    }
    command::flush(lua);
    or_absent(lua, word, Host::open().and_then(|host| verb(&host)))?.into_lua_multi(lua)
}

/// A verb: refused once a signal has come, `nil, err` for what is not there or not in the state for it.
fn act<T: IntoLua>(
    lua: &Lua,
    of: &VolumeHandle,
    word: &str,
    given: impl IntoLuaMulti,
    verb: impl FnOnce(&Host, &VolumeName) -> crate::Result<T>,
) -> mlua::Result<MultiValue> {
    check(lua)?;
    let (call, name) = (format!("volume:{word}"), Some(of.0.as_str()));
    // Looking is allowed in a plan.
    let answer = if word == "status" {
        rehearsed(lua, &call, name, given)?
    } else {
        effect(lua, &call, name, given)?
    };
    if let Some(answer) = answer {
        return Ok(answer);
    }
    command::flush(lua);
    or_absent(lua, word, Host::open().and_then(|host| verb(&host, &of.0)))?.into_lua_multi(lua)
}

/// What serde knows as a table.
struct Told<T>(T);

impl<T: serde::Serialize> IntoLua for Told<T> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        let options = mlua::serde::ser::Options::new().serialize_none_to_null(false);
        lua.to_value_with(&self.0, options)
    }
}

impl UserData for VolumeHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |_, this| Ok(this.0.as_str().to_owned()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("status", |lua, this, ()| {
            act(lua, this, "status", (), |host, name| {
                volume::show(host, name).map(Told::<Seen>)
            })
        });
        methods.add_method("set", |lua, this, table: Table| {
            let change = change(lua, &table)?;
            act(lua, this, "set", table, |host, name| {
                volume::set::set(host, name, change, &Silent).map(|()| true)
            })
        });
        methods.add_method("snapshot", |lua, this, table: Option<Table>| {
            let taking: Taking = match &table {
                Some(table) => options("snapshot", table, &schema::SNAPSHOT)?,
                None => Taking::default(),
            };
            act(lua, this, "snapshot", table, |host, name| {
                let keep = taking.keep.and_then(|keep| usize::try_from(keep).ok());
                let label = taking.name.as_ref();
                volume::snapshot::snapshot(host, name, label, keep, &to_stderr(), &Silent)
                    .map(|taken| taken.label.as_str().to_owned())
            })
        });
        methods.add_method("snapshots", |lua, this, ()| {
            act(lua, this, "snapshots", (), |host, name| {
                volume::snapshot::list(host, name).map(Told::<Vec<Snapshot>>)
            })
        });
        methods.add_method("remove_snapshot", |lua, this, label: Value| {
            let label = label_of("remove_snapshot", &label)?;
            act(lua, this, "remove_snapshot", label.as_str(), |host, name| {
                volume::snapshot::remove(host, name, &label).map(|()| true)
            })
        });
        methods.add_method("rollback", |lua, this, label: Value| {
            let label = label_of("rollback", &label)?;
            act(lua, this, "rollback", label.as_str(), |host, name| {
                volume::snapshot::rollback(host, name, &label, &Silent).map(|()| true)
            })
        });
        methods.add_method("clone", |lua, this, name: Value| {
            let to = named("clone", &name)?;
            act(lua, this, "clone", to.as_str(), |host, name| {
                volume::clone::clone(host, name, &to, &to_stderr(), &Silent)?;
                Ok(VolumeHandle(to.clone()))
            })
        });
        methods.add_method("remove", |lua, this, ()| {
            act(lua, this, "remove", (), |host, name| {
                volume::remove::remove(host, name).map(|()| true)
            })
        });
        methods.add_method("export", |lua, this, (path, table): (Value, Option<Table>)| {
            let given = text("export", "the file", &path)?;
            let path = PathBuf::from(&given);
            let how: Writing = match &table {
                Some(table) => options("export", table, &schema::EXPORT_VOLUME)?,
                None => Writing::default(),
            };
            act(lua, this, "export", (given, table), |host, name| {
                crate::storage::volume::required(&host.layout, name)?;
                let target = Target {
                    path: &path,
                    compression: how.compress.unwrap_or_else(|| Compression::of(&path)),
                    is_forced: how.force,
                };
                let (hooks, label) = (to_stderr(), how.snapshot.as_ref());
                let written = into_file(target, &mut |to| {
                    volume::archive::export(host, name, label, to, &hooks, &Silent)
                })?;
                Ok(i64::try_from(written.entries).unwrap_or(i64::MAX))
            })
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("volume \"{}\"", this.0))
        });
    }
}

/// What a new volume is to be like.
pub(in crate::lua) fn said(word: &str, table: Option<&Table>) -> mlua::Result<Volume> {
    match table {
        Some(table) => options(word, table, &schema::VOLUME),
        None => Ok(Volume::default()),
    }
}

/// What `volume:set` changes: `"max"` takes a limit away.
pub(in crate::lua) fn change(lua: &Lua, table: &Table) -> mlua::Result<Change> {
    let (mut lifted, rest) = (Vec::new(), lua.create_table()?);
    for pair in table.pairs::<Value, Value>() {
        match pair? {
            (Value::String(key), Value::String(value))
                if value.as_bytes() == b"max".as_slice()
                    && [b"size".as_slice(), b"inodes"].contains(&&*key.as_bytes()) =>
            {
                lifted.push(key.to_string_lossy());
            }
            (key, value) => rest.raw_set(key, value)?,
        }
    }
    let wanted: Volume = options("set", &rest, &schema::VOLUME)?;
    let is_lifted = |key: &str| lifted.iter().any(|name| name == key);
    Ok(Change {
        size: if is_lifted("size") {
            Some(None)
        } else {
            wanted.size.map(Some)
        },
        inodes: if is_lifted("inodes") {
            Some(None)
        } else {
            wanted.inodes.map(Some)
        },
        storage: wanted.storage,
    })
}
