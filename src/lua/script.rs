//! `hostel run FILE`: a script of primitives. It runs as the operator, with Lua's own libraries but `debug` and C
//! modules; errors have the form of a recipe's.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mlua::{HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};
use nix::sys::signal::Signal;

use super::api::{self, Signalled};
use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::state::{Raised, Source, State};
use super::vm::{self, Shared, Vm};
use super::{EvalOptions, evaluate, require};
use crate::sys::interrupt;

/// How many instructions pass between two looks for a signal.
const STRIDE: u32 = 10_000;

/// Where the operator's own modules are.
const SYSTEM: &str = "/etc/hostel/lua";

/// What a script is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    /// `flags`: `--name=value`, `--name value`, or `--name` alone, which is `true`.
    pub flags: Vec<(String, Option<String>)>,
    /// `args` and `...`: the rest.
    pub words: Vec<String>,
}

impl Args {
    /// Reads what follows the script's name. `--plan` never takes the word behind it; `--` ends the flags.
    pub fn parse(given: &[String]) -> Self {
        let mut args = Self::default();
        let mut rest = given.iter().peekable();
        while let Some(word) = rest.next() {
            let Some(flag) = word.strip_prefix("--") else {
                args.words.push(word.clone());
                continue;
            };
            if flag.is_empty() {
                args.words.extend(rest.cloned());
                break;
            }
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None if flag == "plan" => (flag, None),
                None => (flag, rest.next_if(|next| !next.starts_with('-')).cloned()),
            };
            args.flags.push((name.replace('-', "_"), value));
        }
        args
    }
}

/// Why a script ended early.
#[derive(Debug)]
pub struct Failed {
    /// What is wrong, and where.
    pub diagnostics: Diagnostics,
    /// The signal that ended it, if one did.
    pub signal: Option<Signal>,
}

impl From<Diagnostics> for Failed {
    fn from(diagnostics: Diagnostics) -> Self {
        Self {
            diagnostics,
            signal: None,
        }
    }
}

fn fail(code: Code, message: String) -> Diagnostics {
    Diagnostics::one(Diagnostic::new(code, message, None))
}

/// Runs a script.
pub fn run(file: &Path, args: &Args) -> Result<(), Failed> {
    let text = trusted(file)?;
    let name = file.display().to_string();
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let state = Rc::new(RefCell::new(State {
        sources: vec![Source {
            name: name.clone(),
            text: text.clone(),
            is_own: false,
        }],
        folder,
        ..State::default()
    }));
    let internal = |source: mlua::Error| fail(Code::Child, format!("make a Lua state: {source}"));
    let vm = machine(Rc::clone(&state), args).map_err(internal)?;
    let chunk = vm
        .lua
        // A script that is run by its path begins with `#!`.
        .load(if text.starts_with('#') {
            format!("--{text}")
        } else {
            text
        })
        .set_name(format!("@{name}"))
        .set_mode(mlua::chunk::ChunkMode::Text);
    let outcome = match chunk.into_function() {
        Ok(function) => vm.call(
            &function,
            args.words.iter().cloned().collect::<mlua::Variadic<String>>(),
        ),
        Err(error) => Err(Value::Error(Box::new(error))),
    };
    outcome.map_err(|error| Failed {
        diagnostics: Diagnostics::one(evaluate::describe(&vm, &error, &EvalOptions::default())),
        signal: vm
            .lua
            .app_data_ref::<Signalled>()
            .and_then(|signalled| signalled.0.get()),
    })
}

/// The text of a file. Whoever can write what root runs is root.
pub(super) fn trusted(file: &Path) -> Result<String, Diagnostics> {
    let shown = file.display();
    let text = super::source::read(file).map_err(|message| fail(Code::Read, message))?;
    let meta = std::fs::metadata(file)
        .map_err(|source| fail(Code::Read, format!("read `{shown}`: {}", source.kind())))?;
    let is_root = nix::unistd::geteuid().is_root();
    if is_root && meta.mode() & 0o022 != 0 {
        let diagnostic = Diagnostic::new(Code::Read, format!("`{shown}` can be written by others"), None);
        return Err(Diagnostics::one(
            diagnostic.with_help(Some(format!("chmod go-w {shown}"))),
        ));
    }
    Ok(text)
}

