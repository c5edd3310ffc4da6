//! What `pkeys guard` costs: whole programs with and without it, in CPU time, and one gate.
//!
//! The program is `python3` with SQLite, guarded with the profile for it; the launcher is `pkeys`, which `cargo xtask bars` builds beside
//! this program. The figures contain everything: the launcher, its trial start, gates, allocator.
//!
//! * [`child`]: a program and its CPU time;
//! * [`found`]: which programs there are;
//! * [`gate`]: one gated call, from within a guarded program.
//!
//! The same calls without keys (`--without-keys`: gates and allocator, no RDPKRU or WRPKRU) show on any machine what is left of the price
//! when the instructions are taken away. With heaps that `mprotect(2)` closes in place of keys (`--by-mprotect`) they show
//! what the keys are for; the sample is small, since each gate then changes the protection of the whole used heap twice.

mod child;
mod found;
mod gate;

use crate::figure::Figure;
use crate::sample::{Effort, Rounds, Spread};
use crate::{Bench, no_keys};

use child::Program;
use found::Found;

pub(crate) use gate::{INSIDE, inside};

/// Many small calls; its argument is the number of rows, and each row is some nine gates.
const CALLS: &str = include_str!("calls.py");

/// Few large calls; its argument is the number of rows.
const LARGE: &str = include_str!("large.py");

/// Start-up.
const START: &str = "import sqlite3";

/// Rows of the many small calls: more than four million gates.
const CALL_ROWS: u32 = 500_000;

/// Rows of the same by `mprotect(2)`.
const MPROTECT_ROWS: u32 = 10_000;

/// Rows of the few large calls.
const LARGE_ROWS: u32 = 1_000_000;

/// The library that is guarded.
const LIBRARY: &str = "libsqlite3.so.0";

/// How a program is guarded.
const WITH_KEYS: &[&str] = &["--profile", "sqlite"];
const WITHOUT_KEYS: &[&str] = &["--profile", "sqlite", "--without-keys"];
const BY_MPROTECT: &[&str] = &["--profile", "sqlite", "--by-mprotect"];

/// Microseconds in a second, milliseconds in a microsecond.
const MICROSECONDS: f64 = 1e6;
const MILLISECONDS: f64 = 1e-3;

const fn with_keys(names: &'static [&'static str], measure: fn(Effort) -> Vec<Figure>) -> Bench {
    Bench {
        names,
        missing: || no_keys().or_else(missing),
        measure,
    }
}

const fn without_keys(names: &'static [&'static str], measure: fn(Effort) -> Vec<Figure>) -> Bench {
    Bench {
        names,
        missing,
        measure,
    }
}

/// The figures.
pub(crate) const BENCHES: [Bench; 6] = [
    with_keys(&["guard-calls"], |effort| {
        let (ratio, times) = ratio(effort, 21, CALLS, CALL_ROWS, WITH_KEYS);
        let what = "pkeys guard: python3 with SQLite, millions of small calls, against the same without; CPU time";
        vec![Figure::at_most("guard-calls", what, 1.2, ratio, times)]
    }),
    without_keys(&["guard-calls-bare"], |effort| {
        let (ratio, times) = ratio(effort, 21, CALLS, CALL_ROWS, WITHOUT_KEYS);
        let what = "the same with gates and allocator, but without RDPKRU and WRPKRU";
        vec![Figure::at_most("guard-calls-bare", what, 1.1, ratio, times)]
    }),
    with_keys(&["guard-large"], |effort| {
        let (ratio, times) = ratio(effort, 21, LARGE, LARGE_ROWS, WITH_KEYS);
        let what = "few large calls against the same without guard; CPU time";
        vec![Figure::at_most("guard-large", what, 1.03, ratio, times)]
    }),
    with_keys(&["guard-start"], |effort| {
        let (more, times) = start(effort);
        let what = "start-up of python3 that imports sqlite3: milliseconds of CPU time more, launcher and trial start included";
        vec![Figure::at_most("guard-start", what, 5.0, more, times)]
    }),
    with_keys(&["guard-gate"], |effort| {
        let (ratio, cycles) = gate::measure(&programs(), effort);
        let what = "one gated call of a function that returns a constant, against two bare RDPKRU and WRPKRU";
        vec![Figure::at_most("guard-gate", what, 1.5, ratio, cycles)]
    }),
    without_keys(&["guard-mprotect"], |effort| {
        let (ratio, times) = ratio(effort, 5, CALLS, MPROTECT_ROWS, BY_MPROTECT);
        let what = "many small calls, a sample of 10,000 rows, with a heap that mprotect closes in place of keys, against the same without guard; CPU time";
        vec![Figure::at_least("guard-mprotect", what, 25.0, ratio, times)]
    }),
];

/// What is missing to measure anything.
fn missing() -> Option<String> {
    Found::look().err()
}

fn programs() -> Found {
    Found::look().expect("looked for before")
}

/// Rows, or as few as show that it runs.
fn scaled(effort: Effort, rows: u32) -> u32 {
    match effort {
        Effort::Full => rows,
        Effort::Smoke => 100,
    }
}

/// A script guarded against the same plain: the ratio, and the microseconds of both.
fn ratio(
    effort: Effort,
    rounds: usize,
    script: &str,
    rows: u32,
    options: &[&str],
) -> (Spread, (Spread, Spread)) {
    let rows = scaled(effort, rows).to_string();
    let rounds = rounds_of(effort.rounds(rounds), &[script, &rows], options);
    let times = (rounds.cycles(1), rounds.cycles(0));
    (rounds.ratio(1, 0), times)
}

/// How many milliseconds more a start takes.
fn start(effort: Effort) -> (Spread, (Spread, Spread)) {
    let rounds = rounds_of(effort.rounds(41), &[START], WITH_KEYS);
    let more = rounds.difference(1, 0);
    let scale = |value: f64| value * MILLISECONDS;
    let more = Spread {
        low: scale(more.low),
        median: scale(more.median),
        high: scale(more.high),
    };
    (more, (rounds.cycles(1), rounds.cycles(0)))
}

/// Microseconds of CPU time of a script, plain and guarded, in turn. The first round warms up and is not counted.
fn rounds_of(rounds: usize, script: &[&str], options: &[&str]) -> Rounds {
    let found = programs();
    let plain = found.python(script);
    let guarded = plain.guarded(&found.pkeys, options);
    let mut times = vec![Vec::new(), Vec::new()];
    let mut printed: Option<Vec<u8>> = None;
    for round in 0..=rounds {
        for (program, times) in [&plain, &guarded].into_iter().zip(&mut times) {
            let run = program.run();
            assert!(
                *printed.get_or_insert_with(|| run.printed.clone()) == run.printed,
                "the guarded program printed something else"
            );
            if round > 0 {
                times.push(run.seconds * MICROSECONDS);
            }
        }
    }
    Rounds::of(times)
}
