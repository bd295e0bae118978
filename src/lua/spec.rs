//! A guest's node to its [`Spec`]. serde reads the node as it is: of a thousand guests, another tree of values between
//! the two cost as much as reading their tables.

use std::collections::btree_map;
use std::path::Path;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{Deserialize as _, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Error;

use super::secret::{self, Slot};
use super::value::{Key, LayerId, Node, Value};
use crate::guest::Spec;

/// The permission bits of a file with a secret content that says nothing of them: its owner's alone.
const SECRET_MODE: u32 = 0o600;

/// Where a secret belongs, its name, and the layer that put it there.
pub(super) type Use = (Slot, String, LayerId);

/// The specification of the guest of this name, and the secrets in it: their names stand there.
pub(super) fn of(node: &Node, name: &str) -> Result<(Spec, Vec<Use>), Error> {
    let mut spec = Spec::deserialize(Guest { node, name })?;
    let mut uses = Vec::new();
    let Value::Map(fields) = &node.value else {
        return Ok((spec, uses));
    };
    if let Some(Value::Map(env)) = fields.get("env").map(|env| &env.value) {
        for (variable, value) in env.iter() {
            if let Value::Secret(secret) = &value.value {
                spec.secret_env.push(variable.to_string());
                uses.push((Slot::Env(variable.to_string()), secret.clone(), value.layer()));
            }
        }
    }
    if let Some(Value::Map(files)) = fields.get("files").map(|files| &files.value) {
        for (path, file) in files.iter() {
            let Some(content) = file.at(&["content"]) else {
                continue;
            };
            if let (Value::Secret(secret), Some(written)) =
                (&content.value, spec.files.get_mut(Path::new(path.as_ref())))
            {
                written.secret = true;
                if file.at(&["mode"]).is_none_or(|mode| is_left_out(&mode.value)) {
                    written.mode = SECRET_MODE;
                }
                uses.push((Slot::File(path.to_string()), secret.clone(), content.layer()));
            }
        }
    }
    Ok((spec, uses))
}

/// Whether a specification has nothing of it.
fn is_left_out(value: &Value) -> bool {
    matches!(value, Value::Unset | Value::Function(_))
}

/// A check that was removed leaves a record without its one choice: no health check at all.
fn is_no_check(field: &str, node: &Node) -> bool {
    let has = |kind: &str| node.at(&[kind]).is_some_and(|node| !is_left_out(&node.value));
    field == "health" && matches!(node.value, Value::Map(_)) && !["tcp", "http", "exec"].into_iter().any(has)
}

/// The whole of a guest: its fields, and its name, which is none of them.
struct Guest<'a> {
    node: &'a Node,
    name: &'a str,
}

impl<'de> Deserializer<'de> for Guest<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Value::Map(fields) = &self.node.value else {
            return (Reader { node: self.node }).deserialize_any(visitor);
        };
        visitor.visit_map(Fields {
            name: Some(self.name),
            is_guest: true,
            rest: fields.iter(),
            value: None,
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// One value of it.
struct Reader<'a> {
    node: &'a Node,
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Leaf(json) => json.deserialize_any(visitor),
            Value::Map(map) => visitor.visit_map(Fields {
                name: None,
                is_guest: false,
                rest: map.iter(),
                value: None,
            }),
            Value::List(items) | Value::Append(items) => visitor.visit_seq(Items(items.iter())),
            Value::Secret(name) => visitor.visit_string(secret::placeholder(name)),
            // They are passed over where they stand.
            Value::Unset | Value::Function(_) => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Leaf(json) => json.deserialize_enum(name, variants, visitor),
            Value::Map(map) => visitor.visit_enum(MapAccessDeserializer::new(Fields {
                name: None,
                is_guest: false,
                rest: map.iter(),
                value: None,
            })),
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let next = self.0.by_ref().find(|node| !is_left_out(&node.value));
        next.map(|node| seed.deserialize(Reader { node })).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The fields of a table, after the name that a guest has besides.
struct Fields<'a> {
    name: Option<&'a str>,
    is_guest: bool,
    rest: btree_map::Iter<'a, Key, Node>,
    /// The value of the key that was given last; the name's otherwise.
    value: Option<&'a Node>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.name.is_some() {
            return seed.deserialize(BorrowedStrDeserializer::new("name")).map(Some);
        }
        let is_guest = self.is_guest;
        let next = self
            .rest
            .by_ref()
            .find(|(key, node)| !(is_left_out(&node.value) || is_guest && is_no_check(key, node)));
        let Some((key, node)) = next else {
            return Ok(None);
        };
        self.value = Some(node);
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        if let Some(name) = self.name.take() {
            return seed.deserialize(BorrowedStrDeserializer::new(name));
        }
        match self.value.take() {
            Some(node) => seed.deserialize(Reader { node }),
            None => Err(serde::de::Error::custom("a value without a key")),
        }
    }
}
