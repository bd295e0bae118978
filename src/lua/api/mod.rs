//! `require "hostel"` in a script: the primitives and the verbs, one kind of thing a file. They work as the operator
//! does, at once.
//!
//! A mistake of the script's is raised at its line. What is not there, or not in the state that a call needs, is
//! `nil, err` where that can be expected; everything else is raised too, and `pcall` gives the same `err`.

mod apply;
pub(super) mod arguments;
mod command;
mod confine;
pub(super) mod context;
mod deadline;
mod exec;
mod failure;
pub(super) mod flow;
pub(super) mod fs;
pub(super) mod guest;
mod http;
pub(super) mod json;
mod program;
pub(super) mod stage;
mod streams;
mod take;
pub(super) mod tcp;
mod time;
mod toml;
pub(super) mod volume;

use mlua::{Lua, Table};

pub(super) use deadline::Deadline;
pub(super) use exec::OPTIONS as EXEC_OPTIONS;
pub(super) use failure::{Failure, Signalled, caught, interrupted};
pub(super) use http::OPTIONS as HTTP_OPTIONS;
pub(super) use program::cannot_run;
pub(super) use streams::MOST;

/// The module.
pub(super) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.set("version", env!("CARGO_PKG_VERSION"))?;
    context::register(lua, &module)?;
    guest::register(lua, &module)?;
    volume::register(lua, &module)?;
    module.set("apply", lua.create_function(apply::apply)?)?;
    Ok(module)
}

pub(super) use time::{rfc3339_now, rfc3339_of};

/// Where Lua's own `pcall` is kept, from which nothing is hidden.
pub(super) const RAW_PCALL: &str = "hostel.pcall";

/// The modules that need nothing but Lua, and are for recipes too.
pub(super) const PURE: [&str; 4] = ["hostel.json", "hostel.net", "hostel.template", "hostel.toml"];

/// A module of Rust by its name, such as `hostel.json`.
pub(super) fn native(lua: &Lua, name: &str) -> mlua::Result<Option<Table>> {
    Ok(Some(match name {
        "hostel.flow.core" => flow::module(lua)?,
        "hostel.json" => json::module(lua)?,
        "hostel.time" => time::module(lua)?,
        "hostel.exec" => exec::module(lua)?,
        "hostel.fs" => fs::module(lua)?,
        "hostel.http" => http::module(lua)?,
        "hostel.tcp" => tcp::module(lua)?,
        "hostel.toml" => toml::module(lua)?,
        _ => return Ok(None),
    }))
}
