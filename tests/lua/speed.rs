//! How long a thousand guests take. Prints figures, asserts none: `cargo test --release --test lua speed -- --nocapture`.

use std::time::Instant;

use hostel::lua::EvalOptions;

use crate::support::{eval_with, plain};

/// The fleet of the benchmark.
const FLEET: &str = include_str!("../../bench/fleet.lua");

#[test]
fn a_thousand_guests() {
    let fleet = FLEET.replace("COUNT", "1000");
    for (name, options) in [
        ("in this process", plain()),
        ("in a child", EvalOptions::default()),
    ] {
        let mut times: Vec<_> = (0..3)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(eval_with(&fleet, &options).unwrap().specs.len(), 1000);
                start.elapsed()
            })
            .collect();
        times.sort();
        println!(
            "1000 guests {name}: median {:?}, best {:?}",
            times[times.len() / 2],
            times[0]
        );
    }
}
