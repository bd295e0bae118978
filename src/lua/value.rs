//! What a recipe said, in the schema's one form, with the layer that said it; and how layers merge.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

use crate::guest::schema::{Record, Type};

/// The number of a layer: one body of a `guest` or a `template`.
pub(crate) type LayerId = u32;

/// A key; a field's name is the schema's own.
pub(crate) type Key = Cow<'static, str>;

/// A table with names. Shared: a thousand guests of one template have its tables in common, and only what one
/// of them changes is copied.
pub(crate) type Entries = Rc<BTreeMap<Key, Node>>;

/// A value and the layers that set it, the deciding one last.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) layers: Rc<[LayerId]>,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A text, number or truth value, as the specification's JSON has it.
    Leaf(Json),
    List(Rc<Vec<Node>>),
    Map(Entries),
    /// Joins the inherited list.
    Append(Rc<Vec<Node>>),
    /// Removes what is inherited.
    Unset,
    /// The name of a secret.
    Secret(String),
    /// A function of the recipe, by its number.
    Function(usize),
}

impl Node {
    pub(crate) fn new(value: Value, layer: LayerId) -> Self {
        Self {
            value,
            layers: Rc::new([layer]),
        }
    }

    /// The layer that decided it.
    pub(crate) fn layer(&self) -> LayerId {
        self.layers.last().copied().unwrap_or(0)
    }

    /// The node at a path of keys and places (from 1).
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Node> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        match &self.value {
            Value::Map(map) => map.get(*first)?.at(rest),
            Value::List(items) | Value::Append(items) => {
                items.get(first.parse::<usize>().ok()?.checked_sub(1)?)?.at(rest)
            }
            _ => None,
        }
    }

    fn add_layers(&mut self, over: &Node) {
        self.layers = self.layers.iter().chain(over.layers.iter()).copied().collect();
    }

    /// Lays `over` on top of this node.
    pub(crate) fn merge(&mut self, over: &Node, kind: Option<&Type>) {
        match (&mut self.value, &over.value) {
            (Value::Map(base), Value::Map(over_map)) => {
                let record = match kind {
                    Some(Type::Record(r) | Type::Short(_, r) | Type::Parsed(r, _)) => Some(*r),
                    _ => None,
                };
                let base = Rc::make_mut(base);
                if let Some(record) = record {
                    replace_choice(base, over_map, record);
                }
                for (key, value) in over_map.iter() {
                    let below = match kind {
                        Some(Type::Map(_, item)) => Some(*item),
                        _ => record.and_then(|r| r.field(key)).map(|f| &f.kind),
                    };
                    match base.get_mut(key) {
                        Some(there) => there.merge(value, below),
                        None => {
                            base.insert(key.clone(), value.clone());
                        }
                    }
                }
                self.add_layers(over);
            }
            (Value::List(base) | Value::Append(base), Value::Append(more)) => {
                Rc::make_mut(base).extend(more.iter().cloned());
                self.add_layers(over);
            }
            _ => {
                self.add_layers(over);
                self.value = over.value.clone();
            }
        }
    }
}

/// A layer that says `http` means it instead of an inherited `tcp`.
fn replace_choice(base: &mut BTreeMap<Key, Node>, over: &BTreeMap<Key, Node>, record: &Record) {
    let chooses = |name: &&str| {
        over.get(*name)
            .is_some_and(|node| !matches!(node.value, Value::Unset))
    };
    if record.one_of.iter().any(chooses) {
        base.retain(|key, _| !record.one_of.contains(&key.as_ref()) || over.contains_key(key));
    }
}
