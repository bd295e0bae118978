//! The command line as its users meet it: exact output, errors and exit codes. One file a command.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod support;

mod apply;
mod audit;
mod backup;
mod bind;
mod build;
mod caps;
mod check;
mod chroot;
mod clone;
mod completion;
mod context;
mod convert;
mod destroy;
mod doc;
mod doctor;
mod editor;
mod enter;
mod exec;
mod explain;
mod export;
mod flow;
mod fmt;
mod gc;
mod general;
mod help;
mod host;
mod images;
mod import;
mod init;
mod kill;
mod limit;
mod lint;
mod logs;
mod ls;
mod man;
mod pause;
mod plan;
mod repl;
mod restart;
mod resume;
mod rollback;
mod run;
mod selftest;
mod set;
mod snapshot;
mod snapshots;
mod start;
mod status;
mod stop;
mod test;
mod unify;
mod version;
mod volume;

/// Every verb has its file here or, when it needs a kernel and root, in tests/privileged; every file is run.
#[test]
fn no_test_file_is_forgotten() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let stems = |dir: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root.join(dir)).unwrap();
        let mut stems: Vec<String> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "rs"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        stems.sort();
        stems
    };
    let here = stems("tests/cli");
    let privileged = stems("tests/privileged");
    for verb in stems("src/cli/cmd") {
        assert!(
            verb == "mod" || here.contains(&verb) || privileged.contains(&format!("cli_{verb}")),
            "`{verb}` has no test file"
        );
    }
    let main = include_str!("main.rs");
    for stem in here {
        assert!(
            stem == "main" || main.contains(&format!("\nmod {stem};\n")),
            "tests/cli/{stem}.rs is not run"
        );
    }
}
