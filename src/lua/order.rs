//! The entries of a table in an order that depends on nothing but them. Lua's own order comes from a seed that differs from
//! state to state: whatever a recipe can see, or is told, of the first of several entries would differ with it.

use std::cmp::Ordering;
use std::fmt;

use mlua::{Lua, Table, Value};

use super::read::described;

/// Numbers, then texts, each by their value, then the rest by what is said of them.
pub(crate) fn entries(table: &Table) -> mlua::Result<Vec<(Value, Value)>> {
    let mut entries = table.pairs::<Value, Value>().collect::<mlua::Result<Vec<_>>>()?;
    entries.sort_by(|(a, x), (b, y)| match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(&b.as_bytes()),
        _ => rank(a).cmp(&rank(b)).then_with(|| told(a, x).cmp(&told(b, y))),
    });
    Ok(entries)
}

fn rank(key: &Value) -> u8 {
    match key {
        Value::Integer(_) => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        _ => 3,
    }
}

fn told(key: &Value, value: &Value) -> (String, String) {
    (described(key), described(value))
}

/// The items of a list; names beside them are passed over. Of one with a hole, the hole's place: what stands behind it would
/// be lost, for `#` ends before it.
pub(crate) fn list(table: &Table) -> mlua::Result<Result<Vec<Value>, usize>> {
    let mut items = Vec::with_capacity(table.raw_len());
    for index in 1..=table.raw_len() {
        items.push(table.raw_get(index)?);
    }
    let hole = items.len() + 1;
    let mut has_more = false;
    table.for_each(|key: Value, _: Value| {
        if let Value::Integer(place) = key {
            has_more |= usize::try_from(place).is_ok_and(|place| place > hole);
        }
        Ok(())
    })?;
    Ok(if has_more { Err(hole) } else { Ok(items) })
}

/// Why a table is no list: said after "has".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Odd {
    /// What stands behind it would be lost.
    Hole(usize),
    /// It is no place of a list.
    Key(String),
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hole(place) => write!(f, "a hole at place {place}: nil, with more behind it"),
            Self::Key(key) => write!(f, "{key} as a key"),
        }
    }
}

/// The items of a table that is to be a list and nothing else.
pub(crate) fn only_list(table: &Table) -> mlua::Result<Result<Vec<Value>, Odd>> {
    let items = match list(table)? {
        Ok(items) => items,
        Err(hole) => return Ok(Err(Odd::Hole(hole))),
    };
    for (key, _) in entries(table)? {
        let is_place = matches!(key, Value::Integer(at) if usize::try_from(at).is_ok_and(|at| (1..=items.len()).contains(&at)));
        if !is_place {
            return Ok(Err(Odd::Key(described(&key))));
        }
    }
    Ok(Ok(items))
}

/// A key that has an order. Its text is a copy: a state holds only so many values for Rust.
enum Key {
    Integer(i64),
    Number(f64),
    Text(Vec<u8>),
    Other(u8),
}

impl Key {
    fn of(value: &Value) -> Self {
        match value {
            Value::Integer(n) => Self::Integer(*n),
            Value::Number(n) => Self::Number(*n),
            Value::String(text) => Self::Text(text.as_bytes().to_vec()),
            Value::Boolean(truth) => Self::Other(u8::from(*truth)),
            _ => Self::Other(2),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        // A key that is a float has no whole value or is infinite: a whole number that rounds on its way to a float is
        // on the same side of it before and after.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let float = |n: &i64| *n as f64;
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Integer(a), Self::Number(b)) => float(a).total_cmp(b),
            (Self::Number(a), Self::Integer(b)) => a.total_cmp(&float(b)),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Other(a), Self::Other(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Integer(_) | Self::Number(_) => 0,
            Self::Text(_) => 1,
            Self::Other(_) => 2,
        }
    }
}

/// A list of keys, sorted: numbers, then texts, then truth values, each by their value.
pub(crate) fn keys(lua: &Lua, keys: &Table) -> mlua::Result<Table> {
    let count = keys.raw_len();
    let mut all = Vec::with_capacity(count);
    for index in 1..=count {
        all.push((Key::of(&keys.raw_get(index)?), index));
    }
    all.sort_by(|(a, _), (b, _)| a.order(b));
    let sorted = lua.create_table_with_capacity(count, 0)?;
    for (_, index) in all {
        sorted.raw_push(keys.raw_get::<Value>(index)?)?;
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    #[test]
    fn a_list_with_a_hole_is_none() {
        let lua = Lua::new();
        let list = |text: &str| {
            let table: Table = lua.load(text).eval().unwrap();
            list(&table).unwrap().map(|items| items.len())
        };
        assert_eq!(list("return {}"), Ok(0));
        assert_eq!(list("return { 1, 2, x = 3 }"), Ok(2));
        assert_eq!(list("return { 1, nil, 3 }"), Err(2));
        assert_eq!(list("return { nil, 2 }"), Err(1));
        assert_eq!(list("return { [1000] = 1 }"), Err(1));
    }

    #[test]
    fn a_list_alone_has_nothing_beside_it() {
        let lua = Lua::new();
        let list = |text: &str| {
            let table: Table = lua.load(text).eval().unwrap();
            let found = only_list(&table).unwrap().map(|items| items.len());
            found.map_err(|odd| odd.to_string())
        };
        assert_eq!(list("return { 1, 2 }"), Ok(2));
        assert_eq!(
            list("return { 1, nil, 3 }"),
            Err("a hole at place 2: nil, with more behind it".to_owned())
        );
        assert_eq!(
            list("return { 1, x = 2, a = 3 }"),
            Err("the text \"a\" as a key".to_owned())
        );
        assert_eq!(
            list("return { 1, [0] = 2 }"),
            Err("the number `0` as a key".to_owned())
        );
        assert_eq!(
            list("return { 1, [1.5] = 2 }"),
            Err("the number `1.5` as a key".to_owned())
        );
    }

    #[test]
    fn the_order_is_that_of_the_entries() {
        let texts = |lua: &Lua| -> Vec<String> {
            let table: Table = lua
                .load("return { z = 1, a = 2, [10] = 3, [9] = 4, [1.5] = 5, [true] = 6, ['\\255'] = 7, ['\\254'] = 8, [{}] = 'x', [{ 1 }] = 'w' }")
                .eval()
                .unwrap();
            let entries = entries(&table).unwrap();
            entries
                .iter()
                .map(|(key, value)| format!("{} {}", described(key), described(value)))
                .collect()
        };
        let first = texts(&Lua::new());
        assert_eq!(first.len(), 10);
        assert!(
            first[0].starts_with("the number `9`") && first[3].starts_with("the text \"a\""),
            "{first:?}"
        );
        // A state's seed comes from addresses and the time.
        for _ in 0..50 {
            assert_eq!(texts(&Lua::new()), first);
        }
    }
}
