//! The formatter: stylua.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::lua::starter::STYLUA;
use crate::{Error, Kind, Result};

/// The variable that names another stylua.
pub const PROGRAM: &str = "HOSTEL_STYLUA";

/// Whether files are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// They are written.
    Write,
    /// It is only told which would be.
    Tell,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct Formatted {
    /// How many files there are.
    pub files: usize,
    /// Those that are formatted differently, and how.
    pub changed: Vec<Changed>,
    /// What is no Lua.
    pub errors: Vec<Mistake>,
}

/// A file that is formatted differently.
#[derive(Debug, Serialize, Deserialize)]
pub struct Changed {
    /// The file.
    pub file: PathBuf,
    /// What is replaced.
    #[serde(rename(deserialize = "mismatches"))]
    pub hunks: Vec<Hunk>,
}

/// Lines that are replaced.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hunk {
    /// The first line, from 0.
    #[serde(rename(deserialize = "original_start_line"))]
    pub line: usize,
    /// What is there.
    pub original: String,
    /// What is to be there.
    pub expected: String,
}

/// What the formatter does not understand.
#[derive(Debug, Serialize)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// From 1; nothing where it is not known.
    pub line: Option<usize>,
    /// From 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// A mistake, as stylua tells it.
#[derive(Debug, Deserialize)]
struct Told {
    filename: PathBuf,
    message: String,
    #[serde(default)]
    location: Option<Location>,
}

#[derive(Debug, Deserialize)]
struct Location {
    start_line: usize,
    start_column: usize,
}

/// Formats the files, or tells which are not formatted.
///
/// # Errors
/// [`Kind::NotFound`] where stylua is not installed, [`Kind::External`] where it fails.
pub fn format(paths: &[PathBuf], wish: Wish) -> Result<Formatted> {
    let program = program()?;
    let files = super::files(paths)?;
    let mut by_config: BTreeMap<Option<PathBuf>, Vec<PathBuf>> = BTreeMap::new();
    let mut known = BTreeMap::new();
    for file in &files {
        let dir = file.parent().unwrap_or(Path::new(""));
        let config = known.entry(dir).or_insert_with(|| config_of(dir)).clone();
        by_config.entry(config).or_default().push(file.clone());
    }
    let mut all = Formatted {
        files: files.len(),
        ..Formatted::default()
    };
    for (config, files) in by_config {
        for files in files.chunks(super::AT_ONCE) {
            let first = all.changed.len();
            let mut check = command(&program, config.as_deref(), files);
            check.args(["--check", "--output-format=Json"]);
            take(&mut all, &program, &super::run(&mut check, STYLUA)?)?;
            let changed: Vec<PathBuf> = all.changed[first..].iter().map(|c| c.file.clone()).collect();
            if wish == Wish::Write && !changed.is_empty() {
                let written = super::run(&mut command(&program, config.as_deref(), &changed), STYLUA)?;
                if !written.status.success() {
                    return Err(super::refused(&program, &written));
                }
            }
        }
    }
    all.changed.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(all)
}

fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAM).filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    match super::on_path(&["stylua"]) {
        Some((_, program)) => Ok(program),
        None => Err(
            Error::new(Kind::NotFound, "`hostel fmt` needs stylua, which is not in PATH").with_hint(format!(
                "`cargo install stylua --features lua54` or a package of your distribution installs it; {PROGRAM} \
                 names one that is elsewhere"
            )),
        ),
    }
}

/// The nearest configuration of the user's.
fn config_of(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(if dir == Path::new("") { Path::new(".") } else { dir }).ok()?;
    dir.ancestors()
        .flat_map(|dir| [dir.join("stylua.toml"), dir.join(".stylua.toml")])
        .find(|file| file.is_file())
}

fn command(program: &Path, config: Option<&Path>, files: &[PathBuf]) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--config-path")
        .arg(config.map_or(OsStr::new(super::STDIN), Path::as_os_str))
        .args(["--respect-ignores", "--color=Never"])
        .args(super::paths(files));
    command
}

fn take(all: &mut Formatted, program: &Path, output: &std::process::Output) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stdout);
    let strange = |_| super::refused(program, output);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        all.changed.push(serde_json::from_str(line).map_err(strange)?);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.trim().is_empty() {
        // 1 says that something is not formatted, which is known by now.
        return match output.status.code() {
            Some(0 | 1) => Ok(()),
            _ => Err(super::refused(program, output)),
        };
    }
    let told: Vec<Told> = serde_json::from_str(said.trim()).map_err(strange)?;
    all.errors.extend(told.into_iter().map(|told| Mistake {
        file: told.filename,
        line: told.location.as_ref().map(|at| at.start_line),
        column: told.location.map(|at| at.start_column),
        message: told.message,
    }));
    Ok(())
}
