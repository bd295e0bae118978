//! Which files are tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Kind, Result};

/// What a test file's name ends with.
const SUFFIX: &str = "_test.lua";

/// How deep directories are looked into: a link to a directory above it is not followed for ever.
const DEEPEST: usize = 64;

/// The test files of `paths`, sorted, each once. A file that is named is taken whatever it is called; directories are
/// searched for `*_test.lua`, those that begin with a dot and `target` and `node_modules` left out.
///
/// # Errors
/// [`Kind::NotFound`] when a path is not there or nothing is found below all of them.
pub fn discover(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    for path in paths {
        let meta = fs::metadata(path).map_err(|source| {
            Error::new(
                Kind::NotFound,
                format!("read `{}`: {}", path.display(), source.kind()),
            )
        })?;
        if meta.is_dir() {
            walk(path, DEEPEST, &mut found)?;
        } else {
            found.insert(path.clone());
        }
    }
    if found.is_empty() {
        let looked: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
        return Err(Error::new(
            Kind::NotFound,
            format!("there is no test file below {}", looked.join(", ")),
        )
        .with_hint("tests are in files named `NAME_test.lua`; see `hostel doc hostel.test`"));
    }
    Ok(found.into_iter().collect())
}

fn walk(dir: &Path, left: usize, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    let Some(left) = left.checked_sub(1) else {
        return Ok(());
    };
    let what = || format!("read `{}`", dir.display());
    for entry in fs::read_dir(dir).context(what)? {
        let entry = entry.context(what)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = if dir == Path::new(".") {
            PathBuf::from(&*name)
        } else {
            entry.path()
        };
        let kind = entry.file_type().context(what)?;
        if kind.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                walk(&path, left, found)?;
            }
        } else if name.ends_with(SUFFIX) && path.is_file() {
            found.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_files_are_found_in_order_and_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b_test.lua",
            "a/z_test.lua",
            "a/not.lua",
            ".git/x_test.lua",
            "target/y_test.lua",
            "plain.lua",
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let top = dir.path().to_owned();
        let found = discover(&[top.join("b_test.lua"), top.clone(), top.join("plain.lua")]).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(&top).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a/z_test.lua", "b_test.lua", "plain.lua"]);
    }

    #[test]
    fn nothing_to_run_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            discover(&[dir.path().to_owned()]).unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(
            discover(&[dir.path().join("no")]).unwrap_err().kind(),
            Kind::NotFound
        );
    }
}
