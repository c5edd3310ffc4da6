//! Measures the figures that the project promises; `cargo xtask bars` builds it, runs it and prints the verdicts.
//!
//! One JSON line a figure on standard output ([`figure::Figure`]), progress on standard error. Every figure is a ratio of
//! two things measured in turn in one run, so that a machine whose speed drifts drifts for both; it is quoted as median
//! and quartiles of the ratios of all rounds. A lone absolute time is never printed.
//!
//! * [`sample`]: rounds, cycles and quartiles.
//! * [`figure`]: what a figure is and when its bar is met.
//! * [`windows`], [`mprotect`], [`checked`], [`pardons`]: the library's figures by topic.
//! * [`kernel_calls`]: the kernel library's, which need no protection keys.
//! * [`guard`]: those of `pkeys guard`, whole programs with and without it.
//!
//! Exit status: 0 when every figure was measured that was asked for, 1 for an unknown name, 3 when some need protection
//! keys or a program that is not there; what needs nothing is measured all the same.

mod checked;
mod figure;
mod guard;
mod kernel_calls;
mod mprotect;
mod pardons;
mod sample;
mod windows;

use std::process::ExitCode;

use figure::Figure;
use sample::Effort;

/// What measures some figures.
struct Bench {
    names: &'static [&'static str],
    /// What is not there and has to be.
    missing: fn() -> Option<String>,
    /// Gives all of them.
    measure: fn(Effort) -> Vec<Figure>,
}

impl Bench {
    const fn on_keys(names: &'static [&'static str], measure: fn(Effort) -> Vec<Figure>) -> Self {
        Self {
            names,
            missing: no_keys,
            measure,
        }
    }
}

/// Why there are no protection keys; `None` where there are.
fn no_keys() -> Option<String> {
    pkeys::support().err().map(|error| error.to_string())
}

/// All but the guard's.
const LIBRARIES: &[Bench] = &[
    Bench::on_keys(windows::NAMES, windows::measure),
    Bench::on_keys(mprotect::NAMES, mprotect::measure),
    Bench::on_keys(checked::NAMES, checked::measure),
    Bench::on_keys(pardons::NAMES, pardons::measure),
    Bench {
        names: kernel_calls::NAMES,
        missing: || None,
        measure: kernel_calls::measure,
    },
];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == guard::INSIDE) {
        return guard::inside(&arguments[1..]);
    }
    let is_smoke = arguments.iter().any(|argument| argument == "--smoke");
    arguments.retain(|argument| argument != "--smoke");
    let benches = || LIBRARIES.iter().chain(&guard::BENCHES);
    let known = || benches().flat_map(|bench| bench.names.iter());
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
    let effort = if is_smoke {
        Effort::Smoke
    } else {
        Effort::Full
    };
    sample::pin_to_one_cpu();
    let is_wanted =
        |name: &str| arguments.is_empty() || arguments.iter().any(|wanted| wanted == name);
    let mut is_complete = true;
    for bench in benches() {
        let wanted: Vec<&str> = bench
            .names
            .iter()
            .copied()
            .filter(|name| is_wanted(name))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        if let Some(missing) = (bench.missing)() {
            eprintln!("bars: not measured: {}: {missing}", wanted.join(", "));
            is_complete = false;
            continue;
        }
        for figure in (bench.measure)(effort) {
            if is_wanted(figure.name) {
                figure.print();
            }
        }
    }
    if is_complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    }
}
