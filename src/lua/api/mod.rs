//! `require "hostel"` in a script: the primitives, one module a file. They work as the operator does, at once.

pub(super) mod context;
mod take;

use mlua::{Lua, Table};

/// The module.
pub(super) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.set("version", env!("CARGO_PKG_VERSION"))?;
    context::register(lua, &module)?;
    Ok(module)
}
