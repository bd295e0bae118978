//! `hostel repl`: a script's state that is given a chunk at a time.

mod complete;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mlua::{Function, Lua, Value};
use nix::sys::signal::Signal;

pub use complete::{Word, Words};

use super::api::Signalled;
use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::script::{self, Args, Failed, Script};
use super::state::{Source, State};
use super::vm::Vm;
use crate::sys::interrupt;

/// What is there from the start.
const START: &str = "hostel = require \"hostel\"\ninspect = require \"hostel.inspect\"\n";

/// A state, and how often it was asked.
pub struct Repl {
    vm: Vm,
    inspect: Function,
    count: usize,
}

impl Repl {
    /// A fresh state, in this directory.
    pub fn new() -> Result<Self, Failed> {
        let state = Rc::new(RefCell::new(State {
            folder: PathBuf::from("."),
            ..State::default()
        }));
        let internal = |source: mlua::Error| {
            let message = format!("make a Lua state: {source}");
            Failed::from(Diagnostics::one(Diagnostic::new(Code::Child, message, None)))
        };
        let vm = script::machine(state, &Args::default()).map_err(internal)?;
        let start = || {
            vm.lua.load(START).set_name("=stdlib-lua/repl").exec()?;
            vm.lua.globals().get("inspect")
        };
        let inspect = start().map_err(internal)?;
        Ok(Self {
            vm,
            inspect,
            count: 0,
        })
    }

    /// What can be asked while a line is written.
    pub fn words(&self) -> Words {
        Words::of(self.vm.lua.clone())
    }

    /// Runs a chunk or an expression; gives its values as texts.
    ///
    /// # Errors
    /// What is wrong, and where: the first chunk is called `[1]`.
    pub fn eval(&mut self, text: &str) -> Result<Vec<String>, Failed> {
        self.count += 1;
        // As the Lua of old had it.
        let text = text.trim_start().strip_prefix('=').unwrap_or(text);
        let values = self.run(&format!("[{}]", self.count), text, true)?;
        let mut shown = Vec::new();
        for value in values {
            let asked = self.vm.ask(&self.inspect, value);
            let mut asked = asked.map_err(|error| self.failed(&error))?;
            if let Some(Value::String(text)) = asked.pop_front() {
                shown.push(text.to_string_lossy());
            }
        }
        Ok(shown)
    }

    /// Runs a file.
    pub fn load(&mut self, file: &Path) -> Result<(), Failed> {
        let script = Script::read(file)?;
        self.script(&script.name, &script.text)
    }

    /// Runs a text as a script.
    pub fn script(&mut self, name: &str, text: &str) -> Result<(), Failed> {
        let text = if text.starts_with('#') {
            format!("--{text}")
        } else {
            text.to_owned()
        };
        self.run(name, &text, false).map(drop)
    }

    fn run(&self, name: &str, text: &str, is_typed: bool) -> Result<mlua::MultiValue, Failed> {
        // A Ctrl-C of the last line is none of this one's.
        if interrupt::pending() == Some(Signal::SIGINT) {
            interrupt::forget();
        }
        {
            let mut state = self.vm.state.borrow_mut();
            state.frames.clear();
            state.sources.push(Source::new(name, text));
        }
        let outcome = match compile(&self.vm.lua, name, text, is_typed) {
            Ok(function) => self.vm.ask(&function, ()),
            Err(error) => Err(Value::Error(Box::new(error))),
        };
        outcome.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &Value) -> Failed {
        let failed = script::failed(&self.vm, error);
        if let Some(signalled) = self.vm.lua.app_data_ref::<Signalled>() {
            signalled.0.set(None);
        }
        failed
    }
}

/// A chunk; what was typed may be an expression.
fn compile(lua: &Lua, name: &str, text: &str, is_typed: bool) -> mlua::Result<Function> {
    let load = |text: &str| {
        lua.load(text)
            .set_name(format!("@{name}"))
            .set_mode(mlua::chunk::ChunkMode::Text)
            .into_function()
    };
    if is_typed && let Ok(function) = load(&format!("return {text}")) {
        return Ok(function);
    }
    load(text)
}

/// Whether more has to be written before it means anything.
fn is_incomplete(lua: &Lua, text: &str) -> bool {
    let text = text.trim_start().strip_prefix('=').unwrap_or(text);
    match compile(lua, "[0]", text, true) {
        Err(mlua::Error::SyntaxError { incomplete_input, .. }) => {
            // `= 1 +` is no chunk and an expression that goes on.
            let is_open = |text: String| {
                matches!(
                    lua.load(text).into_function(),
                    Err(mlua::Error::SyntaxError {
                        incomplete_input: true,
                        ..
                    })
                )
            };
            incomplete_input || is_open(format!("return {text}"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(repl: &mut Repl, text: &str) -> Vec<String> {
        repl.eval(text)
            .unwrap_or_else(|failed| panic!("{}", failed.diagnostics.render(false)))
    }

    #[test]
    fn expressions_are_shown_and_globals_stay() {
        let mut repl = Repl::new().unwrap_or_else(|failed| panic!("{}", failed.diagnostics.render(false)));
        assert_eq!(ok(&mut repl, "6 * 7"), ["42"]);
        assert_eq!(ok(&mut repl, "= 6, 'x'"), ["6", "\"x\""]);
        assert!(ok(&mut repl, "web = { b = 1, a = { 2 } }").is_empty());
        assert_eq!(ok(&mut repl, "web"), ["{ a = { 2 }, b = 1 }"]);
        assert_eq!(ok(&mut repl, "nil"), ["nil"]);
        assert!(ok(&mut repl, "-- nothing").is_empty());
    }

    #[test]
    fn a_mistake_has_the_place_of_its_own_chunk() {
        let mut repl = Repl::new().unwrap_or_else(|failed| panic!("{}", failed.diagnostics.render(false)));
        let failed = repl.eval("f = function()\n  error 'x'\nend f()").unwrap_err();
        let text = failed.diagnostics.render(false);
        assert!(text.contains("--> [1]:2:"), "{text}");
        // Nothing of it is left in the next.
        let text = repl.eval("local = 1").unwrap_err().diagnostics.render(false);
        assert!(text.contains("--> [2]:1:") && !text.contains("[1]"), "{text}");
        let text = repl.eval("nothing.x").unwrap_err().diagnostics.render(false);
        assert!(
            text.contains("[3]:1:") && text.contains("global 'nothing'"),
            "{text}"
        );
    }

    #[test]
    fn what_goes_on_is_told_from_what_is_wrong() {
        let lua = Lua::new();
        for text in ["for i = 1, 2 do", "f {", "= 1 +", "1 +", "x = [[a", "x ="] {
            assert!(is_incomplete(&lua, text), "{text}");
        }
        for text in ["x = 1", "x = = 1", "}", "f { }", "1 + 1", "= 1"] {
            assert!(!is_incomplete(&lua, text), "{text}");
        }
    }
}
