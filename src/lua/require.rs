//! `require` of a recipe: modules of its own folder, and hostel's. Nothing else can be reached.

use std::rc::Rc;

use include_dir::{Dir, include_dir};
use mlua::{Lua, Table, Value};

use super::diagnostic::Code;
use super::read::described;
use super::source::{self, Found};
use super::state::{Raised, Source};
use super::vm::Shared;

/// hostel's own modules.
pub(crate) static STDLIB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/stdlib-lua");

/// The environment of recipes.
pub(crate) const SANDBOX: &str = include_str!("../../stdlib-lua/sandbox.lua");

/// Adds the word.
pub(crate) fn add(lua: &Lua, words: &Table, environment: &Table, state: &Shared) -> mlua::Result<()> {
    let shared = Rc::clone(state);
    let environment = environment.clone();
    let word = lua.create_function(move |lua, name: Value| match &name {
        Value::String(name) => load(lua, &shared, &environment, &name.to_string_lossy()),
        other => Err(Raised::new(
            Code::Require,
            format!("`require` takes a name, not {}", described(other)),
        )
        .word("require")
        .into()),
    })?;
    words.raw_set("require", word)
}

fn load(lua: &Lua, shared: &Shared, environment: &Table, name: &str) -> mlua::Result<Value> {
    match shared.borrow().loaded.get(name) {
        Some(Some(value)) => return Ok(value.clone()),
        Some(None) => {
            return Err(Raised::new(Code::Require, format!("`{name}` requires itself"))
                .word(name)
                .into());
        }
        None => {}
    }
    if super::api::PURE.contains(&name)
        && let Some(module) = super::api::native(lua, name)?
    {
        let value = Value::Table(module);
        let mut state = shared.borrow_mut();
        state.loaded.insert(name.to_owned(), Some(value.clone()));
        return Ok(value);
    }
    let source = find(shared, name)?;
    let chunk = lua
        .load(source.text.clone())
        .set_name(source.chunk())
        .set_environment(environment.clone());
    let chunk = chunk.set_mode(mlua::chunk::ChunkMode::Text);
    {
        let mut state = shared.borrow_mut();
        state.loaded.insert(name.to_owned(), None);
        state.sources.push(source);
    }
    let result: Value = chunk.into_function()?.call(name)?;
    let value = if result.is_nil() {
        Value::Boolean(true)
    } else {
        result
    };
    shared
        .borrow_mut()
        .loaded
        .insert(name.to_owned(), Some(value.clone()));
    Ok(value)
}

/// The source of a module.
fn find(shared: &Shared, name: &str) -> mlua::Result<Source> {
    if !source::is_module(name) {
        return Err(Raised::new(
            Code::Require,
            format!("`{}` is no module's name", name.escape_debug()),
        )
        .help("names of letters, digits, `_` and `-`, joined by dots: `lib.shops` is lib/shops.lua")
        .word(name)
        .into());
    }
    let relative = format!("{}.lua", name.replace('.', "/"));
    if name == "hostel" || name.starts_with("hostel.") {
        if super::api::PURE.contains(&name)
            && let Some(text) = STDLIB.get_file(&relative).and_then(|file| file.contents_utf8())
        {
            return Ok(Source::new(format!("stdlib-lua/{relative}"), text, true));
        }
        let known: Vec<String> = modules();
        return Err(Raised::new(
            Code::Require,
            format!("hostel has no module `{name}` for recipes"),
        )
        .help(format!("there is {}", known.join(", ")))
        .word(name)
        .into());
    }
    let found = shared
        .borrow()
        .modules
        .find(name)
        .map_err(|message| mlua::Error::from(Raised::new(Code::Require, message).word(name)))?;
    let prefix = shared.borrow().prefix.clone();
    if let Some(Found { path, text }) = found {
        let shown = format!("{prefix}{path}");
        return Ok(Source::new(path, text, false).shown_as(shown));
    }
    Err(Raised::new(Code::Require, format!("there is no module `{name}`"))
        .help(format!(
            "looked for {prefix}{relative} and {prefix}lib/{relative}"
        ))
        .word(name)
        .into())
}

/// hostel's own modules that recipes can require.
fn modules() -> Vec<String> {
    super::api::PURE.map(str::to_owned).to_vec()
}
