//! What holds for any bytes: the bodies of the fuzz targets in `fuzz/`, and of the test that replays their corpus.
//!
//! A target takes what the fuzzer made and panics where a promise is broken. docs/development.md says how they run.

mod archive;
mod records;
mod values;

pub use archive::{archive, images, layers};
pub use records::records;
pub use values::values;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::lua::{self, Code, Diagnostics, EvalOptions, Evaluated, Place};

/// What stands in a file beside the recipe's folder, which no evaluation may show.
const CANARY: &str = "canary-of-another-folder";

/// What a target does with the fuzzer's bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("archive", archive),
    ("evaluator", evaluator),
    ("images", images),
    ("layers", layers),
    ("records", records),
    ("scanner", scanner),
    ("values", values),
];

/// Any bytes as a recipe: the evaluation ends in time, never by a mistake of hostel's, reads nothing beside its
/// folder, says where what it complains of is, and means the same a second time and in this process.
pub fn evaluator(bytes: &[u8]) {
    let folder = folder();
    let path = folder.join("in/web.lua");
    write(&path, bytes);
    let options = EvalOptions {
        instructions: 2_000_000,
        memory: 16 << 20,
        cpu_seconds: 1,
        ..EvalOptions::default()
    };
    let began = Instant::now();
    let hermetic = lua::evaluate(&path, &options);
    let took = began.elapsed();
    // One second of processor time is many of real time on a machine that does other things.
    assert!(took < Duration::from_secs(60), "took {took:?}");
    let shown = shown(&hermetic);
    assert!(!shown.contains(CANARY), "read beside the folder: {shown}");
    if let Err(diagnostics) = &hermetic {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        for diagnostic in &diagnostics.0 {
            assert!(diagnostic.code != Code::Child, "{shown}");
            for place in diagnostic
                .place
                .iter()
                .chain(diagnostic.related.iter().map(|r| &r.0))
            {
                if place.file.ends_with("/web.lua") {
                    is_within(place, text);
                }
            }
            // What hung in C once would hang this process.
            if diagnostic.code == Code::CpuTime {
                return;
            }
        }
    }
    let here = lua::evaluate(
        &path,
        &EvalOptions {
            isolated: false,
            ..options
        },
    );
    assert_eq!(shown, self::shown(&here), "two evaluations differ");
}

/// Any bytes as a source, and a line, names and a path out of the same bytes: the search for a place ends, and what
/// it finds is within the source.
pub fn scanner(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // The first line says what is looked for, the rest is where.
    let (wanted, source) = text.split_once('\n').unwrap_or((&text, ""));
    let mut words = wanted.split(' ');
    let line = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
    let name = words.next().unwrap_or("web");
    let path: Vec<String> = words.map(str::to_owned).collect();
    for place in lua::diagnostic::every_search(source, line, name, &path) {
        is_within(&place, source);
    }
}

/// Panics unless the place names a line of the text and columns of that line.
fn is_within(place: &Place, text: &str) {
    let line = text.split('\n').nth(place.line.wrapping_sub(1));
    let line = line.unwrap_or_else(|| panic!("line {} of a text without it: {place:?}", place.line));
    let width = line.trim_end_matches('\r').chars().count();
    assert!(
        place.column >= 1 && place.column <= width + 1 && place.width <= width + 1,
        "{place:?} in {line:?}"
    );
}

fn shown(outcome: &Result<Evaluated, Diagnostics>) -> String {
    match outcome {
        Ok(evaluated) => serde_json::to_string_pretty(evaluated).unwrap_or_else(|err| err.to_string()),
        Err(diagnostics) => serde_json::to_string_pretty(diagnostics).unwrap_or_else(|err| err.to_string()),
    }
}

/// One folder a process, in memory where there is a place for that; what stood in it is written over.
fn folder() -> &'static Path {
    static FOLDER: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    FOLDER.get_or_init(|| {
        let shared = Path::new("/dev/shm");
        let above = if shared.is_dir() {
            shared.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = above.join(format!("hostel-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("in/lib"))
            .unwrap_or_else(|err| panic!("{}: {err}", folder.display()));
        let outside = format!("error '{CANARY}'\n");
        write(&folder.join("outside.lua"), outside.as_bytes());
        write(&folder.join("in/own.lua"), b"return { name = 'own' }\n");
        write(
            &folder.join("in/lib/below.lua"),
            b"return function(x) return x end\n",
        );
        let link = folder.join("in/linked.lua");
        if !link.exists() {
            std::os::unix::fs::symlink("../outside.lua", &link).unwrap_or_else(|err| panic!("{err}"));
        }
        folder
    })
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
}

/// Removes what the targets wrote.
pub fn clean() {
    // It holds nothing that anybody misses.
    let _ = std::fs::remove_dir_all(folder());
}
