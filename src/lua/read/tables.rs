//! Tables: lists, tables from names, tables of known fields.

use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::{Table, Value as Lua};

use super::shown::{described, key_text};
use super::{At, MOST_ENTRIES, Reader};
use crate::guest::caps::nearest;
use crate::guest::schema::{Given, Record, Scalar, Type};
use crate::lua::diagnostic::Code;
use crate::lua::value::{Key, Node, Value};
use crate::lua::words::{AppendList, UnsetMark};

impl Reader<'_> {
    /// A table whose keys are exactly 1 to n.
    pub(super) fn read_list(&mut self, table: &Table, item: &'static Type) -> Option<Vec<Node>> {
        let mut places: Vec<(i64, Lua)> = Vec::new();
        let mut named: Vec<String> = Vec::new();
        for pair in table.pairs::<Lua, Lua>() {
            if places.len() + named.len() >= MOST_ENTRIES {
                self.too_many();
                return None;
            }
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
            let table = item.record().and_then(sample);
            let help = if let (true, Some(table)) = (places.is_empty(), table) {
                format!("write `{{ {table} }}`")
            } else if places.is_empty() {
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

    fn too_many(&mut self) {
        let message = format!("{} has more than {MOST_ENTRIES} entries", self.subject());
        self.mistake(Code::BadValue, At::Value, message, None);
    }

    /// The entries of a table with names, sorted; a place in it is a mistake.
    fn entries(&mut self, table: &Table, remedy: impl Fn(&Lua) -> Option<String>) -> Vec<(String, Lua)> {
        self.plain_table(table);
        let mut entries = Vec::new();
        let mut stray = Vec::new();
        let mut garbled = Vec::new();
        for (key, value) in table.pairs::<Lua, Lua>().flatten() {
            if entries.len() + stray.len() >= MOST_ENTRIES {
                self.too_many();
                // Which of them have been seen depends on the state's seed.
                entries.clear();
                stray.clear();
                break;
            }
            match &key {
                // Two that are not UTF-8 may look the same, and would be told apart by their order in the state.
                Lua::String(name) if name.to_str().is_ok() => {
                    self.room.take(name.as_bytes().len());
                    entries.push((name.to_string_lossy(), value));
                }
                Lua::String(name) => garbled.push(name.to_string_lossy()),
                other => stray.push((key_text(other), value)),
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        stray.sort_by_cached_key(|(key, value)| (key.clone(), described(value)));
        garbled.sort();
        for key in garbled {
            let subject = self.subject();
            self.below(key, |reader| {
                let message = format!("{subject} has a name that is not UTF-8");
                reader.mistake(Code::BadValue, At::Value, message, None);
            });
        }
        for (key, value) in stray {
            let subject = self.subject();
            self.below(key, |reader| {
                let message = format!("{subject} has {} without a name", described(&value));
                let help = remedy(&value).unwrap_or_else(|| "write `name = value`".to_owned());
                reader.mistake(Code::Mixed, At::Value, message, Some(help));
            });
        }
        entries
    }

    pub(super) fn read_map(&mut self, table: &Table, key: &'static Scalar, item: &'static Type) -> Node {
        let mut map = BTreeMap::new();
        // What was meant for a name, mostly.
        let named = |value: &Lua| {
            let Lua::String(text) = value else {
                let is_table = matches!(value, Lua::Table(_));
                return is_table.then(|| "each has a name of its own: write `name = { ... }`".to_owned());
            };
            Some(format!(
                "write `[\"{}\"] = value`",
                text.to_string_lossy().escape_debug()
            ))
        };
        for (name, value) in self.entries(table, named) {
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
        // The list of a service's words is its `exec`.
        let list = record
            .fields
            .iter()
            .find(|field| field.required && matches!(field.kind, Type::List(_)));
        let listed = |value: &Lua| match (list, record.fields.first(), value) {
            (Some(field), _, Lua::String(_)) => Some(format!("write `{} = {}`", field.name, field.example)),
            (None, Some(first), _) => Some(format!(
                "write `name = value`, such as `{} = {}`",
                first.name, first.example
            )),
            _ => None,
        };
        for (name, value) in self.entries(table, listed) {
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
            let before = self.mistakes.len();
            let node = self.below(field.name, |reader| reader.read(&value, &field.kind));
            // A wrong type that nothing better is known of: what a right one looks like.
            let depth = self.path.len() + 1;
            for mistake in &mut self.mistakes[before..] {
                if mistake.code == Code::WrongType && mistake.help.is_none() && mistake.path.len() == depth {
                    mistake.help = Some(format!("such as `{} = {}`", field.name, field.example));
                }
            }
            let Some(node) = node else { continue };
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

/// The record with what it needs, as it would be written.
pub(super) fn sample(record: &Record) -> Option<String> {
    let needed = record.fields.iter().filter(|field| field.required);
    let fields: Vec<String> = needed
        .map(|field| format!("{} = {}", field.name, field.example))
        .collect();
    (!fields.is_empty()).then(|| format!("{{ {} }}", fields.join(", ")))
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
