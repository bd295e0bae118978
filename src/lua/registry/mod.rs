//! Everything that Lua can call or set, held as data. `hostel doc`, docs/lua, the editor's LuaCATS meta files, the
//! linters' standard libraries and the completion of the shell are made from it and from nothing else.
//!
//! Two halves: the *fields* of tables are [`Record`]s (`guest::schema`), by which tables are also validated; what is
//! *called* is a [`Module`] of [`Entry`]s, one file a module in this folder.
//!
//! # To add a module
//! 1. `src/lua/registry/NAME.rs` with `pub(super) static MODULE: Module` (see `net.rs` for a small one, `hostel.rs` for one
//!    with classes and tables of options).
//! 2. `mod NAME;` below and `&NAME::MODULE` in [`MODULES`], in the order in which they are documented.
//! 3. A class that is made in Rust (`impl UserData for X`) has a line in `walk.rs`; one that is made in Lua says in
//!    `sample` how to get one.
//! 4. `HOSTEL_BLESS=1 cargo test --test lua reference` renews docs/lua.
//!
//! An [`Entry`] is named as it is called: `http.get` (a function of the module, `http` being what the module is
//! called in its users' code), `saga:step` (a method of the class whose [`Class::word`] is `saga`), `guest` (a word of
//! recipes, in a module without a local).
//!
//! Tests in `walk.rs` fail on an entry without documentation, example or test, an entry of something that does not
//! exist, and something callable that has no entry: they walk the Lua tables of recipes and of scripts.

pub mod completion;
pub mod doc;
mod hook;
mod hostel;
mod inspect;
mod linters;
mod manual;
mod markdown;
mod meta;
mod net;
#[cfg(test)]
mod recorder;
mod standard;
mod standard_scripts;
mod testing;
#[cfg(test)]
mod walk;
mod words;
mod work;

use std::sync::OnceLock;

pub use linters::{luacheck, not_in_recipes, recipe_words, selene};
pub use manual::{Page, manual};
pub use markdown::reference;
pub use meta::{globals_meta, module_meta};

use crate::guest::schema::{GUEST, Record, Type};

/// Every module, in the order in which they are documented.
pub static MODULES: &[&Module] = &[
    &words::MODULE,
    &hook::MODULE,
    &hostel::MODULE,
    &net::MODULE,
    &inspect::MODULE,
    &testing::MODULE,
    &work::FLOW,
    &work::EXEC,
    &work::FS,
    &work::HTTP,
    &work::JSON,
    &work::LOG,
    &work::SSH,
    &work::TCP,
    &work::TEMPLATE,
    &work::TIME,
    &work::TOML,
    &standard::BASE,
    &standard::STRING,
    &standard::TABLE,
    &standard::MATH,
    &standard::UTF8,
    &standard_scripts::COROUTINE,
    &standard_scripts::IO,
    &standard_scripts::OS,
    &standard_scripts::PACKAGE,
];

/// What belongs together: a module that is required, or words that are there without.
#[derive(Debug)]
pub struct Module {
    /// The topic of `hostel doc`, and what is required: `hostel.net`.
    pub name: &'static str,
    /// What comes before the `.` in the names of its functions: `net`. Empty for words.
    pub local: &'static str,
    /// Whether it is there without `require`.
    pub is_global: bool,
    /// What it is for.
    pub doc: &'static str,
    /// Where it exists.
    pub places: Places,
    /// Its functions, values, and the methods of its classes.
    pub entries: &'static [Entry],
    /// What its functions return.
    pub classes: &'static [Class],
    /// The tables that its functions take.
    pub records: &'static [&'static Record],
}

/// Something that is called, or a value.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As it is written: `hostel.context`, `context:run`, `guest`, `math.pi`.
    pub name: &'static str,
    /// What it takes; `None` for a value.
    pub params: Option<&'static [Param]>,
    /// The LuaCATS types of what it returns, with commas between them; empty when nothing. A value's own type.
    pub returns: &'static str,
    /// What it does, with units.
    pub doc: &'static str,
    /// What goes wrong, and how it shows.
    pub errors: &'static str,
    /// An expression or a statement.
    pub example: &'static str,
    /// What the example gives, as an expression. A test compares them.
    pub gives: Option<&'static str>,
    /// The first version of hostel that has it.
    pub since: &'static str,
    /// Where it exists, when that is less than where its module does.
    pub places: Option<Places>,
}

/// A parameter.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its name; `...` for any number.
    pub name: &'static str,
    /// What may be given.
    pub kind: Given,
    /// What it means.
    pub doc: &'static str,
    /// What holds without it, as it would be written. A parameter with a default may be left out.
    pub default: Option<&'static str>,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy)]
pub enum Given {
    /// In the words of LuaCATS.
    Lua(&'static str),
    /// By the schema, which also validates it.
    Type(&'static Type),
    /// A table of these fields.
    Record(&'static Record),
}

/// What a value that is no plain table can do.
#[derive(Debug)]
pub struct Class {
    /// Its LuaCATS class is `hostel.NAME`.
    pub name: &'static str,
    /// What comes before the `:` in the names of its methods.
    pub word: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// What can be read of it.
    pub fields: &'static [Member],
    /// An expression that makes one, for a class that is made in Lua.
    pub sample: Option<&'static str>,
}

/// A field that can be read.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its LuaCATS type.
    pub kind: &'static str,
    /// What it holds, with its unit.
    pub doc: &'static str,
}

/// Where something exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// In recipes.
    pub recipes: bool,
    /// In scripts, for `hostel run`.
    pub scripts: bool,
    /// In tests, for `hostel test`.
    pub tests: bool,
}

impl Places {
    /// Recipes, and what is required by them.
    pub const RECIPES: Self = Self::new(true, false, false);
    /// Scripts.
    pub const SCRIPTS: Self = Self::new(false, true, false);
    /// Tests.
    pub const TESTS: Self = Self::new(false, false, true);
    /// Scripts and tests.
    pub const PROGRAMS: Self = Self::new(false, true, true);
    /// Everywhere.
    pub const ALL: Self = Self::new(true, true, true);

