//! Programs of others that know Lua: a formatter and a linter. They are found on the host, and given what they have
//! to know of hostel's Lua through their standard input, so that nothing is left behind.

pub mod format;
pub mod lint;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::Context as _;
use crate::sys::{interrupt, memfd};
use crate::{Error, Kind, Result};

/// What is said where a program reads its configuration.
const STDIN: &str = "/dev/stdin";

/// How many files one run of a program is given: `execve(2)` takes a limited number of bytes.
const AT_ONCE: usize = 500;

/// The first of these programs that is on `PATH`.
fn on_path(names: &[&'static str]) -> Option<(&'static str, PathBuf)> {
    let path = std::env::var_os("PATH")?;
    let is_program = |file: &Path| {
        file.metadata()
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    names.iter().find_map(|name| {
        std::env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .find(|file| is_program(file))
            .map(|file| (*name, file))
    })
}

/// The Lua files among these paths and below them, in order, each once. What is hidden is left out: below a
/// directory only.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    for path in paths {
        let meta = path.metadata().map_err(|source| {
            let kind = match source.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                _ => Kind::System,
            };
            Error::new(kind, format!("read `{}`", path.display())).with_source(source)
        })?;
        if meta.is_dir() {
            gather(path, &mut found)?;
        } else {
            found.insert(path.clone());
        }
    }
    if found.is_empty() {
        let shown: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
        return Err(Error::new(
            Kind::NotFound,
            format!("there is no Lua file in {}", shown.join(", ")),
        ));
    }
    Ok(found.into_iter().collect())
}

fn gather(dir: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    let subject = || format!("read `{}`", dir.display());
    for entry in std::fs::read_dir(dir).context(subject)? {
        let entry = entry.context(subject)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || name == "target" || name == "node_modules" {
            continue;
        }
        let path = if dir == Path::new(".") {
            PathBuf::from(&name)
        } else {
            entry.path()
        };
        let kind = entry.file_type().context(subject)?;
        if kind.is_dir() {
            gather(&path, found)?;
        } else if kind.is_file() && path.extension() == Some(OsStr::new("lua")) {
            found.insert(path);
        }
    }
    Ok(())
}

/// Runs a program to its end, with a text as its standard input.
fn run(command: &mut Command, input: &str) -> Result<Output> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let input = memfd::sealed(c"hostel-config", input.as_bytes())?;
    let output = command
        .stdin(Stdio::from(input))
        .output()
        .context(|| format!("run `{shown}`"))?;
    // A signal from the terminal ended it as well: what it said until then is worth nothing.
    interrupt::check()?;
    Ok(output)
}

/// Ends with what a program says that could not do its work.
fn refused(program: &Path, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = match said.trim() {
        "" => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        text => text.to_owned(),
    };
    Error::new(
        Kind::External,
        format!("`{}` failed ({}): {said}", program.display(), output.status),
    )
}

/// `./web.lua` as it is typed.
fn paths(files: &[PathBuf]) -> impl Iterator<Item = PathBuf> + '_ {
    // What begins with `-` would be an option.
    files.iter().map(|file| {
        if file.as_os_str().as_encoded_bytes().starts_with(b"-") {
            Path::new(".").join(file)
        } else {
            file.clone()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_directories_are_left_out_and_named_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at(".hostel/meta")).unwrap();
        std::fs::create_dir_all(at("lib/deep")).unwrap();
        for name in [
            "b.lua",
            "a.lua",
            ".hostel/meta/x.lua",
            "lib/deep/c.lua",
            "notes.txt",
        ] {
            std::fs::write(at(name), "").unwrap();
        }
        let found = files(&[dir.path().to_owned(), at("a.lua")]).unwrap();
        assert_eq!(found, [at("a.lua"), at("b.lua"), at("lib/deep/c.lua")]);
        let found = files(&[at(".hostel/meta/x.lua")]).unwrap();
        assert_eq!(found, [at(".hostel/meta/x.lua")]);
        let empty = files(&[at(".hostel")]).and(files(&[at("none")])).unwrap_err();
        assert_eq!(empty.kind(), Kind::NotFound);
    }
}
