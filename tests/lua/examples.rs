//! Every example evaluates, in a process of its own, to the same bytes each time.

use hostel::lua::{EvalOptions, evaluate, starter};

#[test]
fn every_example_evaluates() {
    let mut count = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        // Scripts and tests are no recipes; they say so in their first lines.
        let is_recipe = !text.contains("hostel run") && !text.contains("hostel test");
        if path.extension().is_none_or(|e| e != "lua") || !is_recipe {
            continue;
        }
        count += 1;
        let first = evaluate(&path, &EvalOptions::default()).unwrap_or_else(|d| panic!("{d}"));
        let again = evaluate(&path, &EvalOptions::default()).unwrap();
        assert!(!first.specs.is_empty(), "{}", path.display());
        assert_eq!(
            serde_json::to_vec(&first).unwrap(),
            serde_json::to_vec(&again).unwrap()
        );
    }
    assert!(count >= 5);
}

#[test]
fn the_starter_recipe_evaluates() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in starter() {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let evaluated = evaluate(&dir.path().join("web.lua"), &EvalOptions::default());
    assert_eq!(evaluated.unwrap_or_else(|d| panic!("{d}")).specs.len(), 1);
}
