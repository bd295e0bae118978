//! The linter: luacheck. It is told which words Lua has here, by the registry as it is now.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::guest::caps::nearest;
use crate::lua::registry;
use crate::{Error, Kind, Result};

/// The variable that names another luacheck.
pub const PROGRAM: &str = "HOSTEL_LUACHECK";

/// The linter's own configuration file, which stands above ours.
const CONFIG: &str = ".luacheckrc";

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct Linted {
    /// How many files there are.
    pub files: usize,
    /// What was found in them.
    pub findings: Vec<Finding>,
}

/// Something that looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in bytes.
    pub column: usize,
    /// The last column that is meant.
    pub end_column: usize,
    /// The linter's code: `W113`.
    pub code: String,
    /// Whether it is no Lua at all.
    pub is_error: bool,
    /// What is wrong.
    pub message: String,
    /// What may be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Looks at the files.
///
/// # Errors
/// [`Kind::NotFound`] where luacheck is not installed, [`Kind::External`] where it fails.
pub fn lint(paths: &[PathBuf]) -> Result<Linted> {
    let program = program()?;
    let files = super::files(paths)?;
    let config = registry::luacheck();
    let mut findings = Vec::new();
    for files in files.chunks(super::AT_ONCE) {
        let mut command = Command::new(&program);
        command.args(["--formatter", "plain", "--codes", "--ranges", "--no-color"]);
        if has_config() {
            // What the user wants holds, and what has come to hostel since it was written is known all the same.
            command.arg("--read-globals").args(registry::recipe_words());
        } else {
            command.args(["--config", super::STDIN]);
        }
        let output = super::run(command.arg("--").args(super::paths(files)), &config)?;
        // 1: warnings, 2: files that are no Lua.
        if !matches!(output.status.code(), Some(0..=2)) {
            return Err(super::refused(&program, &output));
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            findings.push(finding(line).ok_or_else(|| super::refused(&program, &output))?);
        }
    }
    Ok(Linted {
        files: files.len(),
        findings,
    })
}

fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAM).filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    match super::on_path(&["luacheck"]) {
        Some((_, program)) => Ok(program),
        None => Err(Error::new(
            Kind::NotFound,
            "`hostel lint` needs luacheck, which is not in PATH",
        )
        .with_hint(format!(
            "Debian has it as lua-check, others as luacheck, `luarocks install luacheck` everywhere; {PROGRAM} names \
             one that is elsewhere"
        ))),
    }
}

/// Whether luacheck finds a configuration here or above, as it looks for one.
fn has_config() -> bool {
    std::env::current_dir().is_ok_and(|dir| dir.ancestors().any(|dir| dir.join(CONFIG).is_file()))
}

/// `web.lua:4:2-5: (W113) accessing undefined variable 'gust'`.
fn finding(line: &str) -> Option<Finding> {
    let at = line.find(": (W").or_else(|| line.find(": (E"))?;
    let (place, rest) = (&line[..at], &line[at + 3..]);
    let (code, message) = rest.split_once(") ")?;
    let mut parts = place.rsplitn(3, ':');
    let (columns, row, file) = (parts.next()?, parts.next()?, parts.next()?);
    let (column, end_column) = columns.split_once('-').unwrap_or((columns, columns));
    Some(Finding {
        file: Path::new(file).to_owned(),
        line: row.parse().ok()?,
        column: column.parse().ok()?,
        end_column: end_column.parse().ok()?,
        is_error: code.starts_with('E'),
        help: help(code, message),
        code: code.to_owned(),
        message: message.to_owned(),
    })
}

/// What is meant by a word that is not there.
fn help(code: &str, message: &str) -> Option<String> {
    if !matches!(code, "W111" | "W112" | "W113") {
        return None;
    }
    let word = message.split('\'').nth(1)?;
    if registry::not_in_recipes().contains(&word) {
        return Some(format!("a recipe has no `{word}`; scripts, in `scripts`, do"));
    }
    if code != "W113" {
        return Some("`local` makes a variable of the file's own".to_owned());
    }
    let near = nearest(word, registry::recipe_words())?;
    Some(format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_luacheck_is_a_finding() {
        let found = finding("a: (b).lua:4:2-5: (W113) accessing undefined variable 'gust'");
        // A name that looks like a finding's end cannot be told apart; any other can.
        assert!(found.is_some());
        let found = finding("sub:dir/web.lua:4:2-5: (W113) accessing undefined variable 'gust'").unwrap();
        assert_eq!(found.file, Path::new("sub:dir/web.lua"));
        assert_eq!((found.line, found.column, found.end_column), (4, 2, 5));
        assert_eq!((found.code.as_str(), found.is_error), ("W113", false));
        assert_eq!(found.help.as_deref(), Some("did you mean `guest`?"));
        assert_eq!(finding("Total: 1 warning"), None);
    }

    #[test]
    fn a_library_that_recipes_do_not_have_is_named() {
        let help = help("W113", "accessing undefined variable 'io'").unwrap();
        assert_eq!(help, "a recipe has no `io`; scripts, in `scripts`, do");
    }
}
