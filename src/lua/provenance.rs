//! Where each value of a guest comes from: every layer that said something about it, the deciding one last.

use std::collections::BTreeMap;

use super::finish::plain;
use super::read::At;
use super::state::{State, path_text};
use super::value::{Node, Value};
use super::{Did, Origin, Origins};
use crate::guest::schema::{Field, GUEST, Record, Type};

/// The origins of every field of a guest, by its path.
pub(super) fn of(state: &State, node: &Node) -> Origins {
    let mut found = BTreeMap::new();
    below(state, node, &mut Vec::new(), &mut found);
    found
}

fn below(state: &State, node: &Node, path: &mut Vec<String>, into: &mut Origins) {
    if !path.is_empty() {
        let mut all: Vec<Origin> = default_of(path).into_iter().collect();
        for layer in node.layers.iter() {
            let parts: Vec<&str> = path.iter().map(String::as_str).collect();
            let own = state.own.get(layer).and_then(|own| own.at(&parts));
            let origin = Origin {
                layer: state.subject(*layer),
                did: match own.map(|own| &own.value) {
                    Some(Value::Append(_)) => Did::Append,
                    Some(Value::Unset) => Did::Unset,
                    _ => Did::Set,
                },
                value: own.and_then(plain),
                place: state.key_place(*layer, &written(path), At::Key),
            };
            if all.last() != Some(&origin) {
                all.push(origin);
            }
        }
        into.insert(path_text(path), all);
    }
    if let Value::Map(map) = &node.value {
        for (key, node) in map.iter() {
            path.push(key.to_string());
            below(state, node, path, into);
            path.pop();
        }
    }
}

/// What holds when no layer says anything.
fn default_of(path: &[String]) -> Option<Origin> {
    let text = field(path)?.default?;
    Some(Origin {
        layer: "hostel".to_owned(),
        did: Did::Default,
        value: Some(text.into()),
        place: None,
    })
}

/// The origins of a field that no layer of the guest sets: its default, if it is a field at all.
pub fn unset(path: &str) -> Option<Vec<Origin>> {
    let path = parts_of(path);
    field(&path).map(|_| default_of(&path).into_iter().collect())
}

fn record(kind: &Type) -> Option<&'static Record> {
    match kind {
        Type::Record(record) | Type::Short(_, record) | Type::Parsed(record, _) => Some(record),
        _ => None,
    }
}

/// The schema's field at a path.
fn field(path: &[String]) -> Option<&'static Field> {
    let mut at: &'static Record = &GUEST;
    let (last, above) = path.split_last()?;
    let mut parts = above.iter();
    while let Some(part) = parts.next() {
        let kind = &at.field(part)?.kind;
        at = match kind {
            // Whatever its name is, an entry of a map is of one kind.
            Type::Map(_, item) => {
                parts.next()?;
                record(item)?
            }
            kind => record(kind)?,
        };
    }
    at.field(last)
}

/// A path as it was written: `limits.rlimits.nofile` may have been `limits.nofile`.
fn written(path: &[String]) -> Vec<String> {
    for (index, part) in path.iter().enumerate() {
        let Some(next) = path.get(index + 1) else { break };
        let mut short: Vec<String> = path[..index].to_vec();
        short.push(next.clone());
        if field(&short).is_some_and(|field| field.inside == Some(part.as_str())) {
            short.extend_from_slice(&path[index + 2..]);
            return short;
        }
    }
    path.to_vec()
}

/// The path at which the value of a field lands: `limits.nofile` is `limits.rlimits.nofile`.
pub fn landing(path: &str) -> String {
    let mut parts = parts_of(path);
    if let Some(into) = field(&parts).and_then(|field| field.inside)
        && let Some(last) = parts.pop()
    {
        parts.extend([into.to_owned(), last]);
        return path_text(&parts);
    }
    path.to_owned()
}

/// A path as it is typed, `limits.memory`. One with `["/etc/motd"]` in it is no field's.
fn parts_of(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Vec<String> {
        path.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn short_fields_and_where_they_land() {
        assert_eq!(landing("limits.nofile"), "limits.rlimits.nofile");
        assert_eq!(landing("limits.memory"), "limits.memory");
        assert_eq!(written(&parts("limits.rlimits.nofile")), parts("limits.nofile"));
        assert_eq!(written(&parts("limits.memory")), parts("limits.memory"));
    }

    #[test]
    fn a_field_of_an_entry_has_its_default() {
        assert!(field(&parts("services.web.restart")).is_some());
        assert!(field(&parts("services.web.nonsense")).is_none());
        assert!(unset("nonsense").is_none());
        assert!(unset("xid").is_some_and(|origins| origins[0].did == Did::Default));
    }
}
