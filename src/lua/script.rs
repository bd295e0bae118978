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

/// A script's text, and what it is called.
#[derive(Debug, Clone)]
pub struct Script {
    /// As it is named in messages: its path, or `embedded:NAME`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What a shipped script is called in messages and journals, before its name.
const EMBEDDED: &str = "embedded:";

/// The scripts that hostel ships.
pub(super) const SHIPPED: &[(&str, &str)] = &[
    ("backup", include_str!("../../scripts/backup.lua")),
    ("clone", include_str!("../../scripts/clone.lua")),
    ("replace", include_str!("../../scripts/replace.lua")),
    (
        "rolling-restart",
        include_str!("../../scripts/rolling-restart.lua"),
    ),
];

/// Where the operator's own scripts are.
const SCRIPTS: &str = "/etc/hostel/scripts";

impl Script {
    /// The script of this file.
    pub fn read(file: &Path) -> Result<Self, Diagnostics> {
        Ok(Self {
            name: file.display().to_string(),
            text: trusted(file)?,
        })
    }

    /// The script that is meant: a file, or a name that is looked for as `scripts/NAME.lua`, in /etc/hostel/scripts,
    /// and among those that hostel ships.
    pub fn find(given: &Path) -> Result<Self, Diagnostics> {
        let name = given.to_string_lossy();
        if let Some(name) = name.strip_prefix(EMBEDDED) {
            return Self::shipped(name).ok_or_else(|| unknown(name));
        }
        if given.components().count() != 1 || given.exists() {
            return Self::read(given);
        }
        let here = Path::new("scripts").join(given).with_extension("lua");
        if here.exists() {
            // The folder was not chosen by who typed the name: its scripts must be of somebody who could become him.
            let owner = std::fs::metadata(&here).map_or(u32::MAX, |meta| meta.uid());
            if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
                let message = format!("`{}` belongs to user {owner}", here.display());
                let diagnostic = Diagnostic::new(Code::Read, message, None);
                let help = format!("name it by its path if you trust it: ./{}", here.display());
                return Err(Diagnostics::one(diagnostic.with_help(Some(help))));
            }
            return Self::read(&here);
        }
        let there = Path::new(SCRIPTS).join(given).with_extension("lua");
        if there.exists() {
            return Self::read(&there);
        }
        if given.extension().is_some() {
            return Self::read(given);
        }
        Self::shipped(&name).ok_or_else(|| unknown(&name))
    }

    fn shipped(name: &str) -> Option<Self> {
        let (name, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
        Some(Self {
            name: format!("{EMBEDDED}{name}"),
            text: (*text).to_owned(),
        })
    }

    /// Every script that can be run by its name: the name, where it is, what its first line says.
    pub fn list() -> Vec<(String, String, String)> {
        let mut found: Vec<(String, String, String)> = Vec::new();
        let mut add = |name: String, place: String, text: &str| {
            if !found.iter().any(|(known, ..)| *known == name) {
                found.push((name, place, about(text)));
            }
        };
        for dir in ["scripts", SCRIPTS] {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|end| end == "lua")
                    && let Some(name) = path.file_stem().and_then(|name| name.to_str())
                    && let Ok(text) = super::source::read(&path)
                {
                    add(name.to_owned(), path.display().to_string(), &text);
                }
            }
        }
        for (name, text) in SHIPPED {
            add((*name).to_owned(), "hostel".to_owned(), text);
        }
        found.sort();
        found
    }

    /// Whether its text speaks of workflows. Only such a one may be run to find out what its arguments are.
    pub fn is_workflow(&self) -> bool {
        self.text.contains("hostel.flow")
    }

    /// The comment at its beginning.
    pub fn comment(&self) -> String {
        let lines = self.text.lines().skip_while(|line| line.starts_with("#!"));
        let lines = lines.map_while(|line| line.strip_prefix("--"));
        let mut text = String::new();
        for line in lines {
            text.push_str(line.trim_start_matches('-').trim_start_matches(' '));
            text.push('\n');
        }
        text
    }

    /// The SHA-256 of what `name` of a journal's sources is now; `None` when it cannot be read.
    pub(super) fn hash_of(name: &str) -> Option<String> {
        let text = match name.strip_prefix(EMBEDDED) {
            Some(name) => Self::shipped(name)?.text,
            None => super::source::read(Path::new(name)).ok()?,
        };
        Some(evaluate::sha256(text.as_bytes()))
    }

    /// A source's name as a journal has it: it does not depend on where hostel is run.
    pub(super) fn lasting(name: &str) -> String {
        if name.starts_with(EMBEDDED) {
            return name.to_owned();
        }
        std::path::absolute(name).map_or_else(|_| name.to_owned(), |path| path.display().to_string())
    }
}

