//! `hostel doc guest.limits`: the schema as text.

use std::fmt::Write as _;

use super::{Field, GUEST, Record, Type, find};
use crate::guest::Invalid;
use crate::guest::caps::nearest;

/// The documentation of a path: `guest`, `guest.limits`, `limits.memory`, or a function: `hostel.context`.
pub fn doc(path: &str) -> Result<String, Invalid> {
    if let Some(found) = super::functions::doc(path) {
        return found;
    }
    let path = path.strip_prefix("guest.").unwrap_or(path);
    if path.is_empty() || path == "guest" {
        return Ok(record(&GUEST, "guest"));
    }
    let Some(found) = find(path) else {
        let (above, last) = path.rsplit_once('.').unwrap_or(("", path));
        let names = match find(above).and_then(|f| f.kind.record()) {
            Some(record) => record.fields,
            None => GUEST.fields,
        };
        let hint = match nearest(last, names.iter().map(|f| f.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`hostel doc guest` lists the fields".to_owned(),
        };
        return Err(Invalid::new(
            format!("a guest has no `{}`", path.escape_debug()),
            hint,
        ));
    };
    let mut text = one(found, path);
    if let Some(below) = found.kind.record() {
        let path = match found.kind {
            Type::Map(..) => format!("{path}.NAME"),
            Type::List(_) | Type::OneOrList(_) => format!("{path}[N]"),
            _ => path.to_owned(),
        };
        text.push('\n');
        text.push_str(&record(below, &path));
    }
    Ok(text)
}

/// Writing to a `String` cannot fail.
fn line(text: &mut String, args: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(args);
    text.push('\n');
}

fn one(field: &Field, path: &str) -> String {
    let mut text = String::new();
    line(&mut text, format_args!("{path}: {}", field.kind.lua()));
    line(&mut text, format_args!("  {}", field.doc));
    if let Some(default) = field.default {
        line(&mut text, format_args!("  default  {default}"));
    }
    if field.required {
        line(&mut text, format_args!("  required"));
    }
    if let Some(map) = field.inside {
        line(&mut text, format_args!("  short for  {map}.{}", field.name));
    }
    line(
        &mut text,
        format_args!("  example  {} = {}", field.name, field.example),
    );
    line(&mut text, format_args!("  since    {}", field.since));
    text
}

fn record(record: &Record, path: &str) -> String {
    let mut text = String::new();
    line(&mut text, format_args!("{path}: {}", record.doc));
    let width = record.fields.iter().map(|f| f.name.len()).max().unwrap_or(0);
    for field in record.fields {
        let first = field
            .doc
            .split_inclusive(". ")
            .next()
            .unwrap_or(field.doc)
            .trim_end();
        line(&mut text, format_args!("  {:width$}  {first}", field.name));
    }
    text
}
