//! In the process of a test file: load it, then run what it declared, one test after the other.

use std::cell::RefCell;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use mlua::{Function, Value};

use super::child::millis;
use super::tree::{File, Mode, Shared};
use super::{Case, Done, Event, Options, Outcome, coverage, title, words};
use crate::lua::api::Signalled;
use crate::lua::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::lua::script::{self, Args};
use crate::lua::state::{Source, State};
use crate::lua::vm::Vm;
use crate::lua::{EvalOptions, evaluate};

/// Why a test gave up by itself: `t.skip "needs a network"`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("skipped: {0}")]
pub(super) struct Skipped(pub(super) String);

/// Runs the file and tells of it. The result is the exit status of its process.
pub(super) fn run(path: &Path, options: &Options, pipe: std::fs::File) -> i32 {
    let mut teller = Teller(pipe);
    match load(path, options) {
        Ok(loaded) => loaded.run(&mut teller),
        Err(diagnostics) => teller.tell(&Event::Broken(diagnostics)),
    }
}

struct Teller(std::fs::File);

impl Teller {
    /// Writes an event. 0, or the exit status when nobody reads any more.
    fn tell(&mut self, event: &Event) -> i32 {
        let Ok(mut line) = serde_json::to_vec(event) else {
            return 1;
        };
        line.push(b'\n');
        i32::from(self.0.write_all(&line).is_err())
    }
}

struct Loaded {
    vm: Vm,
    shared: Shared,
}

fn load(path: &Path, options: &Options) -> Result<Loaded, Diagnostics> {
    let text = script::trusted(path)?;
    let name = path.display().to_string();
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let state = Rc::new(RefCell::new(State {
        folder: folder.clone(),
        ..State::default()
    }));
    let internal = |source: mlua::Error| {
        let message = format!("make a Lua state: {source}");
        Diagnostics::one(Diagnostic::new(Code::Child, message, None))
    };
    let vm = script::machine(Rc::clone(&state), &Args::default()).map_err(internal)?;
    let file = File::new(path.to_owned(), folder, options.clone());
    let shared = Rc::new(RefCell::new(file));
    words::add(&vm, &shared).map_err(internal)?;
    if options.coverage {
        coverage::watch(&vm.lua, &shared).map_err(internal)?;
    }
    let loaded = Loaded { vm, shared };
    let source = Source::new(name.clone(), text);
    let function = source.load(&loaded.vm.lua, None);
    state.borrow_mut().sources.push(source);
    let outcome = match function {
        Ok(function) => loaded.vm.call(&function, ()),
        Err(error) => Err(Value::Error(Box::new(error))),
    };
    outcome.map_err(|error| Diagnostics::one(loaded.describe(&error)))?;
    if loaded.shared.borrow().tests.is_empty() {
        let diagnostic = Diagnostic::new(Code::NoTests, format!("`{name}` has no tests"), None);
        let help = "declare one: `t.it(\"does something\", function() ... end)`";
        return Err(Diagnostics::one(diagnostic.with_help(Some(help.to_owned()))));
    }
    Ok(loaded)
}

impl Loaded {
    fn describe(&self, error: &Value) -> Diagnostic {
        let diagnostic = evaluate::describe(&self.vm, error, &EvalOptions::default());
        self.vm.state.borrow_mut().frames.clear();
        diagnostic
    }

