//! `input`: a value from outside, declared where it is used.

use mlua::{Lua, Table, Value};

use super::DeclaredInput;
use super::diagnostic::Code;
use super::order;
use super::read::described;
use super::state::Raised;
use super::vm::{Shared, caller};
use crate::guest::caps::nearest;

/// What a value is read as.
const TYPES: &[&str] = &["text", "integer", "number", "boolean"];

/// What may stand in a declaration.
const FIELDS: &[&str] = &["type", "default", "description", "one_of"];

fn mistake(message: impl Into<String>) -> Raised {
    Raised::new(Code::Input, message)
}

/// `input(NAME)`, `input(NAME, DEFAULT)` or `input(NAME, { type =, default =, description =, one_of = })`.
pub(super) fn input(lua: &Lua, shared: &Shared, name: &Value, more: &Value) -> mlua::Result<Value> {
    let Value::String(text) = name else {
        let message = format!("`input` takes a name, not {}", described(name));
        return Err(mistake(message).word("input").into());
    };
    let name = text.to_string_lossy();
    let (declared, default) = declaration(lua, shared, &name, more)?;
    let given = {
        let mut state = shared.borrow_mut();
        let given = state.inputs.get(&name).cloned();
        if let Some(before) = state.declared_inputs.insert(name.clone(), declared.clone())
            && (&before.kind, &before.default) != (&declared.kind, &declared.default)
        {
            let help = "declare it once and keep it: `local x = input(...)`";
            let message = format!("the input `{name}` is declared twice, differently");
            return Err(mistake(message).help(help).word(name).into());
        }
        given
    };
    let Some(given) = given else {
        if default.is_nil() {
            return Err(missing(shared, &name, &declared).into());
        }
        return Ok(default);
    };
    value(lua, &given, &declared).map_err(|what| {
        let message = format!("the input `{name}` is {what}, not `{}`", given.escape_debug());
        let raised = mistake(message).word(name.clone());
        match &declared.description {
            Some(description) => raised.help(description.clone()).into(),
            None => raised.into(),
        }
    })
}

/// What is declared, and the value that holds without one.
fn declaration(lua: &Lua, shared: &Shared, name: &str, more: &Value) -> mlua::Result<(DeclaredInput, Value)> {
    let (file, line) = caller(lua);
    let place = shared.borrow().word_place(&file, line, name);
    let mut declared = DeclaredInput {
        kind: "text".to_owned(),
        default: None,
        description: None,
        one_of: Vec::new(),
        place,
    };
    let Value::Table(table) = more else {
        kind_of(name, more)?.clone_into(&mut declared.kind);
        declared.default = shown(more);
        return Ok((declared, more.clone()));
    };
    for (key, _) in order::entries(table)? {
        let key = match &key {
            Value::String(key) => key.to_string_lossy(),
            other => described(other),
        };
        if !FIELDS.contains(&key.as_str()) {
            let help = match nearest(&key, FIELDS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", FIELDS.join(", ")),
            };
            let message = format!("unknown field `{}` of the input `{name}`", key.escape_debug());
            return Err(mistake(message).help(help).word(key).into());
        }
    }
    let default: Value = table.raw_get("default")?;
    declared.default = shown(&default);
    declared.kind = match table.raw_get("type")? {
        Value::Nil => kind_of(name, &default)?.to_owned(),
        Value::String(kind) if TYPES.contains(&&*kind.to_string_lossy()) => kind.to_string_lossy(),
        other => {
            let message = format!("the input `{name}` cannot have {} as its type", described(&other));
            let near = match &other {
                Value::String(kind) => nearest(&kind.to_string_lossy(), TYPES.iter().copied()),
                _ => None,
            };
            let help = near.map_or_else(
                || format!("one of {}", TYPES.join(", ")),
                |near| format!("did you mean `{near}`? One of {}", TYPES.join(", ")),
            );
            return Err(mistake(message).help(help).word("type").into());
        }
    };
    declared.description = match table.raw_get("description")? {
        Value::Nil => None,
        Value::String(text) => Some(text.to_string_lossy()),
        other => {
            let message = format!(
                "the description of the input `{name}` must be a text, not {}",
                described(&other)
            );
            return Err(mistake(message).word("description").into());
        }
    };
    declared.one_of = match table.raw_get("one_of")? {
        Value::Nil => Vec::new(),
        Value::Table(list) => choices(name, &list)?,
        other => {
            let message = format!(
                "`one_of` of the input `{name}` must be a list, not {}",
                described(&other)
            );
            return Err(mistake(message).word("one_of").into());
        }
    };
    // A default is read as a given value is, so that it has the declared type and is one of the choices.
    let default = match &declared.default {
        None => Value::Nil,
        Some(text) => value(lua, text, &declared).map_err(|what| {
            let message = format!(
                "the input `{name}` is {what}, and its default is `{}`",
                text.escape_debug()
            );
            mistake(message).word("default")
        })?,
    };
    Ok((declared, default))
}

