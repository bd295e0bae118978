//! The Lua state of a recipe: its libraries, its bounds and its words.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use super::diagnostic::Code;
use super::read::{At, Mistake, Reader, described};
use super::state::{Declared, Frame, Layer, Raised, State};
use super::value::Node;
use super::words::{AppendList, GuestRef, SecretRef, TemplateRef, UnsetMark};
use super::{EvalOptions, require};
use crate::guest::GuestName;
use crate::guest::caps::nearest;
use crate::guest::schema::GUEST;

/// The version of the recipe language.
pub(crate) const API: i64 = 1;

/// How many instructions pass between two looks at the budget: seldom enough to cost nothing.
const STRIDE: u32 = 10_000;

/// What a recipe may print; more is cut.
const LINES: usize = 1000;

pub(crate) type Shared = Rc<RefCell<State>>;

/// A state with the environment of recipes.
pub(crate) struct Vm {
    pub(crate) lua: Lua,
    pub(crate) environment: Table,
    pub(crate) state: Shared,
    xpcall: Function,
    /// Calls a function without its results: mlua's `xpcall` makes no room for what it adds to many.
    without_results: Function,
}

fn without_results(lua: &Lua) -> mlua::Result<Function> {
    let function: Function = lua.load("return function(f, ...) f(...) end").eval()?;
    // Without its names: a trace is to say nothing of it.
    let stripped = function.dump(true);
    lua.load(stripped)
        .set_mode(mlua::chunk::ChunkMode::Binary)
        .into_function()
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
            if file.starts_with("stdlib-lua/") {
                return None;
            }
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

impl Vm {
    /// A fresh state. `state` says where its recipe is.
    pub(crate) fn new(options: &EvalOptions, state: Shared) -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::UTF8;
        // A panic of hostel's own must not become a Lua error that a recipe can catch.
        let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false))?;
        let raw = lua.globals();
        let xpcall: Function = raw.get("xpcall")?;
        let host = host_functions(&lua, &state)?;
        let (environment, words): (Table, Table) = lua
            .load(require::SANDBOX)
            .set_name("@stdlib-lua/sandbox.lua")
            .call((&raw, host))?;
        add_words(&lua, &words, &state)?;
        require::add(&lua, &words, &environment, &state)?;
        // Nothing holds Lua's own globals any more but the closures of the sandbox.
        let vm = Self {
            without_results: without_results(&lua)?,
            lua,
            environment,
            state,
            xpcall,
        };
        vm.bound(options)?;
        Ok(vm)
    }

    /// A state that bounds nothing, for scripts.
    pub(crate) fn of(lua: Lua, state: Shared) -> mlua::Result<Self> {
        let environment = lua.globals();
        let xpcall = environment.get("xpcall")?;
        Ok(Self {
            without_results: without_results(&lua)?,
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
        let triggers = HookTriggers::new().every_nth_instruction(STRIDE);
        self.lua.set_global_hook(triggers, move |lua, _| {
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
            all.push_back(Value::Function(self.without_results.clone()));
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

fn host_functions(lua: &Lua, state: &Shared) -> mlua::Result<Table> {
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
    Ok(host)
}

/// Every word of a recipe, for suggestions.
const WORDS: &[&str] = &[
    "append",
    "assert",
    "error",
    "getmetatable",
    "guest",
    "input",
    "ipairs",
    "math",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawlen",
    "require",
    "requires",
    "secret",
    "select",
    "setmetatable",
    "string",
    "table",
    "template",
    "tonumber",
    "tostring",
    "type",
    "unset",
    "utf8",
    "xpcall",
];

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
        None => nearest(name, WORDS.iter().copied()).map(|near| format!("did you mean `{near}`?")),
    };
    let mut raised = Raised::new(Code::UnknownWord, format!("unknown word `{name}`")).word(name);
    raised.help = help;
    raised
}

fn add_words(lua: &Lua, words: &Table, state: &Shared) -> mlua::Result<()> {
    for is_guest in [true, false] {
        let shared = Rc::clone(state);
        let word = lua.create_function(move |lua, name: Value| declare(lua, &shared, &name, is_guest))?;
        words.raw_set(if is_guest { "guest" } else { "template" }, word)?;
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
        lua.create_function(move |lua, (name, default): (Value, Value)| input(lua, &shared, &name, default))?,
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
                state.output.push(parts.join("\t"));
            }
            Ok(())
        })?,
    )?;
    Ok(())
}

