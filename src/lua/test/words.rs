//! What `hostel.test` asks of hostel: the module `hostel.test.host`, which only test files have.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::file::Skipped;
use super::golden::{self, Compared};
use super::tree::{File, Group, Mode, Shared, Test};
use super::{hook, host, recipe, rehearsal};
use crate::Kind;
use crate::guest::Bytes;
use crate::lua::diagnostic::Code;
use crate::lua::read::described;
use crate::lua::state::Raised;
use crate::lua::vm::{Vm, caller};

/// What the tests of one file may print; more is cut.
const LINES: usize = 10_000;

/// A word of `hostel.test` that is used wrongly, at the test's own line.
pub(super) fn misuse(word: &str, message: impl std::fmt::Display) -> mlua::Error {
    Raised::new(Code::TestMisuse, format!("{word}: {message}"))
        .word(word)
        .kind(Kind::Usage)
        .into()
}

pub(super) fn add(vm: &Vm, shared: &Shared) -> mlua::Result<()> {
    let lua = &vm.lua;
    let module = lua.create_table()?;
    declarations(lua, &module, shared)?;
    expectations(lua, &module, shared)?;
    recipes(lua, &module, shared)?;
    rehearsal::add(vm, &module, shared)?;
    lua.register_module("hostel.test.host", module)?;
    // What a test prints is shown with it.
    let file = Rc::clone(shared);
    let show: Function = lua.globals().get("tostring")?;
    let print = lua.create_function(move |_, values: MultiValue| {
        let mut parts = Vec::new();
        for value in values {
            parts.push(show.call::<mlua::LuaString>(value)?.to_string_lossy());
        }
        let mut file = file.borrow_mut();
        if file.output.len() < LINES {
            file.output.push(parts.join("\t"));
        }
        Ok(())
    })?;
    lua.globals().set("print", print)?;
    Ok(())
}

fn name(word: &str, name: &Value) -> mlua::Result<String> {
    match name {
        Value::String(text) if !text.to_string_lossy().trim().is_empty() => Ok(text.to_string_lossy()),
        Value::String(_) => Err(misuse(word, "the name is empty")),
        other => Err(misuse(
            word,
            format!("takes a name first, not {}", described(other)),
        )),
    }
}

fn body(word: &str, body: Value) -> mlua::Result<Function> {
    match body {
        Value::Function(function) => Ok(function),
        other => Err(misuse(
            word,
            format!("takes a function, not {}", described(&other)),
        )),
    }
}

/// Nothing can be declared once tests run: it would never run itself.
fn declaring<'a>(word: &str, shared: &'a Shared) -> mlua::Result<std::cell::RefMut<'a, File>> {
    let file = shared.borrow_mut();
    if file.is_running {
        return Err(misuse(word, "cannot stand inside a test"));
    }
    Ok(file)
}

fn declarations(lua: &Lua, module: &Table, shared: &Shared) -> mlua::Result<()> {
    let file = Rc::clone(shared);
    let begin = lua.create_function(move |_, (title, inside): (Value, Value)| {
        let (title, inside) = (name("describe", &title)?, body("describe", inside)?);
        let mut file = declaring("describe", &file)?;
        let parent = file.open;
        file.groups.push(Group {
            name: Some(title),
            parent: Some(parent),
            ..Group::default()
        });
        file.open = file.groups.len() - 1;
        Ok((inside, parent))
    })?;
    module.set("begin", begin)?;
    let file = Rc::clone(shared);
    let end = lua.create_function(move |_, parent: usize| {
        file.borrow_mut().open = parent;
        Ok(())
    })?;
    module.set("close", end)?;
    for (word, mode) in [("it", Mode::Plain), ("only", Mode::Only), ("skip", Mode::Skip)] {
        let file = Rc::clone(shared);
        let declare = lua.create_function(move |lua, (title, inside): (Value, Value)| {
            let title = name(word, &title)?;
            if mode == Mode::Skip && file.borrow().is_running && inside.is_nil() {
                return Err(mlua::Error::external(Skipped(title)));
            }
            let inside = match inside {
                Value::Nil if mode == Mode::Skip => None,
                other => Some(body(word, other)?),
            };
            let at = caller(lua);
            let mut file = declaring(word, &file)?;
            let group = file.open;
            if file
                .tests
                .iter()
                .any(|test| test.group == group && test.name == title)
            {
                return Err(misuse(
                    word,
                    format!("there is a test `{}` here already", title.escape_debug()),
                ));
            }
            file.tests.push(Test {
                group,
                name: title,
                mode,
                body: inside,
                at,
            });
            Ok(())
        })?;
        module.set(word, declare)?;
    }
    for (word, is_before) in [("before_each", true), ("after_each", false)] {
        let file = Rc::clone(shared);
        let declare = lua.create_function(move |_, function: Value| {
            let function = body(word, function)?;
            let mut file = declaring(word, &file)?;
            let open = file.open;
            let group = &mut file.groups[open];
            if is_before {
                group.before.push(function);
            } else {
                group.after.push(function);
            }
            Ok(())
        })?;
        module.set(word, declare)?;
    }
    let file = Rc::clone(shared);
    let at_end = lua.create_function(move |_, (word, function): (String, Function)| {
        let mut file = file.borrow_mut();
        if !file.is_running {
            return Err(misuse(&word, "stands inside a test, or in `before_each`"));
        }
        file.ends.push(function);
        Ok(())
    })?;
    module.set("at_end", at_end)
}

