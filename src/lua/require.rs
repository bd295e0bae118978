//! `require` of a recipe: modules of its own folder, and hostel's. Nothing else can be reached.

use std::rc::Rc;

use include_dir::{Dir, include_dir};
use mlua::chunk::{Chunk, ChunkMode};
use mlua::{Function, Lua, Table, Value};

use super::diagnostic::Code;
use super::read::described;
use super::source::{self, Found};
use super::state::{Loaded, Raised, Source};
use super::vm::Shared;

/// The text of hostel's own modules: for messages about them, and for what looks at them.
pub(crate) static STDLIB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/stdlib-lua");

/// The environment of recipes.
pub(crate) const SANDBOX: &str = include_str!("../../stdlib-lua/sandbox.lua");

/// All of hostel's own Lua by its path, parsed when hostel was built: src/lua/precompile.rs, docs/decisions/0028. Nothing
/// else is ever loaded in this form: Lua believes every word of it.
static PARSED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/stdlib.rs"));

/// Where hostel's own Lua is, as its chunks are named.
pub(crate) const OWN: &str = "stdlib-lua/";

/// A file of hostel's own Lua by its path below stdlib-lua, to be loaded; its chunk is called `=stdlib-lua/PATH`.
pub(crate) fn own(lua: &Lua, path: &str) -> mlua::Result<Chunk<'static>> {
    let found = PARSED.binary_search_by_key(&path, |(known, _)| known);
    let index = found.map_err(|_none| mlua::Error::runtime(format!("there is no stdlib-lua/{path}")))?;
    Ok(lua.load(PARSED[index].1).set_mode(ChunkMode::Binary))
}

/// What calls the functions of others and leaves no line of its own: stdlib-lua/unlined.lua says what each is for.
pub(crate) struct Unlined {
    /// Packs the results: `packed(table.pack, f, ...)`.
    pub(crate) packed: Function,
    /// Forgets them.
    pub(crate) forgotten: Function,
    /// Hands them on.
    pub(crate) kept: Function,
}

/// Makes them.
pub(crate) fn unlined(lua: &Lua) -> mlua::Result<Unlined> {
    let (packed, forgotten, kept) = own(lua, "unlined.lua")?.call(())?;
    Ok(Unlined {
        packed,
        forgotten,
        kept,
    })
}

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
    let refused = |what: &str| {
        let raised = Raised::new(Code::Require, format!("`{name}` {what}"));
        Err(raised.word(name).into())
    };
    match shared.borrow().loaded.get(name) {
        Some(Loaded::Done(value)) => return Ok(value.clone()),
        Some(Loaded::Begun) => return refused("requires itself"),
        Some(Loaded::Failed) => return refused("was required before, and failed"),
        None => {}
    }
    if super::api::PURE.contains(&name)
        && let Some(module) = super::api::native(lua, name)?
    {
        let value = Value::Table(module);
        remember(shared, name, Loaded::Done(value.clone()));
        return Ok(value);
    }
    let source = find(shared, name)?;
    remember(shared, name, Loaded::Begun);
    let function = source.load(lua, Some(environment));
    // Also when it is no Lua: its mistake is shown in it.
    shared.borrow_mut().sources.push(source);
    let result = function.and_then(|function| function.call::<Value>(name));
    match result {
        Ok(result) => {
            let value = if result.is_nil() {
                Value::Boolean(true)
            } else {
                result
            };
            remember(shared, name, Loaded::Done(value.clone()));
            Ok(value)
        }
        Err(error) => {
            remember(shared, name, Loaded::Failed);
            Err(error)
        }
    }
}

fn remember(shared: &Shared, name: &str, what: Loaded) {
    shared.borrow_mut().loaded.insert(name.to_owned(), what);
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
            return Ok(Source::own(&relative, text));
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
        return Ok(Source::new(path, text).shown_as(shown));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// By the Lua that is linked, from the text that messages show, with lines and names but of the one file.
    #[test]
    fn what_is_shipped_parsed_is_the_text() {
        let lua = Lua::new();
        let mut paths = Vec::new();
        let mut folders = vec![&STDLIB];
        while let Some(folder) = folders.pop() {
            folders.extend(folder.dirs());
            for file in folder.files() {
                let path = file.path().to_str().unwrap();
                let text = lua
                    .load(file.contents_utf8().unwrap())
                    .set_name(format!("={OWN}{path}"));
                let parsed = text.into_function().unwrap().dump(path == "unlined.lua");
                let shipped = PARSED.iter().find(|(known, _)| *known == path).unwrap().1;
                assert!(parsed == shipped, "{path}");
                own(&lua, path).unwrap().into_function().unwrap();
                paths.push(path);
            }
        }
        assert_eq!(PARSED.len(), paths.len());
        assert!(own(&lua, "nothing.lua").is_err());
    }

    /// Lua would believe it.
    #[test]
    fn nothing_of_a_users_is_taken_parsed() {
        let lua = Lua::new();
        let parsed = lua.load("return 1").into_function().unwrap().dump(false);
        // A file like this is refused when it is read, for its NULs and as no UTF-8; here nobody has looked at it.
        let text: String = parsed.iter().map(|byte| char::from(*byte)).collect();
        let source = Source::new("web.lua", text);
        let err = source.load(&lua, None).unwrap_err().to_string();
        assert!(err.contains("attempt to load a binary chunk"), "{err}");
    }
}
