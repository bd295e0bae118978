//! How long evaluations take, in this process and in their child: JSON for bench/lua.py, which starts this.
//! `bench-lua [ROUNDS [NAME]]`: of the contenders, those whose name begins with it.
#![allow(clippy::expect_used, reason = "a benchmark that cannot run has no figures")]
#![allow(clippy::print_stdout, reason = "the figures")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hostel::lua::{EvalOptions, evaluate};
use serde_json::{Map, json};

/// A fleet from a loop, with two templates, and addresses from a pool.
const FLEET: &str = include_str!("fleet.lua");

/// 20,000 lines: 5,000 guests, of which every `every`th has a mistake in a number that no guest shares.
fn large(every: Option<usize>) -> String {
    (0..5000)
        .map(|i| {
            let field = if every.is_some_and(|every| i % every == 0) {
                "pidz"
            } else {
                "pids"
            };
            format!(
                "guest \"g{i}\" {{\n  image = \"busybox\",\n  limits = {{ {field} = {} }},\n}}\n",
                i + 1
            )
        })
        .collect::<Vec<_>>()
        .concat()
}

struct Contender {
    name: &'static str,
    recipe: PathBuf,
    isolated: bool,
    /// A round of this many, for what is too short to be timed alone.
    times: u32,
    ms: Vec<f64>,
}

fn main() {
    let mut words = std::env::args().skip(1);
    let rounds: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(15);
    let only = words.next().unwrap_or_default();
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a recipe");
        path
    };
    let fleet = |count: usize| {
        write(
            &format!("fleet{count}.lua"),
            &FLEET.replace("COUNT", &count.to_string()),
        )
    };
    let (small, thousand, ten) = (
        write("state.lua", "require \"hostel.net\"\n"),
        fleet(1000),
        fleet(10_000),
    );
    let right = write("right.lua", &large(None));
    let one = write("one.lua", &large(Some(5000)));
    let many = write("many.lua", &large(Some(25)));
    let contender = |name, recipe: &Path, isolated, times| Contender {
        name,
        recipe: recipe.to_owned(),
        isolated,
        times,
        ms: Vec::new(),
    };
    let mut contenders = vec![
        contender("state with hostel.net, plain", &small, false, 20),
        contender("state with hostel.net, hermetic", &small, true, 5),
        contender("1,000 guests, plain", &thousand, false, 1),
        contender("1,000 guests, hermetic", &thousand, true, 1),
        contender("10,000 guests, plain", &ten, false, 1),
        contender("10,000 guests, hermetic", &ten, true, 1),
        contender("20,000 lines, right", &right, false, 1),
        contender("20,000 lines, 1 mistake", &one, false, 1),
        contender("20,000 lines, 200 mistakes", &many, false, 1),
    ];
    contenders.retain(|each| each.name.starts_with(&only));
    for _ in 0..rounds {
        for each in &mut contenders {
            let options = EvalOptions {
                isolated: each.isolated,
                ..EvalOptions::default()
            };
            let mut spent = 0.0;
            for _ in 0..each.times {
                let began = Instant::now();
                let found = black_box(evaluate(&each.recipe, &options));
                spent += began.elapsed().as_secs_f64();
                // Freeing what was found is not part of finding it; kept, it would make each later child dearer to fork.
                drop(found);
            }
            each.ms.push(spent * 1000.0 / f64::from(each.times));
        }
    }
    let table: Map<_, _> = contenders
        .iter_mut()
        .map(|each| {
            each.ms.sort_by(f64::total_cmp);
            let row = json!({ "median_ms": each.ms[each.ms.len() / 2], "best_ms": each.ms[0] });
            (each.name.to_owned(), row)
        })
        .collect();
    println!("{}", json!({ "rounds": rounds, "table": table }));
}
