//! What is done with a guest's files: `clone`, `snapshot`, `rollback`, `export`, `import`, `convert`, `unify`.

use std::path::PathBuf;

use ipnet::IpNet;
use mlua::{IntoLua, IntoLuaMulti as _, Lua, LuaSerdeExt as _, Table, UserDataMethods, Value};
use serde::Deserialize;

use super::super::command;
use super::super::failure::{check, mistake, or_absent, text};
use super::super::stage::effect;
use super::super::take::options;
use super::{Handle, act};
use crate::guest::{Bytes, GuestName, Hostname, Invalid, Storage, Xid, schema};
use crate::life::Host;
use crate::life::clone::{self, CloneOptions};
use crate::life::export::{self, Compression, Target, What};
use crate::life::import::{self, ImportOptions};
use crate::life::unify::Direction;
use crate::life::{self, convert, snapshot};
use crate::lua::hooks::to_stderr;
use crate::storage::Silent;
use crate::storage::archive::Archive;
use crate::storage::snapshot::{Label, Snapshot};
use crate::storage::unify::{self, Paths};

#[derive(Deserialize, Default)]
struct Differences {
    #[serde(default)]
    address: Vec<IpNet>,
    hostname: Option<Hostname>,
    xid: Option<Xid>,
    storage: Option<Storage>,
}

/// What a clone does not have from its source.
pub(in crate::lua) fn differences(table: Option<&Table>) -> mlua::Result<CloneOptions> {
    let differences: Differences = match table {
        Some(table) => options("clone", table, &schema::CLONE)?,
        None => Differences::default(),
    };
    Ok(CloneOptions {
        xid: differences.xid,
        hostname: differences.hostname,
        addresses: differences.address,
        storage: differences.storage,
    })
}

#[derive(Deserialize, Default)]
struct Writing {
    compress: Option<Compression>,
    snapshot: Option<Label>,
    since: Option<Label>,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize, Default)]
struct Reading {
    name: Option<GuestName>,
    xid: Option<Xid>,
    storage: Option<Storage>,
    #[serde(default)]
    trust: bool,
    address: Option<IpNet>,
    onto: Option<GuestName>,
}

/// Adds `import` and `unify`.
pub(super) fn register(lua: &Lua, module: &Table) -> mlua::Result<()> {
    let import = lua.create_function(|lua, (path, table): (Value, Option<Table>)| {
        let given = text("import", "the file", &path)?;
        let path = PathBuf::from(&given);
        let how: Reading = match &table {
            Some(table) => options("import", table, &schema::IMPORT)?,
            None => Reading::default(),
        };
        let options = ImportOptions {
            name: how.name,
            xid: how.xid,
            storage: how.storage,
            address: how.address,
            is_trusted: how.trust,
        };
        check(lua)?;
        if let Some(answer) = effect(lua, "hostel.import", None, (given, table))? {
            return Ok(answer);
        }
        command::flush(lua);
        let imported = Host::open().and_then(|host| {
            if let Some(onto) = &how.onto {
                import::import_onto(&host, Archive::at(&path)?, onto, &Silent)?;
                return Ok(Handle {
                    name: onto.clone(),
                    xid: None,
                });
            }
            let applied = import::import(&host, Archive::at(&path)?, &options, &Silent)?;
            Ok(Handle {
                name: applied.spec.name,
                xid: Some(applied.xid),
            })
        });
        or_absent(lua, "import", imported)?.into_lua_multi(lua)
    })?;
    module.set("import", import)?;
    let unify = lua.create_function(|lua, table: Option<Table>| {
        let how: Sharing = match &table {
            Some(table) => options("unify", table, &schema::UNIFY)?,
            None => Sharing::default(),
        };
        let paths = Paths::new(&how.include, &how.exclude)
            .map_err(|invalid: Invalid| mistake("unify", invalid.message))?;
        check(lua)?;
        if let Some(answer) = effect(lua, "hostel.unify", None, table)? {
            return Ok(answer);
        }
        command::flush(lua);
        let direction = if how.undo {
            Direction::Undo
        } else {
            Direction::Share
        };
        let options = unify::Options {
            paths,
            is_dry: how.dry_run,
            is_full: how.full,
            min_size: how.min_size.unwrap_or(unify::MIN_SIZE),
            threads: std::thread::available_parallelism()
                .map_or(2, std::num::NonZero::get)
                .clamp(2, 8),
        };
        let shared = Host::open()
            .and_then(|host| life::unify::unify(&host, &how.guests, direction, &options, &Silent))
            .map(Shared);
        or_absent(lua, "unify", shared)?.into_lua_multi(lua)
    })?;
    module.set("unify", unify)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Sharing {
    guests: Vec<GuestName>,
    undo: bool,
    dry_run: bool,
    full: bool,
    min_size: Option<Bytes>,
    include: Vec<PathBuf>,
    exclude: Vec<PathBuf>,
}

/// What came of it as a table.
struct Shared(unify::Report);

impl IntoLua for Shared {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        lua.to_value(&self.0)
    }
}

