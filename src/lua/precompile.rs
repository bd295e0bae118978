//! Part of the build script: hostel's own Lua, parsed at build time. A state would else spend half of its start on parsing
//! what is always the same (docs/decisions/0028).
//!
//! The form is that of `string.dump`, which Lua itself checks when it is loaded: version, format, sizes and byte order.
//! x86-64 and aarch64 have all of them in common, so that the parser of the building machine serves the other one too.
//! It depends on nothing but the text: no seed, no address, no time.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mlua::{Lua, chunk::ChunkMode};

/// Where the sources are, from the package's directory.
const SOURCES: &str = "stdlib-lua";

/// What calls the functions of others: without its lines and names, which no error and no trace is to show.
const STRIPPED: &str = "unlined.lua";

/// Writes `OUT_DIR/stdlib.rs`: the path of each source with its parsed form.
pub(crate) fn precompile(out: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={SOURCES}");
    let mut files = Vec::new();
    find(Path::new(SOURCES), &mut files)?;
    // As texts, as they are looked up: paths compare part by part.
    files.sort_by_cached_key(|file| file.display().to_string());
    let lua = Lua::new();
    let mut table = String::from("&[\n");
    for file in files {
        let relative = file.strip_prefix(SOURCES).unwrap_or(&file);
        let text = fs::read_to_string(&file).map_err(|err| format!("read `{}`: {err}", file.display()))?;
        let function = lua
            .load(text)
            .set_name(format!("={}", file.display()))
            .set_mode(ChunkMode::Text)
            .into_function()
            .map_err(|err| format!("parse `{}`: {err}", file.display()))?;
        let parsed = function.dump(relative == Path::new(STRIPPED));
        let to = out.join(SOURCES).join(relative).with_extension("luac");
        let write = |path: &Path| {
            fs::create_dir_all(path.parent().unwrap_or(path)).and_then(|()| fs::write(path, &parsed))
        };
        write(&to).map_err(|err| format!("write `{}`: {err}", to.display()))?;
        // As literals of Rust. Writing to a `String` cannot fail.
        let (name, place) = (relative.display().to_string(), to.display().to_string());
        let _ = writeln!(table, "    ({name:?}, include_bytes!({place:?})),");
    }
    table.push_str("]\n");
    let to = out.join("stdlib.rs");
    fs::write(&to, table).map_err(|err| format!("write `{}`: {err}", to.display()))
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |err| format!("list `{}`: {err}", directory.display());
    // A directory too, so that a new file is noticed.
    println!("cargo::rerun-if-changed={}", directory.display());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            find(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "lua") {
            println!("cargo::rerun-if-changed={}", path.display());
            found.push(path);
        }
    }
    Ok(())
}