fn about(text: &str) -> String {
    let first = text
        .lines()
        .find(|line| !line.starts_with("#!"))
        .unwrap_or_default();
    let first = first.trim_start_matches('-').trim();
    first.chars().filter(|c| !c.is_control()).collect()
}

fn unknown(name: &str) -> Diagnostics {
    let names = Script::list();
    let message = format!("there is no script `{}`", name.escape_debug());
    let help = match crate::guest::caps::nearest(name, names.iter().map(|(name, ..)| name.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`hostel run` without a name lists them; a file has a `/` or an ending".to_owned(),
    };
    Diagnostics::one(Diagnostic::new(Code::Read, message, None).with_help(Some(help)))
}

/// A script that has run to its end, and what it returned.
pub struct Loaded {
    pub(super) vm: Vm,
    pub(super) script: Script,
    pub(super) returned: Value,
}

/// Runs the script of a file, and the workflow if it returns one.
pub fn run(file: &Path, args: &Args) -> Result<(), Failed> {
    load(&Script::read(file)?, args).map(drop)
}

/// Runs a script.
pub fn load(script: &Script, args: &Args) -> Result<Loaded, Failed> {
    let file = Path::new(&script.name);
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let state = Rc::new(RefCell::new(State {
        folder,
        ..State::default()
    }));
    let internal = |source: mlua::Error| fail(Code::Child, format!("make a Lua state: {source}"));
    let vm = machine(Rc::clone(&state), args).map_err(internal)?;
    let source = Source::new(script.name.clone(), script.text.clone());
    let function = source.load(&vm.lua, None);
    state.borrow_mut().sources.push(source);
    let outcome = match function {
        Ok(function) => vm.ask(
            &function,
            args.words.iter().cloned().collect::<mlua::Variadic<String>>(),
        ),
        Err(error) => Err(Value::Error(Box::new(error))),
    };
    match outcome {
        Ok(mut returned) => Ok(Loaded {
            returned: returned.pop_front().unwrap_or(Value::Nil),
            script: script.clone(),
            vm,
        }),
        Err(error) => Err(failed(&vm, &error)),
    }
}

/// What ended a script.
pub(super) fn failed(vm: &Vm, error: &Value) -> Failed {
    let signalled = vm.lua.app_data_ref::<Signalled>();
    Failed {
        diagnostics: Diagnostics::one(evaluate::describe(vm, error, &EvalOptions::default())),
        signal: signalled.and_then(|signalled| signalled.0.get()),
    }
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
    lua.set_app_data(api::Deadline::default());
    lua.set_app_data(api::flow::Planning::default());
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
    host.set("packed", vm.unlined.packed.clone())?;
    require::own(&vm.lua, "script.lua")?.call::<()>(host.clone())?;
    vm.lua
        .set_named_registry_value(api::RAW_PCALL, host.get::<mlua::Function>("pcall")?)?;
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
        return chunk(lua, shared, Source::new(path.display().to_string(), text));
    }
    if let Some(module) = api::native(lua, name)? {
        let module = lua.create_function(move |_, ()| Ok(module.clone()))?;
        return Ok((Value::Function(module), Some(name.to_owned())));
    }
    if let Some(text) = require::STDLIB
        .get_file(&relative)
        .and_then(|file| file.contents_utf8())
        && name.starts_with("hostel.")
    {
        return chunk(lua, shared, Source::own(&relative, text));
    }
    let looked: Vec<String> = places
        .iter()
        .map(|path| format!("no file `{}`", path.display()))
        .collect();
    let why = lua.create_string(looked.join("\n\t"))?;
    Ok((Value::String(why), None))
}

fn chunk(lua: &Lua, shared: &Shared, source: Source) -> mlua::Result<(Value, Option<String>)> {
    let function = source.load(lua, None)?;
    let shown = source.shown.clone();
    shared.borrow_mut().sources.push(source);
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
