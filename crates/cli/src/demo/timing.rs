//! What protection costs: the desk's work with SQLite's memory in three places, in rounds that alternate.
//!
//! Each round is measured against the plain one beside it, and only the ratios are shown: a machine that is slow for a
//! while is slow for both. With `mprotect(2)` a round is a sample of a full one.

use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::time::Instant;

use clap::ValueEnum;

use super::interrupt::Tracked;
use super::message::{Round, Took};
use super::orders::{Orders, STATEMENTS_PER_STEP};
use super::place::{Place, copy};
use super::play::{last_words, this_program};
use super::worker::Memory;
use crate::failure::{Doing, Failure};

/// What part of a full round a sample is.
const SAMPLE: u32 = 10;

/// Rounds that are measured.
const ROUNDS: usize = 41;

/// Rounds that are measured at least, however slow the machine is.
const LEAST_ROUNDS: usize = 5;

/// When no further round is begun.
const ENOUGH: Duration = Duration::from_secs(10);

/// What was measured.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Timing {
    pub(crate) rounds: usize,
    /// Statements of a full round.
    pub(crate) statements: u32,
    /// Statements of a sample.
    pub(crate) sample_statements: u32,
    /// CPU time with keys, as a multiple of plain.
    pub(crate) keys: Option<Spread>,
    /// CPU time of the sample with `mprotect(2)`, as a multiple of plain.
    pub(crate) mprotect: Option<Spread>,
}

/// Several measurements of one thing.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// A quarter of the measurements is below.
    pub(crate) lower_quartile: f64,
    /// A quarter of the measurements is above.
    pub(crate) upper_quartile: f64,
}

impl Spread {
    /// Of these measurements; `None` when there are none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            values
                .get((values.len().checked_sub(1)? * quarter + 2) / 4)
                .copied()
        };
        Some(Self {
            median: at(2)?,
            lower_quartile: at(1)?,
            upper_quartile: at(3)?,
        })
    }
}

/// Measures, on copies of the database. A full round has so many steps; `has_keys` says whether there are keys to measure.
pub(crate) fn measure(
    place: &Place,
    database: &Path,
    orders: Orders,
    steps: u32,
    has_keys: bool,
    mut progress: impl FnMut(f64),
) -> Result<Timing, Failure> {
    let start = |memory| Worker::start(place, database, orders, memory);
    let mut plain = start(Memory::Plain)?;
    let mut keys = has_keys.then(|| start(Memory::Keys)).transpose()?;
    let mut mprotect = start(Memory::Mprotect)?;
    let sample_steps = (steps / SAMPLE).max(1);
    let (mut with_keys, mut with_mprotect) = (Vec::new(), Vec::new());
    let mut first = 0;
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS && (rounds < LEAST_ROUNDS || began.elapsed() < ENOUGH) {
        if let Some(keys) = &mut keys {
            let round = Round { first, steps };
            with_keys.push(Worker::ratio(keys, &mut plain, round, rounds)?);
        }
        let sample = Round {
            first: first + steps,
            steps: sample_steps,
        };
        with_mprotect.push(Worker::ratio(&mut mprotect, &mut plain, sample, rounds)?);
        first += steps + sample_steps;
        rounds += 1;
        progress(done(rounds, began.elapsed()));
    }
    Ok(Timing {
        rounds,
        statements: steps * STATEMENTS_PER_STEP,
        sample_statements: sample_steps * STATEMENTS_PER_STEP,
        keys: Spread::of(with_keys),
        mprotect: Spread::of(with_mprotect),
    })
}

/// How much of the measuring is done, from 0 to 1: by rounds or by time, whichever ends it first.
fn done(rounds: usize, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let by_rounds = |all: usize| rounds as f64 / all as f64;
    by_rounds(ROUNDS).max(by_rounds(LEAST_ROUNDS).min(elapsed.as_secs_f64() / ENOUGH.as_secs_f64()))
}

/// A measuring process.
struct Worker {
    memory: Memory,
    child: Tracked,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    errors: ChildStderr,
}

impl Worker {
    fn start(
        place: &Place,
        database: &Path,
        orders: Orders,
        memory: Memory,
    ) -> Result<Self, Failure> {
        const DOING: &str = "cannot start a measuring process";
        let name = memory
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned());
        let own = place.scratch_file(&format!("timing-{name}.db"));
        copy(database, &own)?;
        let mut command = this_program("worker");
        command.args(["--memory", &name]).arg("--database").arg(own);
        command.args(["--rows", &orders.rows().to_string()]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().doing(DOING)?;
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let child = Tracked::new(child);
        let (Some(input), Some(output), Some(errors)) = (input, output, errors) else {
            return Err(Failure::Failed(format!("{DOING}: no pipe")));
        };
        Ok(Self {
            memory,
            child,
            input,
            output: BufReader::new(output),
            errors,
        })
    }

    /// The time of a round in one process, as a multiple of the same round in another. They take turns in being first.
    fn ratio(
        this: &mut Self,
        that: &mut Self,
        round: Round,
        number: usize,
    ) -> Result<f64, Failure> {
        let (this_ns, that_ns);
        if number.is_multiple_of(2) {
            this_ns = this.time(round)?;
            that_ns = that.time(round)?;
        } else {
            that_ns = that.time(round)?;
            this_ns = this.time(round)?;
        }
        Ok(this_ns / that_ns)
    }

    fn time(&mut self, round: Round) -> Result<f64, Failure> {
        let line = serde_json::to_string(&round).doing("cannot ask for a round")?;
        let mut answer = String::new();
        // A process that is gone breaks the pipe or ends its output; either way its status says more.
        let is_answered = writeln!(self.input, "{line}").is_ok()
            && self
                .output
                .read_line(&mut answer)
                .is_ok_and(|len_bytes| len_bytes > 0);
        if !is_answered {
            let mut said = String::new();
            // As far as it can be read: its status is there in any case.
            let _ = self.errors.read_to_string(&mut said);
            let status = self.child.wait().doing("cannot measure")?;
            let why = last_words(&said, status);
            return Err(Failure::Failed(format!(
                "the process that measures {:?} ended: {why}",
                self.memory
            )));
        }
        let took: Took = serde_json::from_str(&answer).doing("cannot measure")?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 nanoseconds")]
        Ok(took.cpu_ns.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_few_and_of_many() {
        let of = |values: &[f64]| {
            Spread::of(values.to_vec())
                .map(|spread| (spread.lower_quartile, spread.median, spread.upper_quartile))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[2.0]), Some((2.0, 2.0, 2.0)));
        assert_eq!(of(&[5.0, 1.0, 3.0, 4.0, 2.0]), Some((2.0, 3.0, 4.0)));
    }
}
