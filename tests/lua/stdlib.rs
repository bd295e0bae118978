//! hostel's own Lua and the tests among the examples, under `hostel test`.

use std::path::Path;
use std::process::Command;

#[test]
fn the_tests_of_the_stdlib_hold() {
    let output = Command::new(env!("CARGO_BIN_EXE_hostel"))
        .args(["test", "tests/stdlib", "examples"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Each module of hostel's has a test file of its name; parts of a module are tested with it.
#[test]
fn every_module_is_tested() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(top.join("stdlib-lua/hostel")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "lua") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(
                top.join(format!("tests/stdlib/{name}_test.lua")).exists(),
                "hostel.{name} has no tests"
            );
        }
    }
}
