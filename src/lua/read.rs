//! Lua tables to [`Node`]s by the schema. Every mistake of a body is found, not only the first.
//!
//! serde alone would not do: `{ 'a', 'b', x = 1 }` read as a list silently loses `x`, holes pass, and `3.0` is
//! taken or refused by luck.

mod shown;
mod tables;

use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::Value as Lua;
use serde_json::Value as Json;

use super::diagnostic::Code;
use super::order;
use super::value::{Key, LayerId, Node, Value};
use super::words::{AppendList, GuestRef, SecretRef, TemplateRef, UnsetMark};
use crate::guest::Invalid;
use crate::guest::caps::nearest;
use crate::guest::schema::{Form, Given, Scalar, Type};
pub(crate) use shown::described;
use shown::float;

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

impl Mistake {
    /// A mistake at a value, found after the run.
    pub(crate) fn late(
        layer: LayerId,
        path: Vec<String>,
        code: Code,
        message: String,
        help: Option<String>,
    ) -> Self {
        Self {
            code,
            message,
            path,
            at: At::Value,
            layer,
            help,
        }
    }
}

/// Which part of a field a caret points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Key,
    Value,
}

/// How much may still be described. What a recipe's own limits do not count is counted here: a thousand guests with
/// one text of a megabyte are a gigabyte, and one table of a million names a million values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Tables, texts, numbers.
    pub(crate) values: usize,
    /// Bytes of texts and names.
    pub(crate) bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            values: 4_000_000,
            bytes: 64 << 20,
        }
    }
}

impl Room {
    /// Whether nothing more fits.
    pub(crate) fn is_full(self) -> bool {
        self.values == 0 || self.bytes == 0
    }

    fn take(&mut self, bytes: usize) {
        self.values = self.values.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The most entries of one table.
const MOST_ENTRIES: usize = 100_000;

/// The most mistakes that are gathered; nobody reads more.
const MOST_MISTAKES: usize = 2000;

/// Reads the bodies of one evaluation.
pub(crate) struct Reader<'a> {
    pub(crate) room: Room,
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
            room: Room::default(),
            layer,
            mistakes,
            functions,
            layers: Rc::new([layer]),
            path: Vec::new(),
        }
    }

    fn mistake(&mut self, code: Code, at: At, message: String, help: Option<String>) {
        if self.mistakes.len() >= MOST_MISTAKES {
            return;
        }
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
            help = Some(match (&scalar.form, value) {
                // A number may be any text.
                (Form::Text, Lua::Integer(number))
                    if (scalar.parse)(Given::Text(&number.to_string())).is_ok() =>
                {
                    format!("write it as a text: `\"{number}\"`")
                }
                _ => format!("such as \"{}\"", scalar.example),
            });
        }
        if let Type::Record(record) = kind {
            help = tables::sample(record).map(|table| format!("such as `{table}`"));
        }
        if matches!(kind, Type::Templates) {
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
        self.room.take(match value {
            Lua::String(text) => text.as_bytes().len(),
            _ => 0,
        });
        if self.room.is_full() {
            return None;
        }
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
            // No table that is read here has one.
            Type::Lua(_) => None,
            Type::Templates => {
                let is_template = |v: &Lua| matches!(v, Lua::UserData(data) if data.is::<TemplateRef>());
                let is_list = |table: &mlua::Table| {
                    let mut all = table.pairs::<Lua, Lua>();
                    all.all(|p| p.is_ok_and(|(_, v)| is_template(&v)))
                };
                match value {
                    one if is_template(one) => {}
                    Lua::Table(table) if is_list(table) => match order::list(table) {
                        Ok(Ok(items)) if !items.is_empty() => {}
                        Ok(Err(hole)) => {
                            let message = format!("{} has a hole at place {hole}", self.subject());
                            let help = "a template there is `nil`: an undefined name, or a function that returned nothing";
                            self.mistake(Code::Hole, At::Value, message, Some(help.to_owned()));
                        }
                        _ => return self.refuse(kind, value),
                    },
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
}
