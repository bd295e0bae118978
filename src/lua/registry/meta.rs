//! What editors read: LuaCATS meta files, one for what is there without `require` and one for each module.

use std::fmt::Write as _;

use super::{Class, Entry, MODULES, Module, records};
use crate::guest::schema::Record;

/// The meta file of what is there without `require`: the tables of recipes, their words, the argument of hooks.
pub fn globals_meta() -> String {
    let mut text = String::from("---@meta\n---Made by `hostel init` from hostel's registry.\n");
    for record in records() {
        class_of_record(record, &mut text);
    }
    // Lua's own words are known to every editor.
    for module in MODULES.iter().filter(|m| is_ours(m) && !is_required(m)) {
        contents(module, &mut text);
    }
    text
}

fn is_required(module: &Module) -> bool {
    module.name == "hostel" || module.name.starts_with("hostel.")
}

fn is_ours(module: &Module) -> bool {
    is_required(module) || matches!(module.name, "recipe" | "hooks")
}

/// The meta files of what is required, each with its path below the folder of meta files.
pub fn module_meta() -> Vec<(String, String)> {
    let modules = MODULES.iter().filter(|m| is_required(m));
    modules
        .map(|module| {
            let mut text = format!(
                "---@meta {}\n---Made by `hostel init` from hostel's registry.\n\n",
                module.name
            );
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                text,
                "---{}\n---@class {}\nlocal {} = {{}}",
                module.doc,
                class(module),
                module.local
            );
            contents(module, &mut text);
            let _ = writeln!(text, "\nreturn {}", module.local);
            (format!("{}.lua", module.name.replace('.', "/")), text)
        })
        .collect()
}

/// `hostel.net` is the class `hostel.module.net`.
fn class(module: &Module) -> String {
    format!("hostel.module.{}", module.name.trim_start_matches("hostel."))
}

/// The name that stands for a class in its meta file: `h.guest` is `HookGuest`.
fn contents(module: &Module, text: &mut String) {
    for class in module.classes {
        let _ = writeln!(text, "\n---{}\n---@class hostel.{}", class.doc, class.name);
        for field in class.fields {
            let _ = writeln!(text, "---@field {} {} {}", field.name, field.kind, field.doc);
        }
        let _ = writeln!(text, "local {} = {{}}", class.name);
    }
    for entry in module.entries {
        one(module.classes, entry, text);
    }
}

fn one(classes: &[Class], entry: &Entry, text: &mut String) {
    let _ = writeln!(
        text,
        "\n---{} Since {}. Example: `{}`",
        entry.doc, entry.since, entry.example
    );
    if !entry.errors.is_empty() {
        let _ = writeln!(text, "---\n---Errors: {}", entry.errors);
    }
    let name = match entry.name.rsplit_once(':') {
        Some((word, method)) => {
            let class = classes.iter().find(|c| c.word == word).map_or(word, |c| c.name);
            format!("{class}:{method}")
        }
        None => entry.name.to_owned(),
    };
    let Some(params) = entry.params else {
        let _ = writeln!(text, "---@type {}\n{name} = nil", entry.returns);
        return;
    };
    for param in params {
        let mark = if param.default.is_some() && param.name != "..." {
            "?"
        } else {
            ""
        };
        let default = match param.default {
            Some(default) => format!(" Default: {default}."),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "---@param {}{mark} {} {}{default}",
            param.name,
            exact(&param.lua()),
            param.doc
        );
    }
    if !entry.returns.is_empty() {
        let _ = writeln!(text, "---@return {}", exact(entry.returns));
    }
    let params: Vec<&str> = params.iter().map(|p| p.name).collect();
    let _ = writeln!(text, "function {name}({}) end", params.join(", "));
}

/// `hostel.limits` as `hostel.table.limits`, which is the class and has no other keys: an editor that knows intersections
/// warns of a key that is written wrongly. To one that does not, what is behind the `&` is a comment.
fn exact(kind: &str) -> String {
    let mut made = String::with_capacity(kind.len());
    let mut rest = kind;
    while let Some(at) = rest.find("hostel.") {
        let (before, from) = rest.split_at(at);
        let name = &from["hostel.".len()..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
        let (name, after) = name.split_at(end.unwrap_or(name.len()));
        let is_record = records().iter().any(|record| record.name == name);
        let infix = if is_record { "table." } else { "" };
        made.push_str(before);
        made.push_str("hostel.");
        made.push_str(infix);
        made.push_str(name);
        rest = after;
    }
    made.push_str(rest);
    made
}

/// A command is the list part of the table that says how it is run.
fn has_list(record: &Record) -> bool {
    matches!(record.name, "run_options" | "exec_options" | "host_exec_options")
}

fn class_of_record(record: &'static Record, text: &mut String) {
    let mut keys: Vec<String> = record
        .fields
        .iter()
        .map(|field| format!("\"{}\"", field.name))
        .collect();
    if has_list(record) {
        keys.push("integer".to_owned());
    }
    let _ = writeln!(
        text,
        "\n---@alias hostel.table.{0} hostel.{0} & table<{1}, any>",
        record.name,
        keys.join("|")
    );
    let _ = writeln!(
        text,
        "\n---{}\n---@class (exact) hostel.{}",
        record.doc, record.name
    );
    if has_list(record) {
        let _ = writeln!(text, "---@field [integer] string The program and its arguments.");
    }
    for field in record.fields {
        let default = match field.default {
            Some(default) => format!(" Default: {default}."),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "---@field {}? {} {}{default} Since {}. Example: `{} = {}`",
            field.name,
            exact(&field.kind.lua()),
            field.doc,
            field.since,
            field.name,
            field.example
        );
    }
}
