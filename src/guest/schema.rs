//! Every table that Lua can write, held as data: by it tables are validated, and with what can be called
//! (`lua::registry`) it is what `hostel doc`, the editor's meta files and the reference in docs/lua are made from.
//!
//! The schema describes what is *written* (a size is `"512M"` or an integer, an address is one text or a list);
//! [`Spec`](super::Spec) is what is *meant*. A [`Field`] says where its value lands, and [`Scalar::parse`] turns
//! what was written into the one form that serde reads into the specification. Nothing here knows Lua.

mod options;
mod records;
pub(crate) mod scalars;

pub use options::*;
pub(crate) use records::field;
pub use records::*;

use super::Invalid;

/// A table of named fields.
#[derive(Debug)]
pub struct Record {
    /// Its name in the documentation and, with `hostel.` before it, its LuaCATS class.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Its fields, in the order in which they are documented.
    pub fields: &'static [Field],
    /// Fields of which at most one makes sense. A layer that sets one replaces what a layer below chose.
    pub one_of: &'static [&'static str],
}

impl Record {
    /// Adds it, and every record that its fields lead to, to those that were seen already.
    pub fn gather(&'static self, seen: &mut Vec<&'static Record>) {
        if seen.iter().any(|other| std::ptr::eq(*other, self)) {
            return;
        }
        seen.push(self);
        for below in self.fields.iter().filter_map(|field| field.kind.record()) {
            below.gather(seen);
        }
    }
}

/// One field of a [`Record`].
#[derive(Debug)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What may be written.
    pub kind: Type,
    /// What holds without it, as it would be written.
    pub default: Option<&'static str>,
    /// Whether a record without it is incomplete. Templates may be.
    pub required: bool,
    /// What it means, with units.
    pub doc: &'static str,
    /// The first version of hostel that has it.
    pub since: &'static str,
    /// The right-hand side of an example.
    pub example: &'static str,
    /// The map of the same record that it is short for a key of: `limits.nofile` is `limits.rlimits.nofile`.
    pub inside: Option<&'static str>,
}

