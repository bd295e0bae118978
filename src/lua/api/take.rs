//! Lua values to guest types, by the same schema as recipes; the first mistake is raised at the caller's line.

use mlua::Value;
use serde::de::DeserializeOwned;

use crate::guest::schema::Type;
use crate::lua::diagnostic::Code;
use crate::lua::finish;
use crate::lua::read::{Reader, described};
use crate::lua::state::{Raised, path_text};

/// Reads a value of this type. `word` is the function that was called, for the message.
pub(super) fn take<T: DeserializeOwned>(word: &str, value: &Value, kind: &'static Type) -> mlua::Result<T> {
    let (mut mistakes, mut functions) = (Vec::new(), Vec::new());
    let node = Reader::new(0, &mut mistakes, &mut functions).read(value, kind);
    if let Some(mistake) = mistakes.into_iter().next() {
        let path = path_text(&mistake.path[..mistake.path.len().saturating_sub(1)]);
        let at = if path.is_empty() {
            String::new()
        } else {
            format!(" at `{path}`")
        };
        let mut raised = Raised::new(mistake.code, format!("{word}: {}{at}", mistake.message)).word(word);
        raised.help = mistake.help;
        return Err(raised.into());
    }
    let json = node.and_then(|node| finish::plain(&node));
    serde_json::from_value(json.unwrap_or(serde_json::Value::Null)).map_err(|source| {
        let message = format!("{word} cannot take {}: {source}", described(value));
        Raised::new(Code::WrongType, message).word(word).into()
    })
}