#[derive(Deserialize, Default)]
struct Taking {
    name: Option<Label>,
    keep: Option<u64>,
}

fn label_of(word: &str, label: &Value) -> mlua::Result<Label> {
    text(word, "the snapshot", label)?
        .parse()
        .map_err(|invalid: Invalid| mistake(word, invalid.message))
}

/// Snapshots as a table.
struct All(Vec<Snapshot>);

impl IntoLua for All {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        lua.to_value(&self.0)
    }
}

pub(super) fn add<M: UserDataMethods<Handle>>(methods: &mut M) {
    methods.add_method("clone", |lua, this, (name, table): (Value, Option<Table>)| {
        let name: GuestName = text("clone", "the name", &name)?
            .parse()
            .map_err(|invalid: Invalid| mistake("clone", invalid.message))?;
        let options = differences(table.as_ref())?;
        act(lua, this, "clone", (name.as_str(), table), |host| {
            let applied = clone::clone(host, &this.name, &name, options, &to_stderr(), &Silent)?;
            Ok(Handle {
                name: name.clone(),
                xid: Some(applied.xid),
            })
        })
    });
    methods.add_method("snapshot", |lua, this, table: Option<Table>| {
        let taking: Taking = match &table {
            Some(table) => options("snapshot", table, &schema::SNAPSHOT)?,
            None => Taking::default(),
        };
        act(lua, this, "snapshot", table, |host| {
            let keep = taking.keep.and_then(|keep| usize::try_from(keep).ok());
            let label = taking.name.as_ref();
            snapshot::snapshot(host, &this.name, label, keep, &to_stderr(), &Silent)
                .map(|taken| taken.label.as_str().to_owned())
        })
    });
    methods.add_method("snapshots", |lua, this, ()| {
        act(lua, this, "snapshots", (), |host| {
            snapshot::list(host, &this.name).map(All)
        })
    });
    methods.add_method("remove_snapshot", |lua, this, label: Value| {
        let label = label_of("remove_snapshot", &label)?;
        act(lua, this, "remove_snapshot", label.as_str(), |host| {
            snapshot::remove(host, &this.name, &label).map(|()| true)
        })
    });
    methods.add_method("rollback", |lua, this, label: Value| {
        let label = label_of("rollback", &label)?;
        act(lua, this, "rollback", label.as_str(), |host| {
            snapshot::rollback(host, &this.name, &label, &Silent).map(|()| true)
        })
    });
    methods.add_method("export", |lua, this, (path, table): (Value, Option<Table>)| {
        let given = text("export", "the file", &path)?;
        let path = PathBuf::from(&given);
        let how: Writing = match &table {
            Some(table) => options("export", table, &schema::EXPORT)?,
            None => Writing::default(),
        };
        act(lua, this, "export", (given, table), |host| {
            let what = What {
                snapshot: how.snapshot.clone(),
                since: how.since.clone(),
            };
            let written = export::to_file(
                host,
                &this.name,
                &what,
                Target {
                    path: &path,
                    compression: how.compress.unwrap_or_else(|| Compression::of(&path)),
                    is_forced: how.force,
                },
                &to_stderr(),
                &Silent,
            )?;
            Ok(i64::try_from(written.entries).unwrap_or(i64::MAX))
        })
    });
    methods.add_method("convert", |lua, this, storage: Value| {
        let given = text("convert", "the storage", &storage)?;
        let storage: Storage = given
            .parse()
            .map_err(|invalid: Invalid| mistake("convert", invalid.message))?;
        act(lua, this, "convert", given, |host| {
            convert::convert(host, &this.name, storage, &Silent)
        })
    });
}
