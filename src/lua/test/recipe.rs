//! `t.eval`, `t.diagnostics` and `t.plan`: what hostel makes of a recipe, as Lua values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlua::{Lua, LuaSerdeExt as _, Table, Value};

use super::host::{FakeHost, raised};
use super::tree::Shared;
use super::words::misuse;
use crate::guest::Spec;
use crate::lua::diagnostic::{Diagnostic, Diagnostics};
use crate::lua::read::described;
use crate::lua::state::Raised;
use crate::lua::{EvalOptions, Evaluated};
use crate::plan::{self, Plan};

/// A recipe as a test names it: relative to the test file.
pub(super) struct Named {
    pub(super) path: PathBuf,
    pub(super) options: EvalOptions,
}

/// Reads `"web.lua"` and `{ inputs = { ... }, timeout = ... }`.
pub(super) fn named(
    shared: &Shared,
    word: &str,
    recipe: &Value,
    table: Option<&Table>,
) -> mlua::Result<Named> {
    let Value::String(recipe) = recipe else {
        return Err(misuse(
            word,
            format!("the recipe is a path, not {}", described(recipe)),
        ));
    };
    let mut options = EvalOptions::default();
    if let Some(table) = table {
        for pair in table.pairs::<String, Value>() {
            let (key, value) = pair?;
            match (key.as_str(), value) {
                ("inputs", Value::Table(inputs)) => {
                    for pair in inputs.pairs::<String, Value>() {
                        let (name, value) = pair?;
                        let text = match &value {
                            Value::String(text) => text.to_string_lossy(),
                            Value::Integer(number) => number.to_string(),
                            Value::Number(number) => number.to_string(),
                            Value::Boolean(truth) => truth.to_string(),
                            other => {
                                let what = described(other);
                                return Err(misuse(word, format!("the input `{name}` is {what}")));
                            }
                        };
                        options.inputs.insert(name, text);
                    }
                }
                ("inputs", other) => {
                    return Err(misuse(
                        word,
                        format!("`inputs` is a table, not {}", described(&other)),
                    ));
                }
                (other, _) => {
                    return Err(misuse(
                        word,
                        format!("`{}` is no option; there is `inputs`", other.escape_debug()),
                    ));
                }
            }
        }
    }
    let file = shared.borrow();
    options.coverage = file.options.coverage;
    let recipe = PathBuf::from(recipe.to_string_lossy());
    let path = if recipe.is_absolute() || file.folder == std::path::Path::new(".") {
        recipe
    } else {
        file.folder.join(recipe)
    };
    Ok(Named { path, options })
}

/// What the recipe means; what it printed is the test's output.
pub(super) fn evaluated(shared: &Shared, named: &Named) -> Result<Evaluated, Diagnostics> {
    let mut evaluated = crate::lua::evaluate(&named.path, &named.options)?;
    let mut file = shared.borrow_mut();
    file.output.append(&mut evaluated.output);
    file.hits.add(std::mem::take(&mut evaluated.hits));
    Ok(evaluated)
}

/// The guests of a recipe as a list of tables.
pub(super) fn eval(lua: &Lua, shared: &Shared, recipe: &Value, table: Option<&Table>) -> mlua::Result<Value> {
    let named = named(shared, "eval", recipe, table)?;
    shared.borrow_mut().looks += 1;
    match evaluated(shared, &named) {
        Ok(evaluated) => lua.to_value(&evaluated.specs),
        Err(diagnostics) => Err(mistaken(&named, &diagnostics)),
    }
}

/// The mistakes of a recipe that a test wants to be right.
pub(super) fn mistaken(named: &Named, diagnostics: &Diagnostics) -> mlua::Error {
    let count = diagnostics.len();
    let mistakes = if count == 1 { "a mistake" } else { "mistakes" };
    let Some(first) = diagnostics.0.first() else {
        return misuse("eval", "the recipe is wrong");
    };
    let mut raised = Raised::new(first.code, format!("`{}` has {mistakes}", named.path.display()));
    raised.notes = diagnostics.0.iter().map(in_a_line).collect();
    raised.kind(crate::Kind::Invalid).into()
}

