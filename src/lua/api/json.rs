//! `require "hostel.json"`: values to JSON and back. Objects are sorted, so the same value is always the same text.

use mlua::{Lua, LuaSerdeExt as _, Table, Value};
use serde_json::{Map, Value as Json};

use super::failure::{mistake, or_failure, text};
use crate::error::{Error, Kind};
use crate::lua::order;
use crate::lua::read::described;

/// As deep as a value may be, in both directions: what nests deeper is a circle or an attack.
const DEEPEST: usize = 127;

/// The module.
pub(in crate::lua) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.set("null", lua.null())?;
    module.set(
        "encode",
        lua.create_function(|lua, (value, options): (Value, Option<Table>)| {
            let json = encode(lua, &value).map_err(|message| mistake("encode", message))?;
            let is_pretty = options.is_some_and(|o| o.get::<bool>("pretty").unwrap_or(false));
            let text = if is_pretty {
                serde_json::to_string_pretty(&json)
            } else {
                serde_json::to_string(&json)
            };
            lua.create_string(text.map_err(mlua::Error::external)?)
        })?,
    )?;
    module.set(
        "decode",
        lua.create_function(|lua, given: Value| {
            let given = text("decode", "what is decoded", &given)?;
            let parsed = serde_json::from_str::<Json>(&given).map_err(|err| {
                Error::new(
                    Kind::Invalid,
                    format!(
                        "not JSON: {}",
                        err.to_string()
                            .replace(" at line ", " at ")
                            .replace(" column ", ":")
                    ),
                )
            });
            match parsed {
                Ok(json) => Ok((Some(decode(lua, &json)?), None)),
                Err(err) => or_failure(lua, Err(err)),
            }
        })?,
    )?;
    module.set(
        "array",
        lua.create_function(|lua, list: Table| {
            list.set_metatable(Some(lua.array_metatable()))?;
            Ok(list)
        })?,
    )?;
    Ok(module)
}

/// A Lua value as JSON. The message says where in the value it cannot be.
pub(in crate::lua) fn encode(lua: &Lua, value: &Value) -> Result<Json, String> {
    let mut walk = Walk {
        array: lua.array_metatable(),
        path: Vec::new(),
    };
    walk.value(value)
}

struct Walk {
    array: Table,
    path: Vec<String>,
}

impl Walk {
    fn at(&self, what: impl std::fmt::Display) -> String {
        if self.path.is_empty() {
            return what.to_string();
        }
        format!("{what} at `{}`", crate::lua::state::path_text(&self.path))
    }

    fn value(&mut self, value: &Value) -> Result<Json, String> {
        if self.path.len() > DEEPEST {
            return Err("nested too deeply, or in a circle".to_owned());
        }
        match value {
            Value::Nil => Ok(Json::Null),
            Value::LightUserData(pointer) if pointer.0.is_null() => Ok(Json::Null),
            Value::Boolean(value) => Ok(Json::Bool(*value)),
            Value::Integer(value) => Ok(Json::from(*value)),
            Value::Number(value) => serde_json::Number::from_f64(*value)
                .map(Json::Number)
                .ok_or_else(|| self.at(format_args!("{value} is no number of JSON"))),
            Value::String(value) => String::from_utf8(value.as_bytes().to_vec())
                .map(Json::String)
                .map_err(|err| self.at(format_args!("a text that is not UTF-8 ({})", err.utf8_error()))),
            Value::Table(table) => self.table(table),
            other => Err(self.at(format_args!("{} cannot be JSON", described(other)))),
        }
    }

    fn table(&mut self, table: &Table) -> Result<Json, String> {
        let items = order::list(table).map_err(|err| err.to_string())?;
        let items = items.map_err(|hole| self.at(format_args!("a list with a hole at place {hole}")))?;
        let length = items.len();
        if length > 0 || table.metatable().as_ref() == Some(&self.array) {
            let mut list = Vec::with_capacity(length);
            for (index, item) in items.iter().enumerate() {
                self.path.push((index + 1).to_string());
                list.push(self.value(item)?);
                self.path.pop();
            }
            // As many keys as places: then all of them are places.
            if table.pairs::<Value, Value>().count() > length {
                return Err(self.at("neither a list nor a table of names"));
            }
            return Ok(Json::Array(list));
        }
        let mut map = Map::new();
        for (key, item) in order::entries(table).map_err(|err| err.to_string())? {
            let Value::String(key) = &key else {
                return Err(self.at(format_args!("{} as a name", described(&key))));
            };
            let key = key.to_string_lossy();
            self.path.push(key.clone());
            let item = self.value(&item)?;
            self.path.pop();
            map.insert(key, item);
        }
        Ok(Json::Object(map))
    }
}

/// JSON as a Lua value: `null` is `json.null`, so that a list keeps its holes.
pub(in crate::lua) fn decode(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    Ok(match json {
        Json::Null => lua.null(),
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Integer(value),
            None => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(items) => {
            let list = lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                list.raw_push(decode(lua, item)?)?;
            }
            list.set_metatable(Some(lua.array_metatable()))?;
            Value::Table(list)
        }
        Json::Object(map) => {
            let table = lua.create_table_with_capacity(0, map.len())?;
            for (key, item) in map {
                table.raw_set(key.as_str(), decode(lua, item)?)?;
            }
            Value::Table(table)
        }
    })
}
