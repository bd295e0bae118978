//! The entries of a table in an order that depends on nothing but them. Lua's own order comes from a seed that differs from
//! state to state: whatever a recipe can see, or is told, of the first of several entries would differ with it.

use mlua::{Table, Value};

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

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

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
