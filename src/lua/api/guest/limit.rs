//! `g:limit { memory = "1G", pids = "max" }`: limits of a guest, changed where it runs and for its next start.

use mlua::{Lua, Value};
use serde_json::Value as Json;

use super::super::failure::mistake;
use super::super::take::options;
use crate::guest::{GuestName, Invalid, LimitChange, schema};
use crate::life::{Host, set};
use crate::lua::read::described;

/// The word that takes a limit away.
const NONE: &str = "max";

/// The changes that a table says, by the schema of a recipe's limits.
pub(in crate::lua) fn changes(lua: &Lua, limits: &Value) -> mlua::Result<Vec<LimitChange>> {
    let Value::Table(table) = limits else {
        return Err(mistake(
            "limit",
            format!("takes a table of limits, not {}", described(limits)),
        ));
    };
    let mut texts = Vec::new();
    let rest = lua.create_table()?;
    for pair in table.pairs::<Value, Value>() {
        match pair? {
            (Value::String(key), Value::String(value)) if value.as_bytes() == NONE.as_bytes() => {
                texts.push(format!("{}={NONE}", key.to_string_lossy()));
            }
            (key, value) => rest.raw_set(key, value)?,
        }
    }
    let json: Json = options("limit", &rest, &schema::LIMITS)?;
    for (key, value) in json.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("rlimits", Json::Object(kinds)) => {
                texts.extend(
                    kinds
                        .iter()
                        .map(|(kind, value)| format!("rlimits.{kind}={}", plain(value))),
                );
            }
            ("io", Json::Object(devices)) => {
                for (device, max) in devices {
                    let fields = max.as_object().into_iter().flatten();
                    texts
                        .extend(fields.map(|(field, value)| format!("io.{device}.{field}={}", plain(value))));
                }
            }
            (key, value) => texts.push(format!("{key}={}", plain(value))),
        }
    }
    texts
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|invalid: Invalid| mistake("limit", invalid.message))
        })
        .collect()
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn limit(host: &Host, name: &GuestName, changes: &[LimitChange]) -> crate::Result<bool> {
    let change = set::set(host, name, changes)?;
    if let Some(what) = change.warning() {
        crate::lua::hooks::tell(&format!("{name}: warning: {what}"));
    }
    Ok(true)
}
