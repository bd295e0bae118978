//! The corpus of the fuzzer, replayed: what it once found stays fixed, on any compiler. docs/development.md says how the
//! corpus grows.

use std::path::Path;

#[test]
fn the_corpus_keeps_every_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in hostel::fuzz::TARGETS {
        let files =
            std::fs::read_dir(corpus.join(name)).unwrap_or_else(|err| panic!("corpus of {name}: {err}"));
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "the corpus of {name} is empty");
        for path in paths {
            // The last line before a panic names the input.
            println!("{}", path.display());
            target(&std::fs::read(&path).unwrap());
        }
    }
    hostel::fuzz::clean();
}

#[test]
fn every_target_has_a_program() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut found: Vec<String> = std::fs::read_dir(programs)
        .unwrap()
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.sort();
    let mut named: Vec<&str> = hostel::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    named.sort_unstable();
    assert_eq!(found, named);
}
