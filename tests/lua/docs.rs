//! Every Lua snippet of the README and the documentation is a recipe that evaluates.

use std::path::{Path, PathBuf};

use hostel::lua::{EvalOptions, evaluate};

fn pages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
}

#[test]
fn every_snippet_evaluates() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![top.join("README.md")];
    pages(&top.join("docs"), &mut found);
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for page in found {
        let text = std::fs::read_to_string(&page).unwrap();
        for snippet in text
            .split("```lua\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
        {
            count += 1;
            let recipe = dir.path().join(format!("snippet{count}.lua"));
            std::fs::write(&recipe, snippet).unwrap();
            if let Err(diagnostics) = evaluate(&recipe, &EvalOptions::default()) {
                panic!("{}: {diagnostics}", page.display());
            }
        }
    }
    assert!(count > 0, "the README has a recipe");
}

/// `HOSTEL_BLESS=1` writes the pages anew.
#[test]
fn the_reference_is_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lua");
    let pages = hostel::lua::registry::reference();
    if std::env::var_os("HOSTEL_BLESS").is_some() {
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in &pages {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let found = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert!(
            found == *text,
            "docs/lua/{name} is old: run `HOSTEL_BLESS=1 cargo test --test lua reference`"
        );
    }
    for entry in std::fs::read_dir(&dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        assert!(
            pages.iter().any(|(n, _)| *n == name),
            "docs/lua/{name} is of nothing"
        );
    }
}
