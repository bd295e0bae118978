//! Lua tables to [`Node`]s by the schema. Every mistake of a body is found, not only the first.
//!
//! serde alone would not do: `{ 'a', 'b', x = 1 }` read as a list silently loses `x`, holes pass, and `3.0` is
//! taken or refused by luck.

use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::{Table, Value as Lua};
use serde_json::Value as Json;

use super::diagnostic::Code;
use super::value::{Key, LayerId, Node, Value};
use super::words::{AppendList, GuestRef, SecretRef, TemplateRef, UnsetMark};
use crate::guest::Invalid;
use crate::guest::caps::nearest;
use crate::guest::schema::{Given, Record, Scalar, Type};

/// A mistake in a body, before its place in the source is known.
#[derive(Debug, Clone)]
pub(crate) struct Mistake {
    pub(crate) code: Code,
    /// What is wrong, without the guest: ``unknown field `pidz` ``.
    pub(crate) message: String,
    /// Where in the body, as written.
    pub(crate) path: Vec<String>,
    /// Whether the value is to be shown, or its key.
    pub(crate) at: At,
    pub(crate) layer: LayerId,
    pub(crate) help: Option<String>,
}

/// Which part of a field a caret points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Key,
    Value,
}

/// Reads the bodies of one evaluation.
pub(crate) struct Reader<'a> {
    pub(crate) layer: LayerId,
    pub(crate) mistakes: &'a mut Vec<Mistake>,
    pub(crate) functions: &'a mut Vec<mlua::Function>,
    layers: Rc<[LayerId]>,
    path: Vec<Key>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        layer: LayerId,
        mistakes: &'a mut Vec<Mistake>,
        functions: &'a mut Vec<mlua::Function>,
    ) -> Self {
        Self {
            layer,
            mistakes,
            functions,
            layers: Rc::new([layer]),
            path: Vec::new(),
        }
    }

    fn mistake(&mut self, code: Code, at: At, message: String, help: Option<String>) {
        self.mistakes.push(Mistake {
            code,
            message,
            path: self.path.iter().map(ToString::to_string).collect(),
            at,
            layer: self.layer,
            help,
        });
    }

    fn node(&self, value: Value) -> Node {
        Node {
            value,
            layers: Rc::clone(&self.layers),
        }
    }

    fn below<T>(&mut self, key: impl Into<Key>, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.into());
        let result = read(self);
        self.path.pop();
        result
    }

    /// The name by which a message speaks of the value at hand.
    fn subject(&self) -> String {
        match self.path.last() {
            Some(last) if last.bytes().all(|b| b.is_ascii_digit()) => format!("item {last}"),
            Some(last) => format!("`{last}`"),
            None => "the body".to_owned(),
        }
    }

    fn wrong_type(&mut self, kind: &Type, value: &Lua) {
        let mut help = None;
        if let (Type::List(_), Lua::String(text)) = (kind, value) {
            let text = text.to_string_lossy();
            help = Some(
                if text.contains(' ') && self.path.last().is_some_and(|p| p == "exec") {
                    let words: Vec<String> = text.split_whitespace().map(|w| format!("\"{w}\"")).collect();
                    format!(
                        "there is no shell in between; write the arguments one by one: `{{ {} }}`",
                        words.join(", ")
                    )
                } else {
                    format!("write `{{ \"{}\" }}`", text.escape_debug())
                },
            );
        }
        if matches!(kind, Type::Secret(_) | Type::Scalar(_))
            && matches!(value, Lua::Integer(_) | Lua::Number(_))
        {
            let (Type::Secret(scalar) | Type::Scalar(scalar)) = kind else {
                return;
            };
            help = Some(format!("such as \"{}\"", scalar.example));
        }
        if matches!(kind, Type::Templates) && matches!(value, Lua::String(_)) {
            help = Some(
                "pass the template itself: `local base = template \"base\" { ... }`, `from = base`"
                    .to_owned(),
            );
        }
        let message = format!(
            "{} must be {}, not {}",
            self.subject(),
            kind.expected(),
            described(value)
        );
        self.mistake(Code::WrongType, At::Value, message, help);
    }

    /// Reads a value of this type; `None` after a mistake.
    pub(crate) fn read(&mut self, value: &Lua, kind: &'static Type) -> Option<Node> {
        if let Lua::UserData(data) = value {
            if data.is::<UnsetMark>() {
                return Some(self.node(Value::Unset));
            }
            if let Ok(append) = data.borrow::<AppendList>() {
                return self.read_append(&append, kind);
            }
        }
        match kind {
            Type::Bool => match value {
                Lua::Boolean(b) => Some(self.node(Value::Leaf(Json::Bool(*b)))),
                other => self.refuse(kind, other),
            },
            Type::Secret(scalar) => match value {
                Lua::UserData(data) if data.is::<SecretRef>() => {
                    let name = data.borrow::<SecretRef>().ok()?.0.clone();
                    Some(self.node(Value::Secret(name)))
                }
                other => self.read_scalar(other, scalar, kind),
            },
            Type::Scalar(scalar) => self.read_scalar(value, scalar, kind),
            Type::Enum(words) => match value {
                Lua::String(text) => self.read_word(&text.to_string_lossy(), words),
                other => self.refuse(kind, other),
            },
            Type::List(item) => match value {
                Lua::Table(table) => {
                    let items = self.read_list(table, item)?;
                    Some(self.node(Value::List(Rc::new(items))))
                }
                other => self.refuse(kind, other),
            },
            Type::OneOrList(item) => match value {
                Lua::Table(table) => {
                    let items = self.read_list(table, item)?;
                    Some(self.node(Value::List(Rc::new(items))))
                }
                one => {
                    let one = self.read(one, item)?;
                    Some(self.node(Value::List(Rc::new(vec![one]))))
                }
            },
            Type::Map(key, item) => match value {
                Lua::Table(table) => Some(self.read_map(table, key, item)),
                other => self.refuse(kind, other),
            },
            Type::Record(record) => match value {
                Lua::Table(table) => Some(self.read_record(table, record)),
                other => self.refuse(kind, other),
            },
            Type::Short(field, record) => match value {
                Lua::Table(table) => Some(self.read_record(table, record)),
                one => {
                    let value = self.read(one, &record.field(field)?.kind)?;
                    Some(self.node(Value::Map(Rc::new(BTreeMap::from([(
                        Key::Borrowed(field),
                        value,
                    )])))))
                }
            },
            Type::Parsed(record, parse) => match value {
                Lua::Table(table) => Some(self.read_record(table, record)),
                Lua::String(text) => match parse(&text.to_string_lossy()) {
                    Ok(Json::Object(map)) => {
                        let layer = self.layer;
                        let map = map
                            .into_iter()
                            .map(|(k, v)| (Key::Owned(k), Node::new(Value::Leaf(v), layer)));
                        Some(self.node(Value::Map(Rc::new(map.collect()))))
                    }
                    Ok(other) => Some(self.node(Value::Leaf(other))),
                    Err(invalid) => self.invalid(invalid),
                },
                other => self.refuse(kind, other),
            },
            Type::Function => match value {
                Lua::Function(function) => {
                    self.functions.push(function.clone());
                    Some(self.node(Value::Function(self.functions.len() - 1)))
                }
                other => self.refuse(kind, other),
            },
            // `from` decides the merge before the body is read; here only its type is checked.
            Type::Templates => {
                let is_template = |v: &Lua| matches!(v, Lua::UserData(data) if data.is::<TemplateRef>());
                match value {
                    one if is_template(one) => {}
                    Lua::Table(table)
                        if table.raw_len() > 0
                            && table
                                .clone()
                                .pairs::<Lua, Lua>()
                                .all(|p| p.is_ok_and(|(_, v)| is_template(&v))) => {}
                    other => return self.refuse(kind, other),
                }
                None
            }
        }
    }

    fn refuse(&mut self, kind: &Type, value: &Lua) -> Option<Node> {
        self.wrong_type(kind, value);
        None
    }

    fn invalid(&mut self, invalid: Invalid) -> Option<Node> {
        self.mistake(Code::BadValue, At::Value, invalid.message, invalid.hint);
        None
    }

    fn read_scalar(&mut self, value: &Lua, scalar: &Scalar, kind: &Type) -> Option<Node> {
        let text;
        let given = match value {
            Lua::String(s) => {
                let Ok(valid) = s.to_str() else {
                    let message = format!("{} is not valid UTF-8", self.subject());
                    self.mistake(Code::BadValue, At::Value, message, None);
                    return None;
                };
                text = valid.to_owned();
                Given::Text(&text)
            }
            Lua::Integer(n) => Given::Integer(*n),
            Lua::Number(n) => Given::Number(*n),
            Lua::UserData(data) if data.is::<SecretRef>() => {
                let message = format!("{} cannot be a secret", self.subject());
                let help = "secrets go into `env` and into the content of `files`".to_owned();
                self.mistake(Code::Secret, At::Value, message, Some(help));
                return None;
            }
            // A guest stands for its name: `depends = { db }`.
            Lua::UserData(data) if data.is::<GuestRef>() => {
                text = data.borrow::<GuestRef>().ok()?.0.clone();
                Given::Text(&text)
            }
            other => return self.refuse(kind, other),
        };
        if let Given::Number(n) = given
            && !scalar.form.takes(given)
            && scalar.form.takes(Given::Integer(0))
        {
            let message = format!("{} must be a whole number, not `{}`", self.subject(), float(n));
            let help = if n.fract() == 0.0 {
                format!("write `{n:.0}`; use `//` to divide whole numbers")
            } else {
                format!("round it: `{:.0}`", n.round())
            };
            self.mistake(Code::Float, At::Value, message, Some(help));
            return None;
        }
        if !scalar.form.takes(given) {
            return self.refuse(kind, value);
        }
        match (scalar.parse)(given) {
            Ok(json) => Some(self.node(Value::Leaf(json))),
            Err(invalid) => self.invalid(invalid),
        }
    }

    fn read_word(&mut self, word: &str, words: &'static [&'static str]) -> Option<Node> {
        if words.contains(&word) {
            return Some(self.node(Value::Leaf(Json::String(word.to_owned()))));
        }
        let help = match nearest(word, words.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of {}", Type::Enum(words).expected()),
        };
        let message = format!("{} cannot be \"{}\"", self.subject(), word.escape_debug());
        self.mistake(Code::BadValue, At::Value, message, Some(help));
        None
    }

    fn read_append(&mut self, append: &AppendList, kind: &'static Type) -> Option<Node> {
        let (Type::List(item) | Type::OneOrList(item)) = kind else {
            let message = format!("`append` makes a list, and {} is none", self.subject());
            self.mistake(Code::Append, At::Value, message, None);
            return None;
        };
        let items = self.read_list(&append.0, item)?;
        Some(self.node(Value::Append(Rc::new(items))))
    }

    /// A table whose keys are exactly 1 to n.
    fn read_list(&mut self, table: &Table, item: &'static Type) -> Option<Vec<Node>> {
        let mut places: Vec<(i64, Lua)> = Vec::new();
        let mut named: Vec<String> = Vec::new();
        for pair in table.pairs::<Lua, Lua>() {
            match pair {
                Ok((Lua::Integer(n), value)) => places.push((n, value)),
                Ok((key, _)) => named.push(key_text(&key)),
                Err(_) => return None,
            }
        }
        let before = self.mistakes.len();
        self.plain_table(table);
        named.sort();
        for key in named {
            let subject = self.subject();
            let help = if places.is_empty() {
                "write `{ a, b, c }`".to_owned()
            } else {
                "a table is a list or has names, not both; the key would be lost".to_owned()
            };
            self.below(key.clone(), |reader| {
                let message = format!("{subject} is a list and cannot have the key `{key}`");
                reader.mistake(Code::Mixed, At::Key, message, Some(help));
            });
        }
        places.sort_by_key(|(n, _)| *n);
        let mut items = Vec::with_capacity(places.len());
        for (index, (place, value)) in places.iter().enumerate() {
            let expected = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1);
            if *place != expected {
                let message = format!("{} has a hole at place {expected}", self.subject());
                let help = "an item there is `nil`: an undefined name, or a function that returned nothing";
                self.mistake(Code::Hole, At::Value, message, Some(help.to_owned()));
                break;
            }
            if let Lua::UserData(data) = value
                && (data.is::<UnsetMark>() || data.is::<AppendList>())
            {
                self.below(place.to_string(), |reader| {
                    let message = "`append` and `unset` stand for a whole list, not for an item".to_owned();
                    reader.mistake(Code::Append, At::Value, message, None);
                });
                continue;
            }
            items.extend(self.below(place.to_string(), |reader| reader.read(value, item)));
        }
        (self.mistakes.len() == before).then_some(items)
    }

    /// A table with a metatable may show fields that are not in it; they would be lost.
    fn plain_table(&mut self, table: &Table) {
        if table.has_metatable() {
            let message = format!("{} has a metatable", self.subject());
            let help = "copy the fields into a plain table, or use a template".to_owned();
            self.mistake(Code::Mixed, At::Value, message, Some(help));
        }
    }

    /// The entries of a table with names, sorted; a place in it is a mistake.
    fn entries(&mut self, table: &Table) -> Vec<(String, Lua)> {
        self.plain_table(table);
        let mut entries = Vec::new();
        let mut stray = Vec::new();
        for (key, value) in table.pairs::<Lua, Lua>().flatten() {
            match &key {
                Lua::String(name) => entries.push((name.to_string_lossy(), value)),
                other => stray.push((key_text(other), value)),
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        stray.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, value) in stray {
            let subject = self.subject();
            self.below(key, |reader| {
                let message = format!("{subject} has {} without a name", described(&value));
                let help = "write `name = value`".to_owned();
                reader.mistake(Code::Mixed, At::Value, message, Some(help));
            });
        }
        entries
    }

    fn read_map(&mut self, table: &Table, key: &'static Scalar, item: &'static Type) -> Node {
        let mut map = BTreeMap::new();
        for (name, value) in self.entries(table) {
            let is_valid = self.below(name.clone(), |reader| match (key.parse)(Given::Text(&name)) {
                Ok(_) => true,
                Err(invalid) => {
                    reader.mistake(Code::BadValue, At::Key, invalid.message, invalid.hint);
                    false
                }
            });
            let node = self.below(name.clone(), |reader| reader.read(&value, item));
            if let (true, Some(node)) = (is_valid, node) {
                map.insert(Key::Owned(name), node);
            }
        }
        self.node(Value::Map(Rc::new(map)))
    }

    /// A table of known fields.
    pub(crate) fn read_record(&mut self, table: &Table, record: &'static Record) -> Node {
        let mut map: BTreeMap<Key, Node> = BTreeMap::new();
        let mut chosen: Option<String> = None;
        for (name, value) in self.entries(table) {
            let Some(field) = record.field(&name) else {
                let help = match nearest(&name, record.fields.iter().map(|f| f.name)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => elsewhere(&name, record),
                };
                self.below(name.clone(), |reader| {
                    let message = format!("unknown field `{}`", name.escape_debug());
                    reader.mistake(Code::UnknownField, At::Key, message, Some(help));
                });
                continue;
            };
            let is_unset = matches!(&value, Lua::UserData(data) if data.is::<UnsetMark>());
            if record.one_of.contains(&field.name) && !is_unset {
                if let Some(first) = &chosen {
                    let message = format!("`{name}` and `{first}` exclude each other");
                    let help = format!("keep one of {}", record.one_of.join(", "));
                    self.below(name.clone(), |reader| {
                        reader.mistake(Code::Conflict, At::Key, message, Some(help));
                    });
                    continue;
                }
                chosen = Some(name.clone());
            }
            let Some(node) = self.below(field.name, |reader| reader.read(&value, &field.kind)) else {
                continue;
            };
            match field.inside {
                None => match map.get_mut(name.as_str()) {
                    Some(there) => there.merge(&node, Some(&field.kind)),
                    None => {
                        map.insert(Key::Borrowed(field.name), node);
                    }
                },
                Some(into) => {
                    let layer = self.layer;
                    let outer = map
                        .entry(Key::Borrowed(into))
                        .or_insert_with(|| Node::new(Value::Map(Rc::default()), layer));
                    if let Value::Map(inner) = &mut outer.value {
                        Rc::make_mut(inner).insert(Key::Borrowed(field.name), node);
                    }
                }
            }
        }
        self.node(Value::Map(Rc::new(map)))
    }
}

