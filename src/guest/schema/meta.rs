//! What editors and linters read: the schema as a LuaCATS meta file and as selene's standard library.

use std::fmt::Write as _;

use super::{GUEST, Record};

/// Words of a recipe that are no fields.
const WORDS: &str = r#"
---@class hostel.Template
---@class hostel.Secret
---@class hostel.Guest
---@field name string

---@class hostel.Handle
---@field guest hostel.Guest
local Handle = {}
---Writes a line to the command's log.
---@param message string
function Handle:log(message) end
---Runs a command on the host. Fails when its status is not 0.
---@param command string[]
---@return { code: integer, stdout: string, stderr: string }
function Handle:exec(command) end
---Fails when the file system that holds `path` has less free space.
---@param path string
---@param size string|integer
function Handle:require_free(path, size) end

---Declares a guest: `guest "web" { ... }`.
---@param name string
---@return fun(body: hostel.guest): hostel.Guest
function guest(name) end

---Declares what guests have in common: `local base = template "base" { ... }`.
---@param name string
---@return fun(body: hostel.guest): hostel.Template
function template(name) end

---A list that is added to the inherited one instead of replacing it.
---@generic T
---@param list T[]
---@return T[]
function append(list) end

---Removes an inherited value.
---@type any
unset = nil

---Refuses to be read by a hostel that is too old: `requires { hostel = ">=0.1", api = 1 }`.
---@param versions { hostel?: string, api?: integer }
function requires(versions) end

---A value that is kept outside the recipe and is shown nowhere.
---@param name string
---@return hostel.Secret
function secret(name) end

---A value from outside: `hostel plan --input region=eu web.lua`.
---@generic T
---@param name string
---@param default? T
---@return T
function input(name, default) end
"#;

/// The LuaCATS meta file, for completion with types, defaults and `since`.
pub fn meta() -> String {
    let mut text = String::from("---@meta\n---Made from hostel's schema: `hostel doc --meta`.\n");
    let mut seen = Vec::new();
    class(&GUEST, &mut text, &mut seen);
    text.push_str(WORDS);
    text
}

pub(super) fn class(record: &'static Record, text: &mut String, seen: &mut Vec<&'static str>) {
    if seen.contains(&record.name) {
        return;
    }
    seen.push(record.name);
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "\n---{}\n---@class hostel.{}", record.doc, record.name);
    for field in record.fields {
        let default = field
            .default
            .map(|d| format!(" Default: {d}."))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "---@field {}? {} {}{default} Since {}. Example: `{} = {}`",
            field.name,
            field.kind.lua(),
            field.doc,
            field.since,
            field.name,
            field.example
        );
    }
    for field in record.fields {
        if let Some(below) = field.kind.record() {
            class(below, text, seen);
        }
    }
}

/// selene's description of the words of a recipe.
pub fn selene() -> &'static str {
    "---
base: lua54
name: hostel
globals:
  guest: { args: [{ type: string }] }
  template: { args: [{ type: string }] }
  append: { args: [{ type: table }] }
  requires: { args: [{ type: table }] }
  secret: { args: [{ type: string }] }
  input: { args: [{ type: string }, { type: any, required: false }] }
  unset: { property: read-only }
  io: { removed: true }
  os: { removed: true }
  package: { removed: true }
  debug: { removed: true }
  coroutine: { removed: true }
  load: { removed: true }
  loadfile: { removed: true }
  dofile: { removed: true }
  collectgarbage: { removed: true }
  next: { removed: true }
"
}