fn choices(name: &str, list: &Table) -> mlua::Result<Vec<String>> {
    let mut found = Vec::new();
    let choices = order::list(list)?.map_err(|hole| {
        let message = format!("`one_of` of the input `{name}` has a hole at place {hole}");
        mistake(message).word("one_of")
    })?;
    for choice in choices {
        found.push(shown(&choice).ok_or_else(|| {
            let message = format!(
                "`one_of` of the input `{name}` cannot hold {}",
                described(&choice)
            );
            mistake(message).word("one_of")
        })?);
    }
    Ok(found)
}

/// The type that a default has.
fn kind_of(name: &str, default: &Value) -> mlua::Result<&'static str> {
    Ok(match default {
        Value::Nil | Value::String(_) => "text",
        Value::Integer(_) => "integer",
        Value::Number(_) => "number",
        Value::Boolean(_) => "boolean",
        other => {
            let message = format!("the input `{name}` cannot have {} as default", described(other));
            let help = "a text, a number or a truth value, or a table that declares it: `{ type = \"integer\", default = 2 }`";
            return Err(mistake(message).help(help).word(name).into());
        }
    })
}

/// A default or a choice, as it would be given.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string_lossy()),
        Value::Integer(n) => Some(n.to_string()),
        Value::Number(n) => Some(n.to_string()),
        Value::Boolean(b) => Some(b.to_string()),
        _ => None,
    }
}

/// What was given, as what was declared; what it must be otherwise.
fn value(lua: &Lua, given: &str, declared: &DeclaredInput) -> Result<Value, String> {
    if !declared.one_of.is_empty() && !declared.one_of.iter().any(|choice| choice == given) {
        return Err(format!("one of {}", declared.one_of.join(", ")));
    }
    match declared.kind.as_str() {
        "integer" => given
            .parse()
            .map(Value::Integer)
            .map_err(|_not| "a whole number".to_owned()),
        "number" => match given.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Number(number)),
            _ => Err("a number".to_owned()),
        },
        "boolean" => given
            .parse()
            .map(Value::Boolean)
            .map_err(|_not| "`true` or `false`".to_owned()),
        _ => lua
            .create_string(given)
            .map(Value::String)
            .map_err(|err| err.to_string()),
    }
}

fn missing(shared: &Shared, name: &str, declared: &DeclaredInput) -> Raised {
    let state = shared.borrow();
    let unused = state
        .inputs
        .keys()
        .filter(|given| !state.declared_inputs.contains_key(*given))
        .map(String::as_str);
    let pass = format!("pass `--set {name}=VALUE`");
    let mut help = match nearest(name, unused) {
        Some(near) => format!("`{near}` is given: did you mean `{name}`?"),
        None => pass,
    };
    if let Some(description) = &declared.description {
        help = format!("{help} ({description})");
    }
    let message = format!("the input `{name}` is not given");
    mistake(message).help(help).word(name)
}
