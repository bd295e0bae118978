//! The registry compared with what there is: the Lua tables of recipes and of scripts, the classes that are made in
//! Rust, the examples, the tests.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use mlua::{Function, Lua, Table, Value};

use super::recorder::{Recorded, recorded};
use super::{Entry, MODULES, Module, entries, records};
use crate::lua::diagnostic::Code;
use crate::lua::read::Reader;
use crate::lua::state::State;
use crate::lua::vm::Vm;
use crate::lua::{EvalOptions, api, hooks, require, script, test, words};

/// The classes that are made in Rust: the file below src/lua, the type, its class.
fn made_in_rust() -> Vec<(&'static str, &'static str, &'static str, Recorded)> {
    vec![
        (
            "words.rs",
            "TemplateRef",
            "Template",
            recorded::<words::TemplateRef>(),
        ),
        ("words.rs", "GuestRef", "Guest", recorded::<words::GuestRef>()),
        ("words.rs", "SecretRef", "Secret", recorded::<words::SecretRef>()),
        (
            "words.rs",
            "AppendList",
            "Append",
            recorded::<words::AppendList>(),
        ),
        ("words.rs", "UnsetMark", "Unset", recorded::<words::UnsetMark>()),
        ("hooks.rs", "Handle", "Handle", recorded::<hooks::Handle>()),
        (
            "hooks.rs",
            "HookGuest",
            "HookGuest",
            recorded::<hooks::HookGuest>(),
        ),
        // What a test's hooks are given has to be what real ones are given.
        (
            "test/hook.rs",
            "SpyHandle",
            "Handle",
            recorded::<test::SpyHandle>(),
        ),
        (
            "test/hook.rs",
            "SpyGuest",
            "HookGuest",
            recorded::<test::SpyGuest>(),
        ),
        (
            "test/host.rs",
            "FakeHost",
            "FakeHost",
            recorded::<test::FakeHost>(),
        ),
        ("api/failure.rs", "Failure", "Failure", recorded::<api::Failure>()),
        (
            "api/context.rs",
            "Described",
            "Context",
            recorded::<api::context::Described>(),
        ),
        (
            "api/guest/mod.rs",
            "Handle",
            "GuestHandle",
            recorded::<api::guest::Handle>(),
        ),
        (
            "api/volume.rs",
            "VolumeHandle",
            "VolumeHandle",
            recorded::<api::volume::VolumeHandle>(),
        ),
        ("api/fs.rs", "Root", "Files", recorded::<api::fs::Root>()),
        (
            "api/tcp.rs",
            "Connection",
            "Connection",
            recorded::<api::tcp::Connection>(),
        ),
    ]
}

/// The state of a recipe, or of a script, and the table in which its words are.
struct World {
    lua: Lua,
    words: Table,
    environment: Table,
    is_recipe: bool,
    _vm: Vm,
}

fn recipe() -> World {
    let state = Rc::new(RefCell::new(State::default()));
    let vm = Vm::new(&EvalOptions::default(), state).unwrap();
    let words: Table = vm.environment.metatable().unwrap().raw_get("__index").unwrap();
    World {
        lua: vm.lua.clone(),
        words,
        environment: vm.environment.clone(),
        is_recipe: true,
        _vm: vm,
    }
}

fn script() -> World {
    let state = Rc::new(RefCell::new(State::default()));
    let vm = script::machine(state, &script::Args::default()).unwrap();
    let words = vm.lua.globals();
    World {
        lua: vm.lua.clone(),
        environment: words.clone(),
        words,
        is_recipe: false,
        _vm: vm,
    }
}

impl World {
    fn name(&self) -> &'static str {
        if self.is_recipe { "recipes" } else { "scripts" }
    }

    fn has(&self, module: &Module, entry: &Entry) -> bool {
        let places = entry.places.unwrap_or(module.places);
        if self.is_recipe {
            places.recipes
        } else {
            places.scripts
        }
    }

    fn load(&self, text: &str) -> mlua::Result<Function> {
        self.lua
            .load(text)
            .set_name("=example")
            .set_environment(self.environment.clone())
            .into_function()
    }

    /// An expression's value, with the module that it is about as a local.
    fn eval(&self, module: &Module, text: &str) -> Value {
        let text = format!("{} return {text}", prelude(module));
        self.load(&text)
            .and_then(|f| f.call(()))
            .unwrap_or_else(|err| panic!("{}: {text}: {err}", self.name()))
    }
}

