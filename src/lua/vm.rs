//! The Lua state of a recipe: its libraries and its bounds.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use super::diagnostic::Code;
use super::require::{self, Unlined};
use super::state::{Frame, Raised, State};
use super::{EvalOptions, vocabulary};
use crate::sys::lua_exact::seeded;

/// How many instructions pass between two looks at the budget: seldom enough to cost nothing.
const STRIDE: u32 = 10_000;

pub(crate) type Shared = Rc<RefCell<State>>;

/// A state with the environment of recipes.
pub(crate) struct Vm {
    pub(crate) lua: Lua,
    pub(crate) environment: Table,
    pub(crate) state: Shared,
    xpcall: Function,
    pub(super) unlined: Unlined,
}

/// How deep the stack is looked at. To ask for a level costs as much as it is deep, and a recursion that ran over
/// is hundreds of thousands of levels deep.
const DEEPEST: usize = 200;

/// The recipe's lines that are running, the innermost first, at most so many. hostel's own Lua is left out.
pub(crate) fn frames(lua: &Lua, most: usize) -> Vec<Frame> {
    let mut found = Vec::new();
    for level in 0..DEEPEST {
        if found.len() == most {
            break;
        }
        let frame = lua.inspect_stack(level, |debug| {
            let source = debug.source();
            let file = source.source.as_deref()?.strip_prefix('@')?.to_owned();
            let function = debug.names().name.map(std::borrow::Cow::into_owned);
            Some(Frame {
                file,
                line: debug.current_line()?,
                function,
            })
        });
        match frame {
            None => break,
            Some(frame) => found.extend(frame),
        }
    }
    found
}

pub(crate) fn caller(lua: &Lua) -> (String, usize) {
    frames(lua, 1)
        .into_iter()
        .next()
        .map_or_else(|| (String::new(), 0), |frame| (frame.file, frame.line))
}

/// How many calls into Rust may be under way, one in the other, when a hook raises.
const NESTED: u32 = 16;

/// Before a hook that may raise. mlua takes the object that carries an error from a pool; when the pool is empty it
/// makes one in the frame that runs, which in a hook are the registers of the Lua function: the value that is to be
/// closed was another one then ("attempt to call a nil value"). Each call into Rust leaves its object in the pool.
pub(super) fn fill_pool(lua: &Lua) -> mlua::Result<()> {
    let nest = lua.create_function(|_, (own, left): (Function, u32)| match left.checked_sub(1) {
        Some(left) => own.call::<()>((own.clone(), left)),
        None => Ok(()),
    })?;
    nest.call((nest.clone(), NESTED))
}

