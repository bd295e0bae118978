//! `requires`: what a recipe needs of the hostel that reads it.

use mlua::Value;

use super::diagnostic::Code;
use super::order;
use super::read::described;
use super::state::Raised;

/// The version of the recipe language.
pub(crate) const API: i64 = 1;

/// `requires { hostel = ">=0.1", api = 1 }`.
pub(super) fn requires(versions: &Value) -> mlua::Result<()> {
    let fail = |message: String, help: &str| {
        Err(Raised::new(Code::Requires, message)
            .help(help)
            .word("requires")
            .into())
    };
    let form = "write `requires { hostel = \">=0.1\", api = 1 }`";
    let Value::Table(table) = versions else {
        return fail(
            format!("`requires` takes a table, not {}", described(versions)),
            form,
        );
    };
    for (key, value) in order::entries(table)? {
        let key = match &key {
            Value::String(key) => key.to_string_lossy(),
            other => described(other),
        };
        match (key.as_str(), &value) {
            ("api", Value::Integer(n)) if *n == API => {}
            ("api", Value::Integer(n)) => {
                return fail(
                    format!("the recipe is of api {n}, this hostel reads api {API}"),
                    "use another hostel",
                );
            }
            ("hostel", Value::String(text)) => {
                let text = text.to_string_lossy();
                let Some(oldest) = text.strip_prefix(">=").and_then(version) else {
                    return fail(format!("`{}` is no requirement", text.escape_debug()), form);
                };
                let here = env!("CARGO_PKG_VERSION");
                if version(here).is_some_and(|here| here < oldest) {
                    return fail(
                        format!("the recipe requires hostel {text}, this is {here}"),
                        "use a newer hostel",
                    );
                }
            }
            (key, _) => {
                return fail(
                    format!("`requires` does not know `{}` like this", key.escape_debug()),
                    form,
                );
            }
        }
    }
    Ok(())
}

/// `0.1.2` as numbers; what is left out is 0.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut numbers = [0; 3];
    let parts: Vec<&str> = text.trim().split('.').collect();
    if parts.len() > 3 {
        return None;
    }
    for (number, part) in numbers.iter_mut().zip(parts) {
        *number = part.parse().ok()?;
    }
    Some(numbers)
}