fn prelude(module: &Module) -> String {
    if module.is_global || module.local.is_empty() {
        String::new()
    } else {
        format!("local {} = require \"{}\"", module.local, module.name)
    }
}

/// What of a table has no entry.
fn orphans(world: &World, start: &str, table: &Table, found: &mut Vec<String>) {
    for pair in table.pairs::<Value, Value>() {
        let (Value::String(key), value) = pair.unwrap() else {
            continue;
        };
        let name = format!("{start}{}", key.to_string_lossy());
        if let Some(module) = MODULES.iter().find(|m| m.name == name && m.is_global)
            && let Value::Table(below) = &value
        {
            let is_there = if world.is_recipe {
                module.places.recipes
            } else {
                module.places.scripts
            };
            if is_there {
                orphans(world, &format!("{name}."), below, found);
                continue;
            }
        }
        match super::entry(&name) {
            Some((module, entry)) if world.has(module, entry) => {}
            // The same list by the name that Lua's own interpreter has for it.
            None if name == "arg" => {}
            _ => found.push(format!("{}: {name}", world.name())),
        }
    }
}

#[test]
fn everything_callable_has_an_entry() {
    let mut found = Vec::new();
    for world in [recipe(), script()] {
        orphans(&world, "", &world.words, &mut found);
        for module in MODULES.iter().filter(|m| !prelude(m).is_empty()) {
            let is_there = if world.is_recipe {
                module.places.recipes
            } else {
                module.places.scripts
            };
            if !is_there {
                continue;
            }
            let Value::Table(table) = world.eval(module, module.local) else {
                panic!("{} is no table", module.name);
            };
            orphans(&world, &format!("{}.", module.local), &table, &mut found);
        }
    }
    assert!(found.is_empty(), "without an entry: {found:#?}");
}

#[test]
fn every_module_of_the_standard_library_is_described() {
    let folder = require::STDLIB.get_dir("hostel").unwrap();
    for file in folder.files() {
        let path = file.path().with_extension("");
        let name = path.to_str().unwrap().replace('/', ".");
        let is_test = name.ends_with("_test");
        assert!(
            is_test || super::module(&name).is_some(),
            "{name} has no entry in MODULES"
        );
    }
}

#[test]
fn every_entry_exists() {
    let classes = made_in_rust();
    let mut absent = Vec::new();
    for world in [recipe(), script()] {
        for (module, entry) in entries().filter(|(m, e)| world.has(m, e)) {
            let Some((word, method)) = entry.name.rsplit_once(':') else {
                if matches!(world.eval(module, entry.name), Value::Nil) {
                    absent.push(format!("{}: {}", world.name(), entry.name));
                }
                continue;
            };
            let class = module.classes.iter().find(|c| c.word == word);
            let class = class.unwrap_or_else(|| panic!("{}: no class `{word}` in its module", entry.name));
            let is_there = match class.sample {
                Some(sample) => {
                    let value = world.eval(module, &format!("type(({sample}).{method})"));
                    matches!(value, Value::String(s) if s == "function")
                }
                None => classes
                    .iter()
                    .any(|(_, _, name, recorded)| *name == class.name && recorded.methods.contains(method)),
            };
            if !is_there {
                absent.push(format!("{}: {}", world.name(), entry.name));
            }
        }
    }
    assert!(absent.is_empty(), "entries of nothing: {absent:#?}");
}

fn class(name: &str) -> (&'static Module, &'static super::Class) {
    MODULES
        .iter()
        .find_map(|m| Some((*m, m.classes.iter().find(|c| c.name == name)?)))
        .unwrap_or_else(|| panic!("no class {name}"))
}

