//! Reads what the Linux side prints, and notices what is missing.

use core::fmt;
use std::io::{self, BufRead};

use crate::compare::Plan;
use crate::detail::Step;
use crate::generate::Rules;
use crate::linux_side::nr_batches;
use crate::protocol::{Asked, Garbled, Header, Line};

/// Why nothing can be said.
#[derive(Debug)]
#[non_exhaustive]
pub enum Broken {
    /// The stream could not be read.
    Read(io::Error),
    /// A line of it makes no sense.
    Garbled(Garbled),
    /// A line is missing, or is about something else than was asked.
    Unexpected {
        /// What should have come.
        wanted: &'static str,
        /// What came; `None` at the end.
        found: Option<String>,
    },
    /// The machine's root did not live to the end.
    Root(String),
    /// A batch's hashes differ, and all of its steps, run one by one, agree.
    Unsteady {
        /// The batch.
        batch: u64,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(_) => f.write_str("cannot read the Linux side's lines"),
            Self::Garbled(garbled) => garbled.fmt(f),
            Self::Unexpected { wanted, found } => {
                let found = found.as_deref().unwrap_or("the end");
                write!(f, "the Linux side was to give {wanted} and gave {found}")
            }
            Self::Root(words) => f.write_str(words),
            Self::Unsteady { batch } => write!(
                f,
                "batch {batch} differs as a whole and agrees step by step: something in it is not determined"
            ),
        }
    }
}

impl core::error::Error for Broken {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Read(err) => Some(err),
            _ => None,
        }
    }
}

/// The lines of a stream that are ours.
pub(crate) struct Lines<'a>(pub(crate) &'a mut dyn BufRead);

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<Line>, Broken> {
        loop {
            let mut bytes = Vec::new();
            if self.0.read_until(b'\n', &mut bytes).map_err(Broken::Read)? == 0 {
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&bytes);
            if let Some(line) = Line::parse(&text).map_err(Broken::Garbled)? {
                return Ok(Some(line));
            }
        }
    }

    /// The first line.
    pub(crate) fn header(&mut self, seed: u64, wanted: Asked) -> Result<Header, Broken> {
        match self.next()? {
            Some(Line::Header(header)) if header.seed == seed && header.asked == wanted => {
                Ok(header)
            }
            found => Err(unexpected("the header that belongs to the question", found)),
        }
    }

    /// The steps of a program.
    pub(crate) fn program(&mut self, wanted: u64) -> Result<Vec<Step>, Broken> {
        match self.next()? {
            Some(Line::Program(number)) if number == wanted => {}
            found => return Err(unexpected("the next program", found)),
        }
        let mut steps = Vec::new();
        loop {
            match self.next()? {
                Some(Line::Step(step)) => steps.push(step),
                Some(Line::EndProgram(number)) if number == wanted => return Ok(steps),
                found => return Err(unexpected("a step", found)),
            }
        }
    }

    /// The last line.
    pub(crate) fn end(&mut self) -> Result<(), Broken> {
        match self.next()? {
            Some(Line::End { .. }) => Ok(()),
            found => Err(unexpected("the end", found)),
        }
    }
}

fn unexpected(wanted: &'static str, found: Option<Line>) -> Broken {
    Broken::Unexpected {
        wanted,
        found: found.map(|line| line.to_string()),
    }
}

/// A batch that the Linux side has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHash {
    /// Its number.
    pub number: u64,
    /// What came of it.
    pub hash: u64,
}

/// Reads a stream of hashes and hands each on, until `on_batch` says `false`. Gives Linux's version; `None` behind it if
/// the stream was left early.
///
/// # Errors
///
/// [`Broken`], also for a stream that ends early.
pub fn read_stream(
    plan: Plan,
    input: &mut dyn BufRead,
    on_batch: &mut dyn FnMut(Rules, BatchHash) -> bool,
) -> Result<(u32, u32), Broken> {
    let mut lines = Lines(input);
    let header = lines.header(plan.seed, Asked::Steps(plan.steps))?;
    let rules = Rules::for_linux(header.linux.0, header.linux.1);
    for wanted in 0..nr_batches(plan.steps) {
        match lines.next()? {
            Some(Line::Batch { number, hash, .. }) if number == wanted => {
                if !on_batch(rules, BatchHash { number, hash }) {
                    return Ok(header.linux);
                }
            }
            found => return Err(unexpected("the next batch", found)),
        }
    }
    lines.end()?;
    Ok(header.linux)
}