    const fn new(recipes: bool, scripts: bool, tests: bool) -> Self {
        Self {
            recipes,
            scripts,
            tests,
        }
    }

    /// `recipes, scripts`.
    pub fn text(self) -> String {
        let all = [
            (self.recipes, "recipes"),
            (self.scripts, "scripts"),
            (self.tests, "tests"),
        ];
        let named: Vec<&str> = all.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        named.join(", ")
    }
}

/// A function or method. What differs from the usual is said by the builders below.
pub(crate) const fn function(
    name: &'static str,
    params: &'static [Param],
    returns: &'static str,
    doc: &'static str,
    example: &'static str,
) -> Entry {
    Entry {
        name,
        params: Some(params),
        returns,
        doc,
        errors: "",
        example,
        gives: None,
        since: "0.1",
        places: None,
    }
}

/// A value that is no function.
pub(crate) const fn value(
    name: &'static str,
    kind: &'static str,
    doc: &'static str,
    example: &'static str,
) -> Entry {
    Entry {
        params: None,
        ..function(name, &[], kind, doc, example)
    }
}

/// A parameter that must be given, with its LuaCATS type.
pub(crate) const fn param(name: &'static str, kind: &'static str, doc: &'static str) -> Param {
    Param {
        name,
        kind: Given::Lua(kind),
        doc,
        default: None,
    }
}

/// A parameter that is a table of options.
pub(crate) const fn table(name: &'static str, record: &'static Record, doc: &'static str) -> Param {
    Param {
        name,
        kind: Given::Record(record),
        doc,
        default: None,
    }
}

/// A parameter that the schema describes.
pub(crate) const fn typed(name: &'static str, kind: &'static Type, doc: &'static str) -> Param {
    Param {
        name,
        kind: Given::Type(kind),
        doc,
        default: None,
    }
}

/// A field of a class.
pub(crate) const fn member(name: &'static str, kind: &'static str, doc: &'static str) -> Member {
    Member { name, kind, doc }
}

impl Param {
    /// It may be left out.
    pub(crate) const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Its type, as LuaCATS writes it.
    pub fn lua(&self) -> String {
        match self.kind {
            Given::Lua(text) => text.to_owned(),
            Given::Type(kind) => kind.lua(),
            Given::Record(record) => format!("hostel.{}", record.name),
        }
    }

    /// The fields that can be written in it.
    pub fn record(&self) -> Option<&'static Record> {
        match self.kind {
            Given::Lua(_) => None,
            Given::Type(kind) => kind.record(),
            Given::Record(record) => Some(record),
        }
    }
}

impl Entry {
    /// What goes wrong.
    pub(crate) const fn errors(mut self, text: &'static str) -> Self {
        self.errors = text;
        self
    }

    /// What the example gives.
    pub(crate) const fn gives(mut self, text: &'static str) -> Self {
        self.gives = Some(text);
        self
    }

    /// Where it exists.
    pub(crate) const fn only(mut self, places: Places) -> Self {
        self.places = Some(places);
        self
    }

    /// The first version that has it.
    #[allow(dead_code, reason = "everything is of the first version so far")]
    pub(crate) const fn since(mut self, version: &'static str) -> Self {
        self.since = version;
        self
    }

    /// `hostel.context(options: hostel.context_options): hostel.Context`.
    pub fn signature(&self) -> String {
        let Some(params) = self.params else {
            return format!("{}: {}", self.name, self.returns);
        };
        let params: Vec<String> = params
            .iter()
            .map(|p| {
                let mark = if p.default.is_some() { "?" } else { "" };
                format!("{}{mark}: {}", p.name, p.lua())
            })
            .collect();
        let returns = if self.returns.is_empty() {
            String::new()
        } else {
            format!(": {}", self.returns)
        };
        format!("{}({}){returns}", self.name, params.join(", "))
    }

    /// The first sentence of its documentation.
    pub fn summary(&self) -> &'static str {
        first_sentence(self.doc)
    }

    /// The name without what it belongs to.
    pub fn last(&self) -> &'static str {
        self.name.rsplit(['.', ':']).next().unwrap_or(self.name)
    }
}

/// Up to the first full stop that ends a sentence.
pub(crate) fn first_sentence(text: &'static str) -> &'static str {
    text.split_inclusive(". ").next().unwrap_or(text).trim_end()
}

/// Every entry with its module.
pub fn entries() -> impl Iterator<Item = (&'static Module, &'static Entry)> {
    MODULES
        .iter()
        .flat_map(|module| module.entries.iter().map(move |entry| (*module, entry)))
}

/// The entry of this name, and its module.
pub fn entry(name: &str) -> Option<(&'static Module, &'static Entry)> {
    entries().find(|(_, entry)| entry.name == name)
}

/// The module of this name.
pub fn module(name: &str) -> Option<&'static Module> {
    MODULES.iter().copied().find(|module| module.name == name)
}

/// Every record: those of a recipe, then those that functions take.
pub fn records() -> &'static [&'static Record] {
    static ALL: OnceLock<Vec<&'static Record>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut seen = Vec::new();
        GUEST.gather(&mut seen);
        for module in MODULES {
            for record in module.records {
                record.gather(&mut seen);
            }
            for param in module.entries.iter().flat_map(|e| e.params.unwrap_or(&[])) {
                if let Some(record) = param.record() {
                    record.gather(&mut seen);
                }
            }
        }
        seen
    })
}
