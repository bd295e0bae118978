//! How a Lua value is named in a message.

use mlua::Value as Lua;

use crate::lua::words::{AppendList, GuestRef, SecretRef, TemplateRef};

pub(super) fn float(n: f64) -> String {
    if n.fract() == 0.0 && n.abs() < 1e15 {
        format!("{n:.1}")
    } else {
        n.to_string()
    }
}

pub(super) fn key_text(key: &Lua) -> String {
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
