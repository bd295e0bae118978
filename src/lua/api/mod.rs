//! `require "hostel"` in a script: the primitives and the verbs, one kind of thing a file. They work as the operator
//! does, at once.
//!
//! A mistake of the script's is raised at its line. What is not there, or not in the state that a call needs, is
//! `nil, err` where that can be expected; everything else is raised too, and `pcall` gives the same `err`.

mod apply;
mod command;
mod confine;
pub(super) mod context;
mod failure;
pub(super) mod guest;
mod streams;
mod take;

use mlua::{Lua, Table};

pub(super) use failure::{Failure, Signalled, caught, interrupted};

/// The module.
pub(super) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.set("version", env!("CARGO_PKG_VERSION"))?;
    context::register(lua, &module)?;
    guest::register(lua, &module)?;
    module.set("apply", lua.create_function(apply::apply)?)?;
    Ok(module)
}