fn expectations(lua: &Lua, module: &Table, shared: &Shared) -> mlua::Result<()> {
    let file = Rc::clone(shared);
    module.set(
        "looked",
        lua.create_function(move |_, ()| {
            file.borrow_mut().looks += 1;
            Ok(())
        })?,
    )?;
    module.set(
        "fail",
        lua.create_function(
            |lua, (word, message, notes, code): (String, String, Option<Vec<String>>, Option<String>)| {
                let code = code
                    .and_then(|code| Code::parse(&code))
                    .unwrap_or(Code::Expectation);
                let mut raised = Raised::new(code, message).word(word).kind(Kind::Invalid);
                raised.notes = notes.unwrap_or_default();
                raised.at = Some(caller(lua)).filter(|(file, _)| !file.is_empty());
                if code == Code::Golden {
                    raised = raised.help("if the new is right: `hostel test --bless`");
                }
                Err::<(), _>(raised.into())
            },
        )?,
    )?;
    module.set(
        "misuse",
        lua.create_function(|_, (word, message, help): (String, String, Option<String>)| {
            let mut raised = Raised::new(Code::TestMisuse, message)
                .word(word)
                .kind(Kind::Usage);
            raised.help = help;
            Err::<(), _>(raised.into())
        })?,
    )?;
    module.set(
        "nearest",
        lua.create_function(|_, (name, known): (String, Vec<String>)| {
            Ok(crate::guest::caps::nearest(&name, known.iter().map(String::as_str)).map(str::to_owned))
        })?,
    )?;
    module.set("amount", lua.create_function(|_, value: Value| amount(&value))?)?;
    let file = Rc::clone(shared);
    module.set(
        "golden",
        lua.create_function(move |_, (name, text): (String, String)| {
            if !golden::is_name(&name) {
                let message = format!("`{}` is no name of a golden file", name.escape_debug());
                return Err(misuse("golden", message));
            }
            let compared = golden::compare(&mut file.borrow_mut(), &name, &text)
                .map_err(|source| misuse("golden", format!("the golden file `{name}`: {source}")))?;
            Ok(match compared {
                Compared::Same => (true, None, None),
                Compared::Differs(why, notes) => (false, Some(why), Some(notes)),
            })
        })?,
    )
}

/// A size in bytes or a number of processors, as a recipe has it.
fn amount(value: &Value) -> mlua::Result<f64> {
    let text = match value {
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => return Ok(*number),
        Value::String(text) => text.to_string_lossy(),
        other => return Err(misuse("fit", format!("{} is no amount", described(other)))),
    };
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let bytes: Bytes = text
        .parse()
        .map_err(|invalid: crate::guest::Invalid| misuse("fit", invalid.message))?;
    // Sizes are shown and compared, and a float holds those of today's hosts exactly.
    #[allow(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
    Ok(bytes.0 as f64)
}

fn recipes(lua: &Lua, module: &Table, shared: &Shared) -> mlua::Result<()> {
    let file = Rc::clone(shared);
    module.set(
        "eval",
        lua.create_function(move |lua, (path, options): (Value, Option<Table>)| {
            recipe::eval(lua, &file, &path, options.as_ref())
        })?,
    )?;
    let file = Rc::clone(shared);
    module.set(
        "diagnostics",
        lua.create_function(move |lua, (path, options): (Value, Option<Table>)| {
            recipe::diagnostics(lua, &file, &path, options.as_ref())
        })?,
    )?;
    module.set("plan", lua.create_function(recipe::plan)?)?;
    module.set("fake_host", lua.create_function(host::fake_host)?)?;
    let file = Rc::clone(shared);
    module.set(
        "hook",
        lua.create_function(move |lua, args| hook::hook(lua, &file, args))?,
    )
}
