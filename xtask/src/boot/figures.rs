//! How long the image takes, for `cargo xtask bars`.
//!
//! Two figures, in seconds from the start of QEMU to its end, on one CPU: a boot in which no case runs, and one with all of
//! them. Both are an emulator's times on the machine at hand. They are promised because whoever tries the image waits for them,
//! and say nothing about keys.

use super::machine::{Bench, End, Machine};
use crate::bars::{Figure, Side};
use crate::guest;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use core::time::Duration;
use pkeys_launch::{Said, Verdict};
use std::time::Instant;

/// A figure: its name, what it is, the words for the kernel, and its bar in seconds.
type Promise = (&'static str, &'static str, &'static str, f64);

/// All of them.
const PROMISES: [Promise; 2] = [
    (
        "boot",
        "seconds from the start of QEMU to its end, no case",
        "cpus=1 list",
        1.0,
    ),
    ("boot-cases", "the same with every case", "cpus=1", 10.0),
];

/// Boots of which the median counts.
const BOOTS: usize = 20;

/// A boot that takes longer is no figure any more.
const LIMIT: Duration = Duration::from_secs(60);

/// The names of the figures.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PROMISES.iter().map(|(name, ..)| *name)
}

/// Measures the figures that are wanted, in turn, so that a machine whose speed drifts drifts for both.
pub(crate) fn measure(
    workspace: &Workspace,
    is_wanted: &dyn Fn(&str) -> bool,
    is_smoke: bool,
) -> Result<Vec<Figure>> {
    let bench = super::bench(workspace, &guest::say, &|_| {})?;
    let mut measured: Vec<(&Promise, Vec<f64>)> = PROMISES
        .iter()
        .filter(|(name, ..)| is_wanted(name))
        .map(|promise| (promise, Vec::new()))
        .collect();
    for _ in 0..if is_smoke { 1 } else { BOOTS } {
        for ((.., words, _), seconds) in &mut measured {
            seconds.push(boot(&bench, words)?);
        }
    }
    let figures = measured.into_iter().map(|((name, what, _, bar), seconds)| {
        let (low, median, high) = quartiles(seconds);
        Figure {
            name: (*name).to_owned(),
            what: (*what).to_owned(),
            low,
            median,
            high,
            side: Side::AtMost,
            bar: *bar,
            is_met: median <= *bar,
        }
    });
    Ok(figures.collect())
}

/// Boots once and gives the time it took; one that does not pass is an error.
fn boot(bench: &Bench, words: &str) -> Result<f64> {
    let machine = Machine {
        append: words.to_owned(),
        ..Machine::default()
    };
    let mut verdict = Verdict::default();
    let start = Instant::now();
    let (end, output) = bench.boot(&machine, LIMIT, &mut |line| {
        verdict.take(&Said::parse(line))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    if end != End::Passed || verdict.seen() + verdict.listed == 0 {
        bail!("{words}: {end}:\n{output}");
    }
    Ok(seconds)
}

/// The quartiles. Of two values in the middle the greater one is taken.
fn quartiles(mut seconds: Vec<f64>) -> (f64, f64, f64) {
    seconds.sort_by(f64::total_cmp);
    let at = |quarter: usize| seconds[seconds.len() * quarter / 4];
    (at(1), at(2), at(3))
}

#[cfg(test)]
mod tests {
    use super::quartiles;

    #[test]
    fn the_median_is_not_on_the_good_side_of_the_middle() {
        assert_eq!(quartiles(vec![2.0]), (2.0, 2.0, 2.0));
        let twenty = (1..=20).rev().map(f64::from).collect();
        assert_eq!(quartiles(twenty), (6.0, 11.0, 16.0));
    }
}
