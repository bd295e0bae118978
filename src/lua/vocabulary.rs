//! The words of a recipe beside Lua's own, and what is said of a word that is not there.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::declare::declare;
use super::diagnostic::Code;
use super::evaluate::shorten;
use super::input::input;
use super::order;
use super::read::described;
use super::registry;
use super::requires::requires;
use super::state::Raised;
use super::vm::Shared;
use super::words::{AppendList, SecretRef, UnsetMark};
use crate::guest::caps::nearest;

/// What a recipe may print; more is cut.
const LINES: usize = 1000;
const LONGEST_LINE: usize = 10_000;

pub(super) fn host_functions(lua: &Lua, state: &Shared) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    let shared = Rc::clone(state);
    host.set(
        "exhausted",
        lua.create_function(move |_, ()| Ok(shared.borrow().is_exhausted))?,
    )?;
    host.set(
        "unknown",
        lua.create_function(|_, (name, is_set): (Value, bool)| -> mlua::Result<()> {
            let name = match &name {
                Value::String(name) => name.to_string_lossy(),
                other => described(other),
            };
            Err(unknown_word(&name, is_set).into())
        })?,
    )?;
    host.set(
        "sorted",
        lua.create_function(|lua, keys: Table| order::keys(lua, &keys))?,
    )?;
    host.set("nan", f64::NAN)?;
    Ok(host)
}

/// Every word of a recipe, for suggestions: those of the registry.
fn recipe_words() -> impl Iterator<Item = &'static str> {
    let modules = registry::MODULES
        .iter()
        .filter(|m| m.is_global && m.places.recipes);
    let libraries = modules
        .map(|m| m.name)
        .filter(|name| !matches!(*name, "recipe" | "lua"));
    let words = registry::entries()
        .filter(|(module, entry)| entry.places.unwrap_or(module.places).recipes)
        .map(|(_, entry)| entry.name)
        .filter(|name| !name.contains(['.', ':']));
    words.chain(libraries)
}

/// What Lua has and a recipe has not, and what to do instead.
const MISSING: &[(&str, &str)] = &[
    (
        "io",
        "a recipe reads no files; put the text into it, or use `input`",
    ),
    (
        "os",
        "a recipe is the same everywhere; use `input` for what differs",
    ),
    ("next", "use `pairs`, which is sorted"),
    ("_G", "there are no globals; use `local`"),
    ("load", "use `require`"),
    ("loadstring", "use `require`"),
    ("dofile", "use `require`"),
    ("loadfile", "use `require`"),
    ("unpack", "it is `table.unpack`"),
    ("rawset", "assign instead"),
];

fn unknown_word(name: &str, is_set: bool) -> Raised {
    if is_set {
        return Raised::new(
            Code::UnknownWord,
            format!("`{name}` is not a local, and a recipe has no globals"),
        )
        .help(format!("write `local {name}`"))
        .word(name);
    }
    let help = match MISSING.iter().find(|(word, _)| *word == name) {
        Some((_, instead)) => Some((*instead).to_owned()),
        None => Some(match nearest(name, recipe_words()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("a text stands in quotes: `\"{name}\"`; a name of your own is a `local` first"),
        }),
    };
    let mut raised = Raised::new(Code::UnknownWord, format!("unknown word `{name}`")).word(name);
    raised.help = help;
    raised
}

pub(super) fn add_words(lua: &Lua, words: &Table, state: &Shared) -> mlua::Result<()> {
    for is_guest in [true, false] {
        let shared = Rc::clone(state);
        let word = if is_guest { "guest" } else { "template" };
        let function = lua.create_function(move |lua, (name, more): (Value, Value)| {
            if !more.is_nil() {
                let message = format!("`{word}` takes the name alone; its fields follow");
                return Err(Raised::new(Code::WrongType, message)
                    .help(format!(
                        "write `{word} \"name\" {{ ... }}`, or `{word}(name) {{ ... }}`"
                    ))
                    .word(word)
                    .into());
            }
            declare(lua, &shared, &name, is_guest)
        })?;
        words.raw_set(word, function)?;
    }
    words.raw_set("unset", lua.create_userdata(UnsetMark)?)?;
    words.raw_set(
        "append",
        lua.create_function(|lua, list: Value| match list {
            Value::Table(table) => lua.create_userdata(AppendList(table)),
            other => Err(Raised::new(
                Code::Append,
                format!("`append` takes a list, not {}", described(&other)),
            )
            .help("write `append { a, b }`")
            .word("append")
            .into()),
        })?,
    )?;
    words.raw_set(
        "secret",
        lua.create_function(|lua, name: Value| match &name {
            Value::String(text) if super::secret::is_name(&text.to_string_lossy()) => {
                lua.create_userdata(SecretRef(text.to_string_lossy()))
            }
            other => Err(Raised::new(
                Code::Secret,
                format!("`secret` takes a name, not {}", described(other)),
            )
            .help("letters, digits, `-`, `_`, `.` and `/`, such as \"web/db\"")
            .word("secret")
            .into()),
        })?,
    )?;
    let shared = Rc::clone(state);
    words.raw_set(
        "input",
        lua.create_function(move |lua, (name, more): (Value, Value)| input(lua, &shared, &name, &more))?,
    )?;
    words.raw_set(
        "requires",
        lua.create_function(|_, versions: Value| requires(&versions))?,
    )?;
    let shared = Rc::clone(state);
    let show: Function = words.raw_get("tostring")?;
    words.raw_set(
        "print",
        lua.create_function(move |_, values: MultiValue| {
            let mut parts = Vec::new();
            for value in values {
                parts.push(show.call::<mlua::LuaString>(value)?.to_string_lossy());
            }
            let mut state = shared.borrow_mut();
            if state.output.len() < LINES {
                state
                    .output
                    .push(shorten(&parts.join("\t"), LONGEST_LINE).into_owned());
            }
            Ok(())
        })?,
    )?;
    Ok(())
}
