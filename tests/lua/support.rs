//! A recipe in a folder of its own, evaluated.

use hostel::lua::{Diagnostics, EvalOptions, Evaluated, evaluate};

/// In this process, without a child: for tests of what a recipe means.
pub(crate) fn plain() -> EvalOptions {
    EvalOptions {
        isolated: false,
        ..EvalOptions::default()
    }
}

pub(crate) fn eval_with(text: &str, options: &EvalOptions) -> Result<Evaluated, Diagnostics> {
    let dir = tempfile::tempdir().expect("a temporary file");
    let path = dir.path().join("web.lua");
    std::fs::write(&path, text).expect("a temporary file");
    evaluate(&path, options)
}

pub(crate) fn eval(text: &str) -> Result<Evaluated, Diagnostics> {
    eval_with(text, &plain())
}

/// What is printed for a recipe, with its name alone.
pub(crate) fn printed(text: &str) -> String {
    let dir = tempfile::tempdir().expect("a temporary file");
    let path = dir.path().join("web.lua");
    std::fs::write(&path, text).expect("a temporary file");
    match evaluate(&path, &plain()) {
        Ok(evaluated) => format!("{:#?}", evaluated.specs),
        Err(diagnostics) => diagnostics
            .to_string()
            .replace(&format!("{}/", dir.path().display()), ""),
    }
}
