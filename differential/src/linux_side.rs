//! The Linux side, as a stream of lines: hashes of batches, or details of chosen steps.

use std::io::{self, BufRead as _, BufReader, Write};
use std::process::{Child, Command, Stdio};

use pkeys_conformance::system::{Ground, System};

use crate::detail;
use crate::generate::{BATCH_STEPS, Rules, batch};
use crate::kept::Kept;
use crate::protocol::{Asked, Header, Line};
use crate::side::batch_hash;

/// How many batches so many steps are.
#[must_use]
pub fn nr_batches(steps: u64) -> u64 {
    steps.div_ceil(BATCH_STEPS.into())
}

/// A share of the batches: every `of`th, from `number` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which.
    pub number: u64,
    /// Of how many.
    pub of: u64,
}

impl Share {
    /// All batches.
    pub const ALL: Self = Self { number: 0, of: 1 };

    fn numbers(self, nr_batches: u64) -> impl Iterator<Item = u64> {
        (0..nr_batches).filter(move |number| number % self.of == self.number)
    }
}

/// The version of Linux under a system; 0 where it is not Linux.
pub fn version<S: System + ?Sized>(sys: &S) -> (u32, u32) {
    match sys.ground() {
        Ground::Linux { major, minor } => (major, minor),
        Ground::Machine => (0, 0),
    }
}

fn header<S: System + ?Sized>(sys: &S, seed: u64, asked: Asked) -> (Line, Rules) {
    let linux = version(sys);
    let rules = Rules::for_linux(linux.0, linux.1);
    (Line::Header(Header { seed, asked, linux }), rules)
}

/// Runs a share of the batches and prints a line for each, as soon as it is done.
///
/// # Errors
///
/// What writing gave.
pub fn stream<S: System + ?Sized>(
    sys: &mut S,
    seed: u64,
    steps: u64,
    share: Share,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (header, rules) = header(sys, seed, Asked::Steps(steps));
    writeln!(out, "{header}")?;
    let nr_batches = nr_batches(steps);
    for number in share.numbers(nr_batches) {
        let line = Line::Batch {
            number,
            steps: (number + 1) * u64::from(BATCH_STEPS),
            hash: batch_hash(sys, seed, number, rules),
        };
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    let steps = nr_batches * u64::from(BATCH_STEPS);
    writeln!(out, "{}", Line::End { steps })?;
    out.flush()
}

/// Runs chosen steps of a batch, each list of them in a process of its own, and prints a line for each step.
///
/// # Errors
///
/// What writing gave.
pub fn details<S: System + ?Sized>(
    sys: &mut S,
    seed: u64,
    number: u64,
    programs: &[Kept],
    has_facts: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (header, rules) = header(sys, seed, Asked::Detail(number));
    writeln!(out, "{header}")?;
    let ops: Vec<_> = batch(seed, number, rules).collect();
    for (index, kept) in (0..).zip(programs) {
        writeln!(out, "{}", Line::Program(index))?;
        let mut result = Ok(());
        detail::run(sys, &kept.of(&ops), has_facts, &mut |step| {
            result = writeln!(out, "{}", Line::Step(step));
            result.is_ok()
        });
        result?;
        writeln!(out, "{}", Line::EndProgram(index))?;
    }
    writeln!(out, "{}", Line::End { steps: 0 })?;
    out.flush()
}

/// Runs all batches in several processes, each started by `command` with its share, and prints their lines in order.
///
/// # Errors
///
/// What starting, reading and writing gave; a process that ended early.
pub fn stream_in_shares(
    command: &dyn Fn(Share) -> Command,
    steps: u64,
    jobs: u64,
    out: &mut dyn Write,
) -> io::Result<()> {
    struct Process(Child);
    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut processes = Vec::new();
    let mut outputs = Vec::new();
    for number in 0..jobs {
        let share = Share { number, of: jobs };
        let mut child = command(share).stdout(Stdio::piped()).spawn()?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no pipe"))?;
        processes.push(Process(child));
        outputs.push(BufReader::new(output).lines());
    }
    let mut next = |index: usize| loop {
        let line = outputs.get_mut(index).and_then(Iterator::next);
        let line =
            line.unwrap_or_else(|| Err(io::Error::other("a part of the Linux side ended")))?;
        if matches!(Line::parse(&line), Ok(Some(_)) | Err(_)) {
            return Ok::<String, io::Error>(line);
        }
    };
    let jobs = processes.len();
    for index in 0..jobs {
        let header = next(index)?;
        if index == 0 {
            writeln!(out, "{header}")?;
        }
    }
    for number in 0..nr_batches(steps) {
        let index = usize::try_from(number).unwrap_or(0) % jobs;
        writeln!(out, "{}", next(index)?)?;
        out.flush()?;
    }
    writeln!(out, "{}", next(0)?)?;
    out.flush()
}
