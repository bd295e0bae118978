//! What linters read: which words recipes have, and which of Lua's own they have not.

use std::fmt::Write as _;

use super::{Entry, MODULES, Param, Places};

/// Whether something of Lua's own is there in recipes; and whole libraries that are not.
fn missing() -> (Vec<&'static str>, Vec<&'static str>) {
    let mut libraries = Vec::new();
    let mut names = Vec::new();
    for module in MODULES.iter().filter(|m| m.is_global && m.name != "recipe") {
        if !module.places.recipes {
            libraries.push(module.name);
            continue;
        }
        let absent = |e: &&Entry| e.places.is_some_and(|places| !places.recipes);
        names.extend(module.entries.iter().filter(absent).map(|e| e.name));
    }
    libraries.push("debug");
    (libraries, names)
}

/// The words that are there without `require`, in these places, beside Lua's own.
fn words(is_in: impl Fn(Places) -> bool) -> Vec<&'static Entry> {
    let modules = MODULES
        .iter()
        .filter(|m| m.name.starts_with("hostel") || m.name == "recipe");
    modules
        .flat_map(|m| {
            m.entries
                .iter()
                .map(|e| (e.places.unwrap_or(m.places), e))
                .filter(|(_, e)| !e.name.contains(['.', ':']))
        })
        .filter(|(places, _)| is_in(*places))
        .map(|(_, e)| e)
        .collect()
}

/// The words of a recipe that are there without `require`, beside Lua's own.
pub fn recipe_words() -> Vec<&'static str> {
    words(|places| places.recipes).iter().map(|e| e.name).collect()
}

/// The words of Lua's own that a recipe has not.
pub fn not_in_recipes() -> Vec<&'static str> {
    let (libraries, names) = missing();
    let names = libraries.into_iter().chain(names);
    names.filter(|name| !name.contains('.')).collect()
}

fn selene_type(param: &Param) -> &'static str {
    let lua = param.lua();
    match lua.as_str() {
        _ if param.name == "..." => "...",
        "string" => "string",
        "boolean" => "bool",
        "integer" | "number" => "number",
        text if text.starts_with("fun") => "function",
        text if text.contains('|') || text == "any" => "any",
        _ => "table",
    }
}

/// selene's description of the words of a recipe.
pub fn selene() -> String {
    // Writing to a `String` cannot fail.
    let mut text = String::from("---\nbase: lua54\nname: hostel\nglobals:\n");
    for entry in words(|places| places.recipes) {
        let Some(params) = entry.params else {
            let _ = writeln!(text, "  {}:\n    property: read-only", entry.name);
            continue;
        };
        let _ = writeln!(text, "  {}:\n    args:", entry.name);
        for param in params {
            let _ = writeln!(text, "      - type: {}", selene_type(param));
            if param.default.is_some() {
                text.push_str("        required: false\n");
            }
        }
    }
    let (libraries, names) = missing();
    for name in libraries.iter().chain(&names) {
        let _ = writeln!(text, "  {name}:\n    removed: true");
    }
    text
}

/// A luacheck configuration for a folder of recipes, with scripts in `scripts` and tests beside them.
pub fn luacheck() -> String {
    let quoted = |names: Vec<&str>| {
        names
            .iter()
            .map(|n| format!("\"{n}\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let names_of = |entries: Vec<&'static Entry>| entries.iter().map(|e| e.name).collect::<Vec<_>>();
    let removed = not_in_recipes();
    format!(
        "std = \"lua54\"\nread_globals = {{ {} }}\n-- A recipe is the same everywhere: it has none of these.\nnot_globals = {{ {} }}\n\nlocal program = {{ read_globals = {{ {} }} }}\nfiles[\"**/scripts/**\"] = program\nfiles[\"**/*_test.lua\"] = program\n",
        quoted(recipe_words()),
        quoted(removed.clone()),
        quoted([names_of(words(|places| places.scripts)), removed].concat()),
    )
}
