//! Lua values to guest types, by the same schema as recipes; the first mistake is raised at the caller's line.

use mlua::{Table, Value};
use serde::de::DeserializeOwned;

use crate::error::Kind;
use crate::guest::schema::{Record, Type};
use crate::lua::diagnostic::Code;
use crate::lua::finish;
use crate::lua::read::{Reader, described};
use crate::lua::state::{Raised, path_text};

/// Reads a value of this type. `word` is the function that was called, for the message.
pub(super) fn take<T: DeserializeOwned>(word: &str, value: &Value, kind: &'static Type) -> mlua::Result<T> {
    read(word, value, |reader| reader.read(value, kind))
}

/// Reads a table of options.
pub(super) fn options<T: DeserializeOwned>(
    word: &str,
    table: &Table,
    record: &'static Record,
) -> mlua::Result<T> {
    let value = Value::Table(table.clone());
    read(word, &value, |reader| Some(reader.read_record(table, record)))
}

fn read<T: DeserializeOwned>(
    word: &str,
    value: &Value,
    read: impl FnOnce(&mut Reader<'_>) -> Option<crate::lua::value::Node>,
) -> mlua::Result<T> {
    let (mut mistakes, mut functions) = (Vec::new(), Vec::new());
    let node = read(&mut Reader::new(0, &mut mistakes, &mut functions));
    if let Some(mistake) = mistakes.into_iter().next() {
        let path = path_text(&mistake.path[..mistake.path.len().saturating_sub(1)]);
        let at = if path.is_empty() {
            String::new()
        } else {
            format!(" at `{path}`")
        };
        let message = format!("{word}: {}{at}", mistake.message);
        let mut raised = Raised::new(mistake.code, message).word(word).kind(Kind::Usage);
        raised.help = mistake.help;
        return Err(raised.into());
    }
    let json = node.and_then(|node| finish::plain(&node));
    serde_json::from_value(json.unwrap_or(serde_json::Value::Null)).map_err(|source| {
        let message = format!("{word} cannot take {}: {source}", described(value));
        Raised::new(Code::WrongType, message)
            .word(word)
            .kind(Kind::Usage)
            .into()
    })
}