#[test]
fn every_method_and_field_of_a_class_has_an_entry() {
    for (file, kind, name, recorded) in made_in_rust() {
        let (_, class) = class(name);
        for method in &recorded.methods {
            let entry = format!("{}:{method}", class.word);
            assert!(
                super::entry(&entry).is_some(),
                "{file}: {kind} has {method}: no entry `{entry}`"
            );
        }
        let fields: BTreeSet<String> = class.fields.iter().map(|f| f.name.to_owned()).collect();
        assert_eq!(fields, recorded.fields, "{file}: fields of {kind}");
    }
    for module in MODULES {
        for class in module.classes {
            let Some(sample) = class.sample else { continue };
            let world = if module.places.scripts { script() } else { recipe() };
            let methods = format!(
                "(function(x) local found = {{}} local i = (getmetatable(x) or {{}}).__index \
                 for _, t in ipairs {{ type(x) == 'table' and x or {{}}, type(i) == 'table' and i or {{}} }} do \
                 for k, v in pairs(t) do if type(v) == 'function' then found[#found + 1] = k end end end \
                 return table.concat(found, ' ') end)({sample})"
            );
            let Value::String(methods) = world.eval(module, &methods) else {
                panic!("{}", class.name);
            };
            for method in methods
                .to_string_lossy()
                .split_whitespace()
                .filter(|m| !m.starts_with('_'))
            {
                let entry = format!("{}:{method}", class.word);
                assert!(
                    super::entry(&entry).is_some(),
                    "{}: no entry `{entry}`",
                    class.name
                );
            }
        }
    }
}

fn files(dir: &Path, is_wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, is_wanted, found);
        } else if is_wanted(&path)
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            found.push((path.display().to_string(), text));
        }
    }
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_class_in_rust_is_compared() {
    let mut sources = Vec::new();
    let lua = top().join("src/lua");
    files(&lua, &|p| p.extension().is_some_and(|e| e == "rs"), &mut sources);
    let known: Vec<(String, &str)> = made_in_rust()
        .iter()
        .map(|(file, kind, _, _)| (lua.join(file).display().to_string(), *kind))
        .collect();
    for (path, text) in sources
        .iter()
        .filter(|(path, _)| !path.contains("/lua/registry/"))
    {
        for line in text.lines() {
            let Some(kind) = line.strip_prefix("impl UserData for ") else {
                continue;
            };
            let kind = kind.trim_end_matches([' ', '{', '}']);
            assert!(
                known.contains(&(path.clone(), kind)),
                "{path}: {kind} is not in `made_in_rust` of src/lua/registry/walk.rs"
            );
        }
    }
}

#[test]
fn every_entry_is_documented() {
    let mut names = BTreeSet::new();
    for (module, entry) in entries() {
        let name = entry.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(entry.doc.ends_with(['.', ')']), "{name}: {}", entry.doc);
        assert!(!entry.example.is_empty() && !entry.since.is_empty(), "{name}");
        assert!(entry.params.is_some() || !entry.returns.is_empty(), "{name}");
        assert!(entry.errors.is_empty() || entry.errors.ends_with('.'), "{name}");
        for param in entry.params.unwrap_or(&[]) {
            assert!(param.doc.ends_with('.'), "{name}: {}", param.name);
        }
        assert!(!module.doc.is_empty());
    }
    for record in records() {
        assert!(record.doc.ends_with('.'), "{}", record.name);
        for field in record.fields {
            let name = format!("{}.{}", record.name, field.name);
            assert!(field.doc.ends_with('.'), "{name}");
            assert!(!field.example.is_empty() && !field.since.is_empty(), "{name}");
        }
    }
}

/// `hostel.X` in a type is a class or a table that there is.
#[test]
fn every_type_that_is_named_exists() {
    let mut known: BTreeSet<&str> = records().iter().map(|r| r.name).collect();
    known.extend(MODULES.iter().flat_map(|m| m.classes.iter().map(|c| c.name)));
    let mut named: Vec<(String, String)> = Vec::new();
    for (_, entry) in entries() {
        named.push((entry.name.to_owned(), entry.returns.to_owned()));
        for param in entry.params.unwrap_or(&[]) {
            named.push((entry.name.to_owned(), param.lua()));
        }
    }
    for class in MODULES.iter().flat_map(|m| m.classes) {
        for field in class.fields {
            named.push((class.name.to_owned(), field.kind.to_owned()));
        }
    }
    for record in records() {
        for field in record.fields {
            named.push((record.name.to_owned(), field.kind.lua()));
        }
    }
    for (owner, text) in named {
        for part in text.split("hostel.").skip(1) {
            let end = part
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(part.len());
            assert!(
                known.contains(&part[..end]),
                "{owner}: no `hostel.{}`",
                &part[..end]
            );
        }
    }
}

