//! `--inputs FILE`: values of inputs as one JSON object.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::diagnostic::{self, Code, Diagnostic, Diagnostics, Place};
use super::source;

/// Values of inputs by name, and the places of those that a file has.
pub type GivenInputs = (BTreeMap<String, String>, BTreeMap<String, Place>);

/// The values, as texts, and where each of them stands.
pub fn inputs_file(path: &Path) -> Result<GivenInputs, Diagnostics> {
    let name = path.display().to_string();
    let fail = |message: String, place: Option<Place>| {
        Diagnostics::one(Diagnostic::new(Code::Input, message, place))
    };
    let text = source::read(path).map_err(|message| fail(message, None))?;
    let map: serde_json::Map<String, Json> = serde_json::from_str(&text).map_err(|source| {
        let place = diagnostic::find_word(&name, &text, source.line(), "");
        fail(format!("no JSON object of values: {source}"), place)
    })?;
    let (mut values, mut places) = GivenInputs::default();
    let mut wrong = Vec::new();
    for (key, value) in map {
        // JSON's names are Lua's texts, so the same search finds them.
        let line = text
            .lines()
            .position(|line| line.contains(&format!("\"{key}\"")))
            .map_or(1, |at| at + 1);
        let place = diagnostic::find_word(&name, &text, line, &key);
        let given = match value {
            Json::String(text) => text,
            Json::Number(number) => number.to_string(),
            Json::Bool(truth) => truth.to_string(),
            Json::Null | Json::Array(_) | Json::Object(_) => {
                let message = format!(
                    "the input `{}` must be a text, a number or a truth value",
                    key.escape_debug()
                );
                wrong.push(Diagnostic::new(Code::Input, message, place));
                continue;
            }
        };
        places.extend(place.map(|place| (key.clone(), place)));
        values.insert(key, given);
    }
    if wrong.is_empty() {
        Ok((values, places))
    } else {
        Err(Diagnostics(wrong))
    }
}
