//! Errors for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::color::Paint;
use crate::Error;

/// `error: MESSAGE`, `hint: HINT`, and `also: MESSAGE` for each failure of the clean-up; each on its own line,
/// with further lines of a message indented below it.
pub(crate) fn text(err: &Error, paint: Paint) -> String {
    let mut text = String::new();
    push(&mut text, &paint.red("error:"), &err.to_string());
    if let Some(hint) = err.hint() {
        push(&mut text, &paint.cyan("hint:"), hint);
    }
    for also in flat(err) {
        push(&mut text, &paint.yellow("also:"), &also.to_string());
        if let Some(hint) = also.hint() {
            push(&mut text, &paint.cyan("hint:"), hint);
        }
    }
    text
}

/// The same as one line of JSON: `kind`, `message`, and where there are some `hint`, `errno` and `also`.
pub(crate) fn json(err: &Error) -> String {
    value(err).to_string()
}

fn value(err: &Error) -> Value {
    let mut object = json!({ "kind": err.kind().as_str(), "message": err.to_string() });
    if let Some(hint) = err.hint() {
        object["hint"] = hint.into();
    }
    if let Some(errno) = err.errno() {
        object["errno"] = format!("{errno:?}").into();
    }
    if !err.also().is_empty() {
        object["also"] = err.also().iter().map(value).collect();
    }
    object
}

fn push(text: &mut String, label: &str, message: &str) {
    let mut lines = message.lines();
    let _ = writeln!(text, "{label} {}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

/// The failures of the clean-up, those of a clean-up of theirs included.
fn flat(err: &Error) -> Vec<&Error> {
    err.also()
        .iter()
        .flat_map(|also| std::iter::once(also).chain(flat(also)))
        .collect()
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::Kind;

    fn failure() -> Error {
        Error::os("mount proc on `web:/proc`", Errno::EPERM)
            .with_hint("run it as root")
            .and_also(Error::os("remove cgroup `x101`", Errno::EBUSY))
    }

    #[test]
    fn says_what_why_and_what_to_do() {
        assert_eq!(
            text(&failure(), Paint::PLAIN),
            "error: mount proc on `web:/proc`: EPERM (operation not permitted)\n\
             hint: run it as root\n\
             also: remove cgroup `x101`: EBUSY (device or resource busy)\n"
        );
    }

    #[test]
    fn further_lines_are_indented() {
        let err = Error::new(Kind::Invalid, "recipe `a.lua`\nx\n");
        assert_eq!(text(&err, Paint::PLAIN), "error: recipe `a.lua`\n  x\n");
    }

    #[test]
    fn json_is_one_line() {
        assert_eq!(
            json(&failure()),
            r#"{"also":[{"errno":"EBUSY","kind":"system","message":"remove cgroup `x101`: EBUSY (device or resource busy)"}],"errno":"EPERM","hint":"run it as root","kind":"denied","message":"mount proc on `web:/proc`: EPERM (operation not permitted)"}"#
        );
    }
}
