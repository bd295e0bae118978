//! `require "hostel.toml"`: TOML to values and back, as `hostel.json` has them; a date is a text.

use mlua::{Lua, Table, Value};
use serde_json::Value as Json;

use super::failure::{mistake, or_failure, text};
use super::json;
use crate::error::{Error, Kind};

/// The module.
pub(in crate::lua) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.set(
        "decode",
        lua.create_function(|lua, given: Value| {
            let given = text("decode", "what is decoded", &given)?;
            match given.parse::<toml::Table>() {
                Ok(table) => Ok((Some(json::decode(lua, &plain(toml::Value::Table(table)))?), None)),
                Err(err) => {
                    let before = &given[..err.span().map_or(0, |span| span.start.min(given.len()))];
                    let line = before.matches('\n').count() + 1;
                    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                    let message = format!(
                        "not TOML: {} at {line}:{column}",
                        err.message().replace('\n', ", ")
                    );
                    or_failure(lua, Err(Error::new(Kind::Invalid, message)))
                }
            }
        })?,
    )?;
    module.set(
        "encode",
        lua.create_function(|lua, value: Value| {
            let json = json::encode(lua, &value).map_err(|message| mistake("encode", message))?;
            if !json.is_object() {
                return Err(mistake("encode", "TOML is a table of names"));
            }
            toml::to_string(&json).map_err(|err| mistake("encode", err))
        })?,
    )?;
    Ok(module)
}

fn plain(value: toml::Value) -> Json {
    match value {
        toml::Value::String(text) => Json::String(text),
        toml::Value::Integer(number) => Json::from(number),
        toml::Value::Float(number) => serde_json::Number::from_f64(number).map_or(Json::Null, Json::Number),
        toml::Value::Boolean(value) => Json::Bool(value),
        toml::Value::Datetime(date) => Json::String(date.to_string()),
        toml::Value::Array(items) => Json::Array(items.into_iter().map(plain).collect()),
        toml::Value::Table(table) => {
            Json::Object(table.into_iter().map(|(key, item)| (key, plain(item))).collect())
        }
    }
}