/// `web.lua:3:14: error[E0102]: unknown field ...; did you mean ...?`
fn in_a_line(diagnostic: &Diagnostic) -> String {
    let place = diagnostic
        .place
        .as_ref()
        .map(|place| format!("{}:{}:{}: ", place.file, place.line, place.column))
        .unwrap_or_default();
    let help = diagnostic
        .help
        .as_ref()
        .map(|help| format!("; {help}"))
        .unwrap_or_default();
    format!(
        "{place}{}: {}{help}",
        diagnostic.code.as_str(),
        diagnostic.message
    )
}

/// The mistakes of a recipe as a list of tables; empty when there is none.
pub(super) fn diagnostics(
    lua: &Lua,
    shared: &Shared,
    recipe: &Value,
    table: Option<&Table>,
) -> mlua::Result<Table> {
    let named = named(shared, "diagnostics", recipe, table)?;
    let found = match evaluated(shared, &named) {
        Ok(_) => Diagnostics(Vec::new()),
        Err(diagnostics) => diagnostics,
    };
    let list = lua.create_table()?;
    for diagnostic in &found.0 {
        list.push(as_table(lua, diagnostic)?)?;
    }
    Ok(list)
}

pub(super) fn as_table(lua: &Lua, diagnostic: &Diagnostic) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("code", diagnostic.code.as_str())?;
    table.set("message", diagnostic.message.as_str())?;
    table.set("help", diagnostic.help.as_deref())?;
    if let Some(place) = &diagnostic.place {
        let file = PathBuf::from(&place.file);
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        table.set("file", name)?;
        table.set("line", place.line)?;
        table.set("column", place.column)?;
    }
    Ok(table)
}

/// The specifications that a list of guests stands for. The tables are a test's to change, as a recipe would be.
pub(super) fn specs(lua: &Lua, word: &str, guests: &Value) -> mlua::Result<Vec<Spec>> {
    let Value::Table(_) = guests else {
        return Err(misuse(
            word,
            format!("the guests come from `t.eval`, and are not {}", described(guests)),
        ));
    };
    // Through JSON: it has one form of everything, and refuses functions.
    let json: serde_json::Value = lua
        .from_value(guests.clone())
        .map_err(|source| misuse(word, format!("this is no list of guests: {source}")))?;
    let json = match json {
        serde_json::Value::Object(map) if map.is_empty() => serde_json::Value::Array(Vec::new()),
        json => json,
    };
    serde_json::from_value(json)
        .map_err(|source| misuse(word, format!("this is no list of guests: {source}")))
}

/// A plan, with the specifications that it is carried out with.
#[derive(Debug)]
pub(super) struct PlanHandle {
    pub(super) plan: Plan,
    pub(super) specs: BTreeMap<crate::guest::GuestName, Spec>,
}

/// `t.plan(guests, host, { prune = true })`: the actions as a list, and the handle for `host:apply`.
pub(super) fn plan(
    lua: &Lua,
    (guests, host, options): (Value, Value, Option<Table>),
) -> mlua::Result<(Value, mlua::AnyUserData)> {
    let specs = specs(lua, "plan", &guests)?;
    let Value::UserData(data) = &host else {
        return Err(misuse(
            "plan",
            format!(
                "the host comes from `t.fake_host`, and is not {}",
                described(&host)
            ),
        ));
    };
    let host = data
        .borrow::<FakeHost>()
        .map_err(|_source| misuse("plan", "the host comes from `t.fake_host`".to_owned()))?;
    let mut how = plan::Options::default();
    for pair in options
        .into_iter()
        .flat_map(|table| table.pairs::<String, Value>().collect::<Vec<_>>())
    {
        match pair? {
            (key, Value::Boolean(prune)) if key == "prune" => {
                how.prune = prune.then(|| FakeHost::RECIPE.to_owned());
            }
            (key, _) => {
                let message = format!("`{}` is no option; there is `prune = true`", key.escape_debug());
                return Err(misuse("plan", message));
            }
        }
    }
    let plan = plan::diff(&specs, &host.facts, &how).map_err(|err| raised("plan", &err))?;
    let actions = lua.to_value(&plan.actions)?;
    let handle = PlanHandle {
        plan,
        specs: specs.into_iter().map(|spec| (spec.name.clone(), spec)).collect(),
    };
    Ok((actions, lua.create_any_userdata(handle)?))
}