/// What may be written as a value.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// A text or a number with a meaning of its own.
    Scalar(&'static Scalar),
    /// The same, or a `secret`.
    Secret(&'static Scalar),
    /// One of these words.
    Enum(&'static [&'static str]),
    /// A list.
    List(&'static Type),
    /// A list, or one value that stands for a list of one.
    OneOrList(&'static Type),
    /// A table from names to values.
    Map(&'static Scalar, &'static Type),
    /// A table of known fields.
    Record(&'static Record),
    /// The record, or the value of this one field of it.
    Short(&'static str, &'static Record),
    /// The record, or a text that stands for it.
    Parsed(&'static Record, fn(&str) -> Result<serde_json::Value, Invalid>),
    /// A function.
    Function,
    /// A template, or a list of templates.
    Templates,
    /// What this says in the words of LuaCATS: the Lua module that takes it checks it itself.
    Lua(&'static str),
}

/// A value as it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Given<'a> {
    /// A text.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction, or one that was computed as such (`3.0`).
    Number(f64),
}

/// A text or number with a meaning of its own: a size, an address, a capability.
#[derive(Debug)]
pub struct Scalar {
    /// What it is called, with its article: `a size`.
    pub name: &'static str,
    /// How it is written.
    pub form: Form,
    /// Something valid.
    pub example: &'static str,
    /// What was written, as the specification's JSON has it.
    pub parse: fn(Given<'_>) -> Result<serde_json::Value, Invalid>,
}

/// The Lua types of a [`Scalar`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A string.
    Text,
    /// An integer.
    Integer,
    /// A string or an integer.
    TextOrInteger,
    /// A string or any number.
    TextOrNumber,
}

impl Form {
    /// As LuaCATS writes it.
    pub fn lua(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::TextOrInteger => "string|integer",
            Self::TextOrNumber => "string|number",
        }
    }

    /// Whether a value of this kind may be written.
    pub fn takes(self, given: Given<'_>) -> bool {
        match given {
            Given::Text(_) => self != Self::Integer,
            Given::Integer(_) => self != Self::Text,
            Given::Number(_) => self == Self::TextOrNumber,
        }
    }
}

impl Record {
    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Type {
    /// What is expected, for a message: `a size`, `a list of capabilities`.
    pub fn expected(&self) -> String {
        match self {
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Scalar(scalar) => scalar.name.to_owned(),
            Self::Secret(scalar) => format!("{} or a `secret`", scalar.name),
            Self::Enum(words) => words
                .iter()
                .map(|w| format!("\"{w}\""))
                .collect::<Vec<_>>()
                .join(", "),
            Self::List(item) => format!("a list (each item {})", item.expected()),
            Self::OneOrList(item) => format!("{} or a list of them", item.expected()),
            Self::Map(key, value) => format!("a table from {} to {}", key.name, value.expected()),
            Self::Record(_) => "a table".to_owned(),
            Self::Short(field, record) => match record.field(field) {
                Some(field) => format!("{} or a table", field.kind.expected()),
                None => "a table".to_owned(),
            },
            Self::Parsed(..) => "a text or a table".to_owned(),
            Self::Function => "a function".to_owned(),
            Self::Templates => "a template or a list of templates".to_owned(),
            Self::Lua(kind) => format!("`{kind}`"),
        }
    }

    /// As LuaCATS writes it.
    pub fn lua(&self) -> String {
        match self {
            Self::Bool => "boolean".to_owned(),
            Self::Scalar(scalar) if std::ptr::eq(*scalar, &raw const scalars::GUEST) => {
                "string|hostel.Guest".to_owned()
            }
            Self::Scalar(scalar) => scalar.form.lua().to_owned(),
            Self::Secret(scalar) => format!("{}|hostel.Secret", scalar.form.lua()),
            Self::Enum(words) => words
                .iter()
                .map(|w| format!("\"{w}\""))
                .collect::<Vec<_>>()
                .join("|"),
            Self::List(item) => format!("({})[]", item.lua()),
            Self::OneOrList(item) => format!("{0}|({0})[]", item.lua()),
            Self::Map(_, value) => format!("table<string, {}>", value.lua()),
            Self::Record(record) => format!("hostel.{}", record.name),
            Self::Short(field, record) => match record.field(field) {
                Some(field) => format!("{}|hostel.{}", field.kind.lua(), record.name),
                None => format!("hostel.{}", record.name),
            },
            Self::Parsed(record, _) => format!("string|hostel.{}", record.name),
            Self::Function => "fun(h: hostel.Handle)".to_owned(),
            Self::Templates => "hostel.Template|hostel.Template[]".to_owned(),
            Self::Lua(kind) => (*kind).to_owned(),
        }
    }

    /// The record whose fields can be written below a value of this type, if there is one.
    pub fn record(&self) -> Option<&'static Record> {
        match self {
            Self::Record(record) | Self::Short(_, record) | Self::Parsed(record, _) => Some(record),
            Self::List(item) | Self::OneOrList(item) | Self::Map(_, item) => item.record(),
            _ => None,
        }
    }
}

/// The field at a path of names (`limits.memory`), where a map's key or a list's place may stand for any.
pub fn find(path: &str) -> Option<&'static Field> {
    let mut record = &GUEST;
    let mut found = None;
    let mut names = path.split('.');
    while let Some(name) = names.next() {
        let field = record.field(name)?;
        found = Some(field);
        let Some(below) = field.kind.record() else {
            return names.next().is_none().then_some(field);
        };
        record = below;
        if matches!(field.kind, Type::Map(..) | Type::List(_) | Type::OneOrList(_)) {
            names.next();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_documented_and_every_example_is_valid() {
        let mut records = Vec::new();
        GUEST.gather(&mut records);
        assert!(records.len() > 8);
        for record in records {
            assert!(!record.doc.is_empty(), "{}", record.name);
            for field in record.fields {
                assert!(field.doc.ends_with('.'), "{}.{}", record.name, field.name);
                assert!(!field.example.is_empty(), "{}.{}", record.name, field.name);
                assert!(!field.since.is_empty());
                if let Some(map) = field.inside {
                    assert!(matches!(record.field(map).map(|f| &f.kind), Some(Type::Map(..))));
                }
                if let Type::Scalar(scalar) | Type::Secret(scalar) = field.kind
                    && scalar.form != Form::Integer
                {
                    let parsed = (scalar.parse)(Given::Text(scalar.example));
                    assert!(parsed.is_ok(), "{}: {parsed:?}", scalar.name);
                }
            }
        }
    }

    #[test]
    fn finds_by_path() {
        for path in [
            "limits",
            "limits.memory",
            "services.nginx.exec",
            "mounts.1.source",
            "health.http.port",
        ] {
            assert_eq!(find(path).map(|f| f.name), path.rsplit('.').next(), "{path}");
        }
        assert!(find("limits.memory.x").is_none());
        assert!(find("limitz").is_none());
    }
}
