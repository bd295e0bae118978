//! What is done with a guest's files: `clone`, `convert`.

use ipnet::IpNet;
use mlua::{Table, UserDataMethods, Value};
use serde::Deserialize;

use super::super::failure::{mistake, text};
use super::super::take::options;
use super::{Handle, act};
use crate::guest::{GuestName, Hostname, Invalid, Storage, Xid, schema};
use crate::life::clone::{self, CloneOptions};
use crate::life::convert;
use crate::lua::hooks::to_stderr;
use crate::storage::Silent;

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