/// The state of a script.
pub(super) fn machine(state: Shared, args: &Args) -> mlua::Result<Vm> {
    let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::new().catch_rust_panics(false))?;
    lua.set_app_data(Signalled::default());
    let globals = lua.globals();
    let package: Table = globals.get("package")?;
    // No C modules: they could do anything to this process.
    package.set("cpath", "")?;
    package.set("path", "")?;
    package.set("loadlib", Value::Nil)?;
    let searchers: Table = package.get("searchers")?;
    let preload: Value = searchers.get(1)?;
    let shared = Rc::clone(&state);
    let find = lua.create_function(move |lua, name: String| search(lua, &shared, &name))?;
    package.set("searchers", [preload, Value::Function(find)])?;
    lua.register_module("hostel", api::module(&lua)?)?;

    let flags = lua.create_table()?;
    for (name, value) in &args.flags {
        match value {
            Some(value) => flags.set(name.as_str(), value.as_str())?,
            None => flags.set(name.as_str(), true)?,
        }
    }
    globals.set("flags", flags)?;
    globals.set("args", args.words.clone())?;
    globals.set("arg", args.words.clone())?;

    // Before `xpcall` is replaced: the machine itself catches everything.
    let vm = Vm::of(lua, state)?;
    let host = vm.lua.create_table()?;
    host.set("caught", vm.lua.create_function(api::caught)?)?;
    let text = require::STDLIB
        .get_file("script.lua")
        .and_then(|file| file.contents_utf8())
        .unwrap_or_default();
    vm.lua
        .load(text)
        .set_name("@stdlib-lua/script.lua")
        .call::<()>(host)?;
    vm::fill_pool(&vm.lua)?;
    let triggers = HookTriggers::new().every_nth_instruction(STRIDE);
    vm.lua
        .set_global_hook(triggers, |lua, _| match interrupt::pending() {
            None => Ok(VmState::Continue),
            Some(signal) => Err(api::interrupted(lua, signal)),
        })?;
    Ok(vm)
}

/// `require "lib.web"`: beside the script, in its `lib`, in /etc/hostel/lua, then hostel's own.
fn search(lua: &Lua, shared: &Shared, name: &str) -> mlua::Result<(Value, Option<String>)> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if !name.split('.').all(is_part) {
        let why = lua.create_string("not a module's name")?;
        return Ok((Value::String(why), None));
    }
    let relative = format!("{}.lua", name.replace('.', "/"));
    let folder = shared.borrow().folder.clone();
    let places = [
        folder.join(&relative),
        folder.join("lib").join(&relative),
        Path::new(SYSTEM).join(&relative),
    ];
    for path in &places {
        if !path.exists() {
            continue;
        }
        let text = trusted(path).map_err(|diagnostics| {
            let first = diagnostics.0.first();
            let mut raised = Raised::new(
                Code::Require,
                first.map_or_else(String::new, |first| first.message.clone()),
            );
            raised.help = first.and_then(|first| first.help.clone());
            mlua::Error::from(raised.word(name))
        })?;
        return chunk(lua, shared, path.display().to_string(), text, false);
    }
    if let Some(text) = require::STDLIB
        .get_file(&relative)
        .and_then(|file| file.contents_utf8())
        && name.starts_with("hostel.")
    {
        return chunk(
            lua,
            shared,
            format!("stdlib-lua/{relative}"),
            text.to_owned(),
            true,
        );
    }
    let looked: Vec<String> = places
        .iter()
        .map(|path| format!("no file `{}`", path.display()))
        .collect();
    let why = lua.create_string(looked.join("\n\t"))?;
    Ok((Value::String(why), None))
}

fn chunk(
    lua: &Lua,
    shared: &Shared,
    shown: String,
    text: String,
    is_own: bool,
) -> mlua::Result<(Value, Option<String>)> {
    let function = lua
        .load(&text)
        .set_name(format!("@{shown}"))
        .set_mode(mlua::chunk::ChunkMode::Text)
        .into_function()?;
    shared.borrow_mut().sources.push(Source {
        name: shown.clone(),
        text,
        is_own,
    });
    Ok((Value::Function(function), Some(shown)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_words_are_told_apart() {
        let parse = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Args::parse(&words)
        };
        let args = parse("one --guest web --plan two --to=beta --dry-run -- --three");
        let flag = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(
            args.flags,
            [
                flag("guest", Some("web")),
                flag("plan", None),
                flag("to", Some("beta")),
                flag("dry_run", None)
            ]
        );
        assert_eq!(args.words, ["one", "two", "--three"]);
    }
}