/// `guest "web"`: the name is kept, and a function waits for the body.
fn declare(lua: &Lua, shared: &Shared, name: &Value, is_guest: bool) -> mlua::Result<Function> {
    let word = if is_guest { "guest" } else { "template" };
    let Value::String(text) = name else {
        let help = format!("write `{word} \"name\" {{ ... }}`");
        let message = format!("`{word}` takes a name first, not {}", described(name));
        return Err(Raised::new(Code::WrongType, message).help(help).word(word).into());
    };
    let name = text.to_string_lossy();
    let (file, line) = caller(lua);
    let index = {
        let mut state = shared.borrow_mut();
        let layer = u32::try_from(state.layers.len()).map_err(mlua::Error::external)?;
        if let Err(invalid) = name.parse::<GuestName>() {
            let place = state.word_place(&file, line, &name);
            let diagnostic = super::Diagnostic::new(Code::BadValue, invalid.message, place);
            state.diagnostics.push(diagnostic.with_help(invalid.hint));
        }
        state.layers.push(Layer {
            is_guest,
            name: name.clone(),
            file,
            line,
        });
        let all = if is_guest {
            &mut state.guests
        } else {
            &mut state.templates
        };
        all.push(Declared { layer, merged: None });
        all.len() - 1
    };
    let shared = Rc::clone(shared);
    lua.create_function(move |lua, body: Value| {
        read_body(lua, &shared, index, is_guest, &body)?;
        if is_guest {
            lua.create_userdata(GuestRef(name.clone()))
        } else {
            lua.create_userdata(TemplateRef(index, name.clone()))
        }
    })
}

fn read_body(lua: &Lua, shared: &Shared, index: usize, is_guest: bool, body: &Value) -> mlua::Result<()> {
    let word = if is_guest { "guest" } else { "template" };
    let Value::Table(table) = body else {
        let message = format!("`{word}` takes a table after its name, not {}", described(body));
        let help = format!("write `{word} \"name\" {{ ... }}`");
        return Err(Raised::new(Code::WrongType, message).help(help).word(word).into());
    };
    let (file, line) = caller(lua);
    let from = inherited(table)?;
    let mut state = shared.borrow_mut();
    let state = &mut *state;
    let layer = {
        let all = if is_guest { &state.guests } else { &state.templates };
        let Some(declared) = all.get(index) else {
            return Ok(());
        };
        if declared.merged.is_some() {
            return Err(Raised::new(Code::DuplicateName, "this name has its body already")
                .word(word)
                .into());
        }
        declared.layer
    };
    if let Some(layer) = state.layers.get_mut(layer as usize) {
        // The line of the body, from which its keys are looked for.
        (layer.file, layer.line) = (file, line);
    }
    let own = Reader::new(layer, &mut state.mistakes, &mut state.functions).read_record(table, &GUEST);
    let mut merged: Option<Node> = None;
    for template in from {
        let Some(node) = state.templates.get(template).and_then(|t| t.merged.as_ref()) else {
            continue;
        };
        match &mut merged {
            Some(below) => below.merge(node, Some(&crate::guest::schema::Type::Record(&GUEST))),
            None => merged = Some(node.clone()),
        }
    }
    let merged = match merged {
        Some(mut below) => {
            below.merge(&own, Some(&crate::guest::schema::Type::Record(&GUEST)));
            below
        }
        None => own,
    };
    let all = if is_guest {
        &mut state.guests
    } else {
        &mut state.templates
    };
    if let Some(declared) = all.get_mut(index) {
        declared.merged = Some(merged);
    }
    Ok(())
}

