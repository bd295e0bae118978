//! `hostel run FILE`: a script of primitives. It runs as the operator, with Lua's own libraries but `debug` and C
//! modules; errors have the form of a recipe's.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::rc::Rc;

use mlua::{Lua, LuaOptions, StdLib, Table, Value};

use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::state::{Source, State};
use super::vm::Vm;
use super::{EvalOptions, api, evaluate, require};

/// Runs a script. `args` are its `...` and the global `arg`.
pub fn run(file: &Path, args: &[String]) -> Result<(), Diagnostics> {
    let fail = |code, message: String| Diagnostics::one(Diagnostic::new(code, message, None));
    let text = require::read_source(file).map_err(|message| fail(Code::Read, message))?;
    let shown = file.display();
    // Whoever can write a script that root runs is root.
    let mode = std::fs::metadata(file)
        .map_err(|source| fail(Code::Read, format!("read `{shown}`: {}", source.kind())))?
        .mode();
    if mode & 0o022 != 0 && nix::unistd::geteuid().is_root() {
        let diagnostic = Diagnostic::new(Code::Read, format!("`{shown}` can be written by others"), None);
        return Err(Diagnostics::one(
            diagnostic.with_help(Some(format!("chmod go-w {shown}"))),
        ));
    }
    let name = shown.to_string();
    let state = Rc::new(RefCell::new(State {
        sources: vec![Source {
            name: name.clone(),
            text: text.clone(),
            is_own: false,
        }],
        ..State::default()
    }));
    let internal = |source: mlua::Error| fail(Code::Child, format!("make a Lua state: {source}"));
    let vm = machine(Rc::clone(&state), args).map_err(internal)?;
    let chunk = vm
        .lua
        .load(&text)
        .set_name(format!("@{name}"))
        .set_mode(mlua::chunk::ChunkMode::Text);
    let outcome = match chunk.into_function() {
        Ok(function) => vm
            .call(
                &function,
                args.iter().cloned().collect::<mlua::Variadic<String>>(),
            )
            .map(drop),
        Err(error) => Err(Value::Error(Box::new(error))),
    };
    outcome.map_err(|error| Diagnostics::one(evaluate::describe(&vm, &error, &EvalOptions::default())))
}

fn machine(state: Rc<RefCell<State>>, args: &[String]) -> mlua::Result<Vm> {
    let libraries = StdLib::ALL_SAFE;
    let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false))?;
    let globals = lua.globals();
    let package: Table = globals.get("package")?;
    // No C modules: they could do anything to this process.
    package.set("cpath", "")?;
    package.set("loadlib", Value::Nil)?;
    lua.register_module("hostel", api::module(&lua)?)?;
    globals.set("arg", args.to_vec())?;
    Vm::of(lua, state)
}
