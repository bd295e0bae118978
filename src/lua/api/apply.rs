//! `hostel.apply("web.lua", { inputs = { ... } })`: makes the host what a recipe says, from a script.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlua::{IntoLuaMulti as _, Lua, MultiValue, Table, Value};
use serde::Deserialize;

use super::command::flush;
use super::failure::{check, raise, text};
use super::stage::effect;
use super::take::options;
use crate::error::Context as _;
use crate::guest::{GuestName, schema};
use crate::life::Host;
use crate::life::apply::{self, ApplyOptions, Watcher};
use crate::lua::hooks::to_stderr;
use crate::lua::{EvalOptions, evaluate};
use crate::plan::{self, Action, Plan};
use crate::storage::{Layout, RecipeRef};

#[derive(Deserialize, Default)]
struct Options {
    #[serde(default)]
    inputs: BTreeMap<String, String>,
    #[serde(default)]
    rebuild: bool,
    #[serde(default)]
    no_wait: bool,
}

/// A script says itself what is worth saying.
struct Silent;

impl Watcher for Silent {
    fn begin(&self, _action: &Action) {}
    fn stage(&self, _guest: &GuestName, _what: &str) {}
    fn done(&self, _action: &Action) {}
}

pub(super) fn apply(lua: &Lua, (recipe, table): (Value, Option<Table>)) -> mlua::Result<MultiValue> {
    let recipe = PathBuf::from(text("apply", "the recipe", &recipe)?);
    let options: Options = match &table {
        Some(table) => options("apply", table, &schema::APPLY)?,
        None => Options::default(),
    };
    check(lua)?;
    let asked = (recipe.as_os_str().to_string_lossy(), table);
    if let Some(answer) = effect(lua, "hostel.apply", None, asked)? {
        return Ok(answer);
    }
    flush(lua);
    let plan = carry_out(&recipe, options).map_err(|err| raise(lua, "apply", &err))?;
    let done = lua.create_table()?;
    for action in &plan.actions {
        let entry = lua.create_table()?;
        entry.set("guest", action.guest.as_str())?;
        entry.set("verb", action.verb.to_string())?;
        done.push(entry)?;
    }
    done.into_lua_multi(lua)
}

fn carry_out(recipe: &std::path::Path, options: Options) -> crate::Result<Plan> {
    let how = EvalOptions {
        inputs: options.inputs.clone(),
        secrets: Some(Layout::from_env().root().to_owned()),
        ..EvalOptions::default()
    };
    let evaluated = evaluate(recipe, &how)?;
    for line in &evaluated.output {
        crate::lua::hooks::tell(line);
    }
    let reference = RecipeRef {
        path: std::path::absolute(recipe).context(|| format!("find `{}`", recipe.display()))?,
        sha256: evaluated.hash.clone(),
        inputs: options.inputs,
    };
    let host = Host::open()?;
    let facts = apply::settled_facts(&host)?;
    let plan = apply::plan(&host, &evaluated.specs, &facts, &plan::Options { prune: None })?;
    apply::adopt(&host, &plan, &evaluated.specs, &reference)?;
    let how = ApplyOptions {
        rebuild: options.rebuild,
        no_wait: options.no_wait,
        ..ApplyOptions::default()
    };
    apply::apply(
        &host,
        &plan,
        &evaluated.specs,
        Some(&reference),
        how,
        &to_stderr(),
        &Silent,
    )?;
    Ok(plan)
}