/// Where a field that this record lacks could belong.
fn elsewhere(name: &str, record: &Record) -> String {
    let guest = &crate::guest::schema::GUEST;
    let homes: Vec<String> = guest
        .fields
        .iter()
        .filter_map(|field| match field.kind {
            Type::Record(below) if !std::ptr::eq(below, record) => {
                below.field(name).map(|_| format!("{}.{name}", field.name))
            }
            _ => None,
        })
        .collect();
    if let [home] = homes.as_slice() {
        return format!("it belongs to `{home}`");
    }
    if !std::ptr::eq(record, guest) && guest.field(name).is_some() {
        return format!("it belongs to the guest itself, not to `{}`", record.name);
    }
    format!(
        "known are {}",
        record
            .fields
            .iter()
            .map(|f| f.name)
            .collect::<Vec<_>>()
            .join(", ")
    )
}

fn float(n: f64) -> String {
    if n.fract() == 0.0 && n.abs() < 1e15 {
        format!("{n:.1}")
    } else {
        n.to_string()
    }
}

fn key_text(key: &Lua) -> String {
    match key {
        Lua::String(text) => text.to_string_lossy(),
        Lua::Integer(n) => n.to_string(),
        Lua::Number(n) => float(*n),
        Lua::Boolean(b) => b.to_string(),
        other => other.type_name().to_owned(),
    }
}

/// What a value is, for a message. A secret's name is shown, its value is not even known here.
pub(crate) fn described(value: &Lua) -> String {
    match value {
        Lua::Nil => "nil".to_owned(),
        Lua::Boolean(b) => format!("`{b}`"),
        Lua::Integer(n) => format!("the number `{n}`"),
        Lua::Number(n) => format!("the number `{}`", float(*n)),
        Lua::String(text) => {
            let text = text.to_string_lossy();
            let short: String = text.chars().take(40).collect();
            let dots = if short.len() < text.len() { "..." } else { "" };
            format!("the text \"{}{dots}\"", short.escape_debug())
        }
        Lua::Table(_) => "a table".to_owned(),
        Lua::Function(_) => "a function".to_owned(),
        Lua::UserData(data) if data.is::<SecretRef>() => "a secret".to_owned(),
        Lua::UserData(data) if data.is::<TemplateRef>() => "a template".to_owned(),
        Lua::UserData(data) if data.is::<GuestRef>() => "a guest".to_owned(),
        Lua::UserData(data) if data.is::<AppendList>() => "`append`".to_owned(),
        other => format!("a {}", other.type_name()),
    }
}