#[test]
fn every_example_is_valid_and_gives_what_it_says() {
    for world in [recipe(), script()] {
        for (module, entry) in entries().filter(|(m, e)| world.has(m, e)) {
            let is_expression = world.load(&format!("return {}", entry.example)).is_ok();
            let parsed = world.load(entry.example);
            assert!(
                is_expression || parsed.is_ok(),
                "{}: {:?}",
                entry.name,
                parsed.err()
            );
            if let Some(gives) = entry.gives {
                let told = format!("(function(...) return ... end)({}) == ({gives})", entry.example);
                let Value::Boolean(true) = world.eval(module, &format!("({}) == ({gives})", entry.example))
                else {
                    panic!("{}: {}: {told} is not so", world.name(), entry.name);
                };
            }
        }
    }
}

#[test]
fn every_example_of_a_field_is_right() {
    let world = recipe();
    for record in records() {
        for field in record.fields {
            let text = format!(
                "local base = template \"base\" {{}} return {{ {} = {} }}",
                field.name, field.example
            );
            let table: Table = world.load(&text).and_then(|f| f.call(())).unwrap_or_else(|err| {
                panic!("{}.{}: {err}", record.name, field.name);
            });
            let (mut mistakes, mut functions) = (Vec::new(), Vec::new());
            Reader::new(0, &mut mistakes, &mut functions).read_record(&table, record);
            mistakes.retain(|m| m.code != Code::Missing);
            assert!(
                mistakes.is_empty(),
                "{}.{}: {mistakes:?}",
                record.name,
                field.name
            );
        }
    }
}

/// What the tests and the examples say, by file.
fn tests() -> Vec<(String, String)> {
    let is_source = |p: &Path| {
        p.extension()
            .is_some_and(|e| e == "rs" || e == "lua" || e == "snap")
    };
    let mut found = Vec::new();
    for dir in ["tests", "examples", "stdlib-lua"] {
        let is_test =
            |p: &Path| is_source(p) && (dir != "stdlib-lua" || p.to_string_lossy().ends_with("_test.lua"));
        files(&top().join(dir), &is_test, &mut found);
    }
    let mut sources = Vec::new();
    files(
        &top().join("src"),
        &|p| p.extension().is_some_and(|e| e == "rs"),
        &mut sources,
    );
    for (path, text) in sources
        .into_iter()
        .filter(|(path, _)| !path.contains("/lua/registry/"))
    {
        if path.ends_with("tests.rs") || path.contains("/tests/") {
            found.push((path, text));
        } else if let Some(at) = text.find("#[cfg(test)]") {
            found.push((path, text[at..].to_owned()));
        }
    }
    found
}

/// Whether `name` stands there as a word, with one of `next` behind it.
fn is_used(text: &str, name: &str, next: &[char]) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let rest = &text[at + name.len()..];
        !text[..at].ends_with(is_part)
            && !rest.starts_with(is_part)
            && (next.is_empty()
                || rest.trim_start().starts_with(next)
                || rest.trim_start().starts_with("\\\""))
    })
}

#[test]
fn every_entry_field_and_code_has_a_test() {
    let tests = tests();
    let some = |name: &str, next: &[char]| tests.iter().any(|(_, text)| is_used(text, name, next));
    let mut untested = Vec::new();
    for (_, entry) in entries().filter(|(_, e)| e.gives.is_none()) {
        // A call: `f(`, `f {`, `f "`; passed on: `f,` and `f)`.
        let next: &[char] = match entry.params {
            Some(_) => &['(', '{', '"', '\'', '[', ',', ')'],
            None => &[],
        };
        if !some(entry.last(), next) {
            untested.push(entry.name.to_owned());
        }
    }
    for record in records() {
        for field in record.fields.iter().filter(|f| !some(f.name, &['=', ']'])) {
            untested.push(format!("{}.{}", record.name, field.name));
        }
    }
    for code in Code::ALL {
        let named = format!("Code::{code:?}");
        let is_told = tests
            .iter()
            .any(|(_, text)| text.contains(code.as_str()) || text.contains(&named));
        if !is_told || code.text().is_empty() {
            untested.push(code.as_str().to_owned());
        }
    }
    assert!(untested.is_empty(), "without a test: {untested:#?}");
}
