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

pub(super) fn add<M: UserDataMethods<Handle>>(methods: &mut M) {
    methods.add_method("clone", |lua, this, (name, table): (Value, Option<Table>)| {
        let name: GuestName = text("clone", "the name", &name)?
            .parse()
            .map_err(|invalid: Invalid| mistake("clone", invalid.message))?;
        let differences: Differences = match &table {
            Some(table) => options("clone", table, &schema::CLONE)?,
            None => Differences::default(),
        };
        let options = CloneOptions {
            xid: differences.xid,
            hostname: differences.hostname,
            addresses: differences.address,
            storage: differences.storage,
        };
        act(lua, "clone", |host| {
            let applied = clone::clone(host, &this.name, &name, options, &to_stderr(), &Silent)?;
            Ok(Handle {
                name,
                xid: Some(applied.xid),
            })
        })
    });
    methods.add_method("convert", |lua, this, storage: Value| {
        let storage: Storage = text("convert", "the storage", &storage)?
            .parse()
            .map_err(|invalid: Invalid| mistake("convert", invalid.message))?;
        act(lua, "convert", |host| {
            convert::convert(host, &this.name, storage, &Silent)
        })
    });
}
