//! `require` of a recipe: modules of its own folder, and hostel's. Nothing else can be reached.

use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use include_dir::{Dir, include_dir};
use mlua::{Lua, Table, Value};

use super::diagnostic::Code;
use super::read::described;
use super::state::{Raised, Source};
use super::vm::Shared;

/// hostel's own modules.
pub(crate) static STDLIB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/stdlib-lua");

/// The environment of recipes.
pub(crate) const SANDBOX: &str = include_str!("../../stdlib-lua/sandbox.lua");

/// The largest source that is read.
pub(crate) const LARGEST: u64 = 16 << 20;

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
    match shared.borrow().modules.get(name) {
        Some(Some(value)) => return Ok(value.clone()),
        Some(None) => {
            return Err(Raised::new(Code::Require, format!("`{name}` requires itself"))
                .word(name)
                .into());
        }
        None => {}
    }
    let (shown, text, is_own) = find(shared, name)?;
    let chunk = lua
        .load(&text)
        .set_name(format!("@{shown}"))
        .set_environment(environment.clone());
    let chunk = chunk.set_mode(mlua::chunk::ChunkMode::Text);
    {
        let mut state = shared.borrow_mut();
        state.modules.insert(name.to_owned(), None);
        state.sources.push(Source {
            name: shown,
            text: text.clone(),
            is_own,
        });
    }
    let result: Value = chunk.into_function()?.call(name)?;
    let value = if result.is_nil() {
        Value::Boolean(true)
    } else {
        result
    };
    shared
        .borrow_mut()
        .modules
        .insert(name.to_owned(), Some(value.clone()));
    Ok(value)
}

/// The source of a module, and how it is named in messages.
fn find(shared: &Shared, name: &str) -> mlua::Result<(String, String, bool)> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if !name.split('.').all(is_part) {
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
        if let Some(text) = STDLIB.get_file(&relative).and_then(|file| file.contents_utf8()) {
            return Ok((format!("stdlib-lua/{relative}"), text.to_owned(), true));
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
    let (folder, prefix) = {
        let state = shared.borrow();
        (state.folder.clone(), state.prefix.clone())
    };
    for below in ["", "lib/"] {
        let inner = format!("{below}{relative}");
        let path = folder.join(&inner);
        if !path.exists() {
            continue;
        }
        let text = confined(&folder, &path)
            .and_then(|path| read_source(&path))
            .map_err(|message| mlua::Error::from(Raised::new(Code::Require, message).word(name)))?;
        return Ok((format!("{prefix}{inner}"), text, false));
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
    let mut names: Vec<String> = STDLIB
        .get_dir("hostel")
        .map(|dir| {
            dir.files()
                .filter_map(|f| f.path().file_stem())
                .map(|s| format!("hostel.{}", s.to_string_lossy()))
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// The real path, refused when a link leads out of the folder.
fn confined(folder: &Path, path: &Path) -> Result<PathBuf, String> {
    let real = path
        .canonicalize()
        .map_err(|source| format!("`{}`: {}", path.display(), source.kind()))?;
    let is_inside = real.starts_with(folder) && real.components().all(|c| c != Component::ParentDir);
    if is_inside {
        Ok(real)
    } else {
        Err(format!("`{}` leads out of the recipe's folder", path.display()))
    }
}

/// A source text: a regular file of valid UTF-8.
pub(crate) fn read_source(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|source| format!("read `{shown}`: {}", source.kind()))?;
    if !meta.is_file() {
        return Err(format!("read `{shown}`: not a file"));
    }
    if meta.len() > LARGEST {
        return Err(format!("read `{shown}`: larger than 16 MiB"));
    }
    let bytes = std::fs::read(path).map_err(|source| format!("read `{shown}`: {}", source.kind()))?;
    String::from_utf8(bytes).map_err(|source| {
        format!(
            "read `{shown}`: not UTF-8 at byte {}",
            source.utf8_error().valid_up_to()
        )
    })
}