    fn run(&self, teller: &mut Teller) -> i32 {
        let (count, has_only) = {
            let mut file = self.shared.borrow_mut();
            file.is_running = true;
            (
                file.tests.len(),
                file.tests.iter().any(|test| test.mode == Mode::Only),
            )
        };
        let output = std::mem::take(&mut self.shared.borrow_mut().output);
        let mut done = Done {
            output,
            ..Done::default()
        };
        for index in 0..count {
            let (name, mode) = {
                let file = self.shared.borrow();
                let test = &file.tests[index];
                (file.name(test), test.mode)
            };
            let filter = self.shared.borrow().options.filter.clone();
            if filter.is_some_and(|filter| !title(&name).contains(&filter)) {
                continue;
            }
            if has_only && mode != Mode::Only {
                done.left_out += 1;
                continue;
            }
            if teller.tell(&Event::Began(name.clone())) != 0 {
                return 1;
            }
            let case = self.case(index, name, mode);
            if self.is_interrupted() {
                return 1;
            }
            if teller.tell(&Event::Ended(case)) != 0 {
                return 1;
            }
        }
        let mut file = self.shared.borrow_mut();
        done.blessed = std::mem::take(&mut file.blessed);
        done.hits = std::mem::take(&mut file.hits).0;
        teller.tell(&Event::Done(Box::new(done)))
    }

    fn is_interrupted(&self) -> bool {
        let signalled = self.vm.lua.app_data_ref::<Signalled>();
        signalled.is_some_and(|signalled| signalled.0.get().is_some())
    }

    fn case(&self, index: usize, name: Vec<String>, mode: Mode) -> Case {
        let began = Instant::now();
        let mut case = Case {
            name,
            outcome: Outcome::Passed,
            millis: 0,
            diagnostics: Diagnostics(Vec::new()),
            reason: None,
            output: Vec::new(),
        };
        let body = self.shared.borrow().tests[index].body.clone();
        match (mode, body) {
            (Mode::Skip, _) | (_, None) => case.outcome = Outcome::Skipped,
            (_, Some(body)) => self.body(index, &body, &mut case),
        }
        case.output = std::mem::take(&mut self.shared.borrow_mut().output);
        case.millis = millis(began);
        case
    }

    fn body(&self, index: usize, body: &Function, case: &mut Case) {
        let around = {
            let mut file = self.shared.borrow_mut();
            file.looks = 0;
            let group = file.tests[index].group;
            file.around(group)
        };
        let mut is_ready = true;
        for group in &around {
            let before = self.shared.borrow().groups[*group].before.clone();
            for function in before {
                is_ready = is_ready && self.call(&function, case);
            }
        }
        if is_ready {
            self.call(body, case);
        }
        for group in around.iter().rev() {
            let after = self.shared.borrow().groups[*group].after.clone();
            for function in after {
                self.call(&function, case);
            }
        }
        // What the test replaced is put back, the last first, whatever became of it.
        loop {
            let end = self.shared.borrow_mut().ends.pop();
            let Some(end) = end else { break };
            self.call(&end, case);
        }
        if case.outcome == Outcome::Passed && self.shared.borrow().looks == 0 {
            let (file, line) = self.shared.borrow().tests[index].at.clone();
            let place = self.vm.state.borrow().word_place(&file, line, "it");
            let diagnostic = Diagnostic::new(Code::NoExpectation, "the test expects nothing", place);
            let help = "say what is to hold: `t.expect(value):to_equal(other)`";
            case.diagnostics
                .0
                .push(diagnostic.with_help(Some(help.to_owned())));
            case.outcome = Outcome::Failed;
        }
    }

    /// Calls a function of the test; whether it came to its end.
    fn call(&self, function: &Function, case: &mut Case) -> bool {
        let Err(error) = self.vm.call(function, ()) else {
            return true;
        };
        if let Some(skipped) = skipped(&error) {
            self.vm.state.borrow_mut().frames.clear();
            if case.outcome == Outcome::Passed {
                case.outcome = Outcome::Skipped;
                case.reason = Some(skipped.0);
            }
            return false;
        }
        case.outcome = Outcome::Failed;
        case.diagnostics.0.push(self.describe(&error));
        false
    }
}

fn skipped(error: &Value) -> Option<Skipped> {
    let Value::Error(error) = error else {
        return None;
    };
    let mut at = error.as_ref();
    while let mlua::Error::CallbackError { cause, .. }
    | mlua::Error::BadArgument { cause, .. }
    | mlua::Error::WithContext { cause, .. } = at
    {
        at = cause;
    }
    at.downcast_ref::<Skipped>().cloned()
}
