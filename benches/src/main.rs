//! Measures the figures that the project promises; `cargo xtask bars` builds it, runs it and prints the verdicts.
//!
//! One JSON line a figure on standard output ([`figure::Figure`]), progress on standard error. Every figure is a ratio of
//! two things measured in turn in one run, so that a machine whose speed drifts drifts for both; it is quoted as median
//! and quartiles of the ratios of all rounds. A lone absolute time is never printed.
//!
//! * [`sample`]: rounds, cycles and quartiles.
//! * [`figure`]: what a figure is and when its bar is met.
//! * [`windows`], [`mprotect`], [`checked`], [`pardons`]: the figures by topic.
//!
//! Exit status: 0 when every figure was measured, 1 for an unknown name, 3 where there are no protection keys.

mod checked;
mod figure;
mod mprotect;
mod pardons;
mod sample;
mod windows;

use std::process::ExitCode;

use figure::Figure;
use sample::Effort;

/// What measures some figures: their names, and the measurement that gives all of them.
type Bench = (&'static [&'static str], fn(Effort) -> Vec<Figure>);

const BENCHES: &[Bench] = &[
    (windows::NAMES, windows::measure),
    (mprotect::NAMES, mprotect::measure),
    (checked::NAMES, checked::measure),
    (pardons::NAMES, pardons::measure),
];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_smoke = arguments.iter().any(|argument| argument == "--smoke");
    arguments.retain(|argument| argument != "--smoke");
    let known = || BENCHES.iter().flat_map(|(names, _)| names.iter());
    if let Some(unknown) = arguments
        .iter()
        .find(|name| !known().any(|other| other == name))
    {
        let known: Vec<&str> = known().copied().collect();
        eprintln!(
            "bars: no figure {unknown:?}; there are: {}",
            known.join(", ")
        );
        return ExitCode::FAILURE;
    }
    if let Err(missing) = pkeys::support() {
        eprintln!("bars: nothing to measure: {missing}");
        return ExitCode::from(3);
    }
    let effort = if is_smoke {
        Effort::Smoke
    } else {
        Effort::Full
    };
    sample::pin_to_one_cpu();
    let is_wanted =
        |name: &str| arguments.is_empty() || arguments.iter().any(|wanted| wanted == name);
    for (names, measure) in BENCHES {
        if !names.iter().any(|name| is_wanted(name)) {
            continue;
        }
        for figure in measure(effort) {
            if is_wanted(figure.name) {
                figure.print();
            }
        }
    }
    ExitCode::SUCCESS
}