/// The templates of `from`, lowest first. What is no template is reported when the body is read.
fn inherited(body: &Table) -> mlua::Result<Vec<usize>> {
    let number = |value: &Value| match value {
        Value::UserData(data) => data.borrow::<TemplateRef>().ok().map(|t| t.0),
        _ => None,
    };
    Ok(match body.raw_get::<Value>("from")? {
        Value::Table(list) => {
            let mut found = Vec::new();
            for index in 1..=list.raw_len() {
                found.extend(number(&list.raw_get::<Value>(index)?));
            }
            found
        }
        one => number(&one).into_iter().collect(),
    })
}

fn input(lua: &Lua, shared: &Shared, name: &Value, default: Value) -> mlua::Result<Value> {
    let Value::String(text) = name else {
        let message = format!("`input` takes a name, not {}", described(name));
        return Err(Raised::new(Code::Input, message).word("input").into());
    };
    let name = text.to_string_lossy();
    let given = {
        let mut state = shared.borrow_mut();
        state.declared_inputs.insert(name.clone());
        state.inputs.get(&name).cloned()
    };
    let Some(given) = given else {
        if default.is_nil() {
            return Err(
                Raised::new(Code::Input, format!("the input `{name}` is not given"))
                    .help(format!("pass `--input {name}=VALUE`"))
                    .word(name)
                    .into(),
            );
        }
        return Ok(default);
    };
    let wrong = |what: &str| {
        mlua::Error::from(
            Raised::new(
                Code::Input,
                format!("the input `{name}` is {what}, not `{}`", given.escape_debug()),
            )
            .word(name.clone()),
        )
    };
    match default {
        Value::Integer(_) => given
            .parse()
            .ok()
            .map(Value::Integer)
            .ok_or_else(|| wrong("a whole number")),
        Value::Number(_) => given
            .parse()
            .ok()
            .map(Value::Number)
            .ok_or_else(|| wrong("a number")),
        Value::Boolean(_) => given
            .parse()
            .ok()
            .map(Value::Boolean)
            .ok_or_else(|| wrong("`true` or `false`")),
        _ => lua.create_string(&given).map(Value::String),
    }
}

/// `requires { hostel = ">=0.1", api = 1 }`.
fn requires(versions: &Value) -> mlua::Result<()> {
    let fail = |message: String, help: &str| {
        Err(Raised::new(Code::Requires, message)
            .help(help)
            .word("requires")
            .into())
    };
    let form = "write `requires { hostel = \">=0.1\", api = 1 }`";
    let Value::Table(table) = versions else {
        return fail(
            format!("`requires` takes a table, not {}", described(versions)),
            form,
        );
    };
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let key = match &key {
            Value::String(key) => key.to_string_lossy(),
            other => described(other),
        };
        match (key.as_str(), &value) {
            ("api", Value::Integer(n)) if *n == API => {}
            ("api", Value::Integer(n)) => {
                return fail(
                    format!("the recipe is of api {n}, this hostel reads api {API}"),
                    "use another hostel",
                );
            }
            ("hostel", Value::String(text)) => {
                let text = text.to_string_lossy();
                let Some(oldest) = text.strip_prefix(">=").and_then(version) else {
                    return fail(format!("`{}` is no requirement", text.escape_debug()), form);
                };
                let here = env!("CARGO_PKG_VERSION");
                if version(here).is_some_and(|here| here < oldest) {
                    return fail(
                        format!("the recipe requires hostel {text}, this is {here}"),
                        "use a newer hostel",
                    );
                }
            }
            (key, _) => {
                return fail(
                    format!("`requires` does not know `{}` like this", key.escape_debug()),
                    form,
                );
            }
        }
    }
    Ok(())
}

/// `0.1.2` as numbers; what is left out is 0.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut numbers = [0; 3];
    let parts: Vec<&str> = text.trim().split('.').collect();
    if parts.len() > 3 {
        return None;
    }
    for (number, part) in numbers.iter_mut().zip(parts) {
        *number = part.parse().ok()?;
    }
    Some(numbers)
}

/// A mistake at the top of a body, found after the run.
pub(crate) fn late(
    layer: u32,
    path: Vec<String>,
    code: Code,
    message: String,
    help: Option<String>,
) -> Mistake {
    Mistake {
        code,
        message,
        path,
        at: At::Value,
        layer,
        help,
    }
}