impl Vm {
    /// A fresh state. `state` says where its recipe is.
    pub(crate) fn new(options: &EvalOptions, state: Shared) -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::UTF8;
        // A panic of hostel's own must not become a Lua error that a recipe can catch.
        let lua = seeded(|| Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false)))?;
        let raw = lua.globals();
        let xpcall: Function = raw.get("xpcall")?;
        let unlined = require::unlined(&lua)?;
        let host = vocabulary::host_functions(&lua, &state)?;
        host.raw_set("packed", &unlined.packed)?;
        let (environment, words): (Table, Table) = require::own(&lua, "sandbox.lua")?.call((&raw, host))?;
        vocabulary::add_words(&lua, &words, &state)?;
        require::add(&lua, &words, &environment, &state)?;
        // Nothing holds Lua's own globals any more but the closures of the sandbox.
        let vm = Self {
            lua,
            environment,
            state,
            xpcall,
            unlined,
        };
        vm.bound(options)?;
        Ok(vm)
    }

    /// A state that bounds nothing, for scripts.
    pub(crate) fn of(lua: Lua, state: Shared) -> mlua::Result<Self> {
        let environment = lua.globals();
        let xpcall = environment.get("xpcall")?;
        Ok(Self {
            unlined: require::unlined(&lua)?,
            lua,
            environment,
            state,
            xpcall,
        })
    }

    /// Sets the memory limit and the instruction budget. The budget holds in every coroutine and cannot be caught.
    fn bound(&self, options: &EvalOptions) -> mlua::Result<()> {
        self.lua.set_memory_limit(options.memory)?;
        let state = Rc::clone(&self.state);
        let left = std::cell::Cell::new(options.instructions / u64::from(STRIDE));
        let mut triggers = HookTriggers::new().every_nth_instruction(STRIDE);
        triggers.every_line = options.coverage;
        fill_pool(&self.lua)?;
        self.lua.set_global_hook(triggers, move |lua, debug| {
            if debug.event() == mlua::debug::DebugEvent::Line {
                count_line(&state, debug);
                return Ok(VmState::Continue);
            }
            if let Some(rest) = left.get().checked_sub(1) {
                left.set(rest);
                return Ok(VmState::Continue);
            }
            let (file, line) = caller(lua);
            if let Ok(mut state) = state.try_borrow_mut() {
                state.is_exhausted = true;
            }
            let mut raised = Raised::new(Code::Budget, "the recipe runs too long")
                .help("a loop that does not end? A recipe describes; it does not compute");
            raised.at = Some((file, line));
            Err(raised.into())
        })
    }

    /// Takes the budget away: something else bounds what runs now.
    pub(crate) fn unbound(&self, coverage: bool) -> mlua::Result<()> {
        self.lua.remove_global_hook();
        if !coverage {
            return Ok(());
        }
        let state = Rc::clone(&self.state);
        self.lua
            .set_global_hook(HookTriggers::new().every_line(), move |_, debug| {
                count_line(&state, debug);
                Ok(VmState::Continue)
            })
    }

    /// Calls a function, forgets its results, and keeps the lines that were running when it failed.
    pub(crate) fn call(&self, function: &Function, args: impl mlua::IntoLuaMulti) -> Result<(), Value> {
        let state = Rc::clone(&self.state);
        let handler = self.lua.create_function(move |lua, error: Value| {
            if let Ok(mut state) = state.try_borrow_mut() {
                state.frames = frames(lua, 12);
            }
            Ok(error)
        });
        let run = || -> mlua::Result<MultiValue> {
            let mut all = MultiValue::new();
            all.push_back(Value::Function(self.unlined.forgotten.clone()));
            all.push_back(Value::Function(handler?));
            all.push_back(Value::Function(function.clone()));
            all.extend(args.into_lua_multi(&self.lua)?);
            self.xpcall.call(all)
        };
        match run() {
            Ok(mut results) => match results.pop_front() {
                Some(Value::Boolean(true)) => Ok(()),
                _ => Err(results.pop_front().unwrap_or(Value::Nil)),
            },
            Err(error) => Err(Value::Error(Box::new(error))),
        }
    }
}

/// Counts a line of the recipe's that is about to run.
fn count_line(state: &Shared, debug: &mlua::debug::Debug<'_>) {
    let source = debug.source();
    let file = source.source.as_deref().and_then(|name| name.strip_prefix('@'));
    if let (Some(file), Some(line)) = (file, debug.current_line())
        && let Ok(mut state) = state.try_borrow_mut()
    {
        let lines = match state.hits.get_mut(file) {
            Some(lines) => lines,
            None => state.hits.entry(file.to_owned()).or_default(),
        };
        *lines.entry(line).or_default() += 1;
    }
}

impl Vm {
    /// Calls a function as [`Vm::call`] does, and gives its results.
    pub(crate) fn ask(
        &self,
        function: &Function,
        args: impl mlua::IntoLuaMulti,
    ) -> Result<MultiValue, Value> {
        let kept: Rc<RefCell<MultiValue>> = Rc::default();
        let all = Rc::clone(&kept);
        let prepare = || -> mlua::Result<MultiValue> {
            let keep = self.lua.create_function(move |_, results: MultiValue| {
                *all.borrow_mut() = results;
                Ok(())
            })?;
            let mut given = MultiValue::new();
            given.push_back(Value::Function(keep));
            given.push_back(Value::Function(function.clone()));
            given.extend(args.into_lua_multi(&self.lua)?);
            Ok(given)
        };
        let given = prepare().map_err(|err| Value::Error(Box::new(err)))?;
        self.call(&self.unlined.kept, given)?;
        Ok(kept.take())
    }
}
