//! `t.hook("web.lua", "web", "pre_start")`: a hook of a recipe, with a handle that records instead of doing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::{
    Lua, LuaSerdeExt as _, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value, Variadic,
};
use serde_json::{Value as Json, json};

use super::recipe::{as_table, named};
use super::tree::Shared;
use super::words::misuse;
use crate::guest::HookMoment;
use crate::lua::diagnostic::Code;
use crate::lua::evaluate;
use crate::lua::hooks::{GUEST_METHODS, METHODS};
use crate::lua::read::described;
use crate::lua::state::Raised;

/// What the hook did, and what it is answered.
#[derive(Default)]
struct Record {
    calls: Vec<Json>,
    answers: BTreeMap<String, Vec<Json>>,
}

#[derive(Clone)]
struct Spy {
    guest: String,
    record: Rc<RefCell<Record>>,
}

impl Spy {
    /// Notes a call and gives what was laid ready for it: each answer once, the last one for ever.
    fn called(&self, lua: &Lua, name: &str, args: Variadic<Value>) -> mlua::Result<Value> {
        let args: Vec<Json> = args
            .into_iter()
            .map(|value| {
                let shown = described(&value);
                lua.from_value(value).unwrap_or(Json::String(shown))
            })
            .collect();
        let program = args.first().and_then(|list| list.get(0)).and_then(Json::as_str);
        let program = program.unwrap_or(name).to_owned();
        let mut record = self.record.borrow_mut();
        record.calls.push(json!({ "name": name, "args": args }));
        let answer = match record.answers.get_mut(name) {
            None => None,
            Some(answers) if answers.len() > 1 => Some(answers.remove(0)),
            Some(answers) => answers.first().cloned(),
        };
        let failed = |message: String| Raised::new(Code::Hook, message).word(name.to_owned());
        if let Some(message) = answer
            .as_ref()
            .and_then(|answer| answer.get("error"))
            .and_then(Json::as_str)
        {
            return Err(failed(message.to_owned()).into());
        }
        if name != "exec" {
            return answer.map_or(Ok(Value::Nil), |answer| lua.to_value(&answer));
        }
        // As the real one: a command that fails raises, with the last line of what it said.
        let answer = answer.unwrap_or(Json::Null);
        let text = |key: &str| answer.get(key).and_then(Json::as_str).unwrap_or_default();
        let code = answer.get("code").and_then(Json::as_i64).unwrap_or(0);
        if code != 0 {
            let tail = text("stderr")
                .trim_end()
                .lines()
                .next_back()
                .map_or_else(String::new, |l| format!(": {l}"));
            return Err(failed(format!("`{program}` failed (exit status: {code}){tail}")).into());
        }
        lua.to_value(&json!({ "code": code, "stdout": text("stdout"), "stderr": text("stderr") }))
    }
}

/// `h`.
pub(in crate::lua) struct SpyHandle(Spy);

/// `h.guest`.
pub(in crate::lua) struct SpyGuest(Spy);

impl UserData for SpyHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("guest", |_, this| Ok(SpyGuest(this.0.clone())));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        for name in METHODS {
            methods.add_method(*name, move |lua, this, args| this.0.called(lua, name, args));
        }
    }
}

impl UserData for SpyGuest {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |_, this| Ok(this.0.guest.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        for name in GUEST_METHODS {
            methods.add_method(*name, move |lua, this, args| this.0.called(lua, name, args));
        }
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("guest \"{}\"", this.0.guest))
        });
    }
}

/// `{ calls = { { name = "exec", args = { { "lvs" } } } }, log = { "..." }, error = { code = ..., message = ... } }`.
pub(super) fn hook(
    lua: &Lua,
    shared: &Shared,
    (recipe, guest, moment, options): (Value, String, String, Option<Table>),
) -> mlua::Result<Table> {
    let (answers, rest) = split(lua, options.as_ref())?;
    let mut named = named(shared, "hook", &recipe, rest.as_ref())?;
    named.options.isolated = false;
    let moment: HookMoment = serde_json::from_value(Json::String(moment.clone())).map_err(|_source| {
        let message = format!(
            "`{}` is no moment; there are pre_start, post_start, pre_stop, post_stop, pre_snapshot, post_snapshot",
            moment.escape_debug()
        );
        misuse("hook", message)
    })?;
    let run = evaluate::here(&named.path, &named.options)
        .map_err(|diagnostics| super::recipe::mistaken(&named, &diagnostics))?;
    let number = run.hooks.get(&(guest.clone(), moment));
    let function = number.and_then(|n| run.vm.state.borrow().functions.get(*n).cloned());
    let Some(function) = function else {
        let message = format!("guest `{}` has no hook `{moment}`", guest.escape_debug());
        return Err(misuse("hook", message));
    };
    shared.borrow_mut().looks += 1;
    // The time limit of the file bounds it from here on.
    run.vm
        .unbound(named.options.coverage)
        .map_err(|err| misuse("hook", err))?;
    let record = Rc::new(RefCell::new(Record {
        calls: Vec::new(),
        answers,
    }));
    let handle = SpyHandle(Spy {
        guest,
        record: Rc::clone(&record),
    });
    let outcome = run.vm.call(&function, handle);
    let done = lua.create_table()?;
    if let Err(error) = outcome {
        let diagnostic = evaluate::describe(&run.vm, &error, &named.options);
        done.set("error", as_table(lua, &diagnostic)?)?;
    }
    let mut file = shared.borrow_mut();
    file.hits.add(run.evaluated.hits);
    file.hits.add(run.vm.state.borrow_mut().take_hits());
    drop(file);
    let record = record.borrow();
    let (logged, calls): (Vec<&Json>, Vec<&Json>) =
        record.calls.iter().partition(|call| call["name"] == "log");
    let logged: Vec<&Json> = logged.iter().map(|call| &call["args"][0]).collect();
    done.set("log", lua.to_value(&logged)?)?;
    done.set("calls", lua.to_value(&calls)?)?;
    Ok(done)
}

type Answers = BTreeMap<String, Vec<Json>>;

/// `answers` apart from the options of an evaluation.
fn split(lua: &Lua, options: Option<&Table>) -> mlua::Result<(Answers, Option<Table>)> {
    let mut answers = Answers::new();
    let Some(options) = options else {
        return Ok((answers, None));
    };
    let rest = lua.create_table()?;
    for pair in options.pairs::<String, Value>() {
        let (key, value) = pair?;
        if key != "answers" {
            rest.raw_set(key, value)?;
            continue;
        }
        let given: BTreeMap<String, Json> = lua
            .from_value(value)
            .map_err(|source| misuse("hook", format!("`answers` is a table by name: {source}")))?;
        for (name, answer) in given {
            if !METHODS.contains(&name.as_str()) && !GUEST_METHODS.contains(&name.as_str()) {
                let known: Vec<&str> = METHODS.iter().chain(GUEST_METHODS).copied().collect();
                let message = format!(
                    "a hook cannot call `{}`; there are {}",
                    name.escape_debug(),
                    known.join(", ")
                );
                return Err(misuse("hook", message));
            }
            let list = match answer {
                Json::Array(list) => list,
                one => vec![one],
            };
            answers.insert(name, list);
        }
    }
    Ok((answers, Some(rest)))
}
