//! `input`: a value from outside, declared where it is used.

use mlua::{Lua, Value};

use super::diagnostic::Code;
use super::read::described;
use super::state::Raised;
use super::vm::Shared;

pub(super) fn input(lua: &Lua, shared: &Shared, name: &Value, default: Value) -> mlua::Result<Value> {
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
