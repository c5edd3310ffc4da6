//! The lines that the Linux side prints and the other side reads.
//!
//! ```text
//! differential 1 seed=7 steps=6400 linux=6.12
//! batch 0 steps=3200 hash=2f0c8a7f5ad1c3e9
//! batch 1 steps=6400 hash=90aa3c17d2b4e681
//! end steps=6400
//! ```
//!
//! and where details were asked for, a program for each list of kept steps:
//!
//! ```text
//! differential 1 seed=7 detail=1 linux=6.12
//! program 0
//! step 90aa3c17d2b4e681 Signo=b Code=4 Addr=100000200000
//! end-program 0
//! end
//! ```
//!
//! They may come through a guest's console, where a kernel may put in a word of its own. So lines that begin with none of
//! the words above are passed over, and everything is numbered: what is missing or cut is noticed.

use core::fmt;

use crate::detail::Step;
use crate::witness::What;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The first: what was asked, and who answers.
    Header(Header),
    /// A batch was run.
    Batch {
        /// Its number.
        number: u64,
        /// Steps of all batches so far.
        steps: u64,
        /// What came of it.
        hash: u64,
    },
    /// The steps of a program follow.
    Program(u64),
    /// A step of it.
    Step(Step),
    /// Its steps are told.
    EndProgram(u64),
    /// The last.
    End {
        /// Steps of all batches; 0 after details.
        steps: u64,
    },
}

/// What was asked, and who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The seed.
    pub seed: u64,
    /// How much.
    pub asked: Asked,
    /// Linux's version.
    pub linux: (u32, u32),
}

/// How much was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// So many steps, in whole batches.
    Steps(u64),
    /// The details of this batch.
    Detail(u64),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(header) => {
                let (asked, number) = match header.asked {
                    Asked::Steps(steps) => ("steps", steps),
                    Asked::Detail(batch) => ("detail", batch),
                };
                let (major, minor) = header.linux;
                let seed = header.seed;
                write!(
                    f,
                    "differential 1 seed={seed} {asked}={number} linux={major}.{minor}"
                )
            }
            Self::Batch {
                number,
                steps,
                hash,
            } => {
                write!(f, "batch {number} steps={steps} hash={hash:016x}")
            }
            Self::Program(number) => write!(f, "program {number}"),
            Self::Step(step) => {
                write!(f, "step {:016x}", step.summary)?;
                let mut facts = step.facts.iter();
                facts.try_for_each(|(what, value)| write!(f, " {}={value:x}", what.word()))
            }
            Self::EndProgram(number) => write!(f, "end-program {number}"),
            Self::End { steps } => write!(f, "end steps={steps}"),
        }
    }
}

/// A line that begins like one of ours and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbled {
    /// The line.
    pub line: String,
}

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Linux side's line {:?} is not understood", self.line)
    }
}

impl core::error::Error for Garbled {}

impl Line {
    /// Reads a line; `None` for what is none of ours.
    ///
    /// # Errors
    ///
    /// [`Garbled`] for what begins like one of ours.
    pub fn parse(line: &str) -> Result<Option<Self>, Garbled> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((first, rest)) = words.split_first() else {
            return Ok(None);
        };
        let parsed = match *first {
            "differential" => header(rest).map(Self::Header),
            "batch" => batch(rest),
            "program" => single(rest).map(Self::Program),
            "step" => step(rest).map(Self::Step),
            "end-program" => single(rest).map(Self::EndProgram),
            "end" => match rest {
                [steps] => number(steps, "steps").map(|steps| Self::End { steps }),
                _ => None,
            },
            _ => return Ok(None),
        };
        parsed.map(Some).ok_or_else(|| Garbled {
            line: line.to_owned(),
        })
    }
}

/// The value behind `name=`.
fn value<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    word.strip_prefix(name)?.strip_prefix('=')
}

fn number(word: &str, name: &str) -> Option<u64> {
    value(word, name)?.parse().ok()
}

fn single(words: &[&str]) -> Option<u64> {
    match words {
        [number] => number.parse().ok(),
        _ => None,
    }
}

fn header(words: &[&str]) -> Option<Header> {
    let ["1", seed, asked, linux] = words else {
        return None;
    };
    let (major, minor) = value(linux, "linux")?.split_once('.')?;
    let steps = number(asked, "steps").map(Asked::Steps);
    Some(Header {
        seed: number(seed, "seed")?,
        asked: steps.or_else(|| number(asked, "detail").map(Asked::Detail))?,
        linux: (major.parse().ok()?, minor.parse().ok()?),
    })
}

/// Sixteen digits: a number that was cut is none.
fn hash(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|_| digits.len() == 16)
}

fn batch(words: &[&str]) -> Option<Line> {
    let [first, steps, digits] = words else {
        return None;
    };
    Some(Line::Batch {
        number: first.parse().ok()?,
        steps: number(steps, "steps")?,
        hash: hash(value(digits, "hash")?)?,
    })
}

fn step(words: &[&str]) -> Option<Step> {
    let (summary, facts) = words.split_first()?;
    let fact = |word: &&str| {
        let (what, value) = word.split_once('=')?;
        Some((What::from_word(what)?, u64::from_str_radix(value, 16).ok()?))
    };
    Some(Step {
        summary: hash(summary)?,
        facts: facts.iter().map(fact).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Asked, Header, Line};
    use crate::detail::Step;
    use crate::witness::What;

    #[test]
    fn every_line_is_read_as_it_was_written() {
        let header = |asked| {
            Line::Header(Header {
                seed: u64::MAX,
                asked,
                linux: (6, 12),
            })
        };
        let facts = What::ALL.iter().map(|what| (*what, u64::MAX)).collect();
        let lines = [
            header(Asked::Steps(5)),
            header(Asked::Detail(0)),
            Line::Batch {
                number: 1,
                steps: 6400,
                hash: 7,
            },
            Line::Program(3),
            Line::Step(Step { summary: 9, facts }),
            Line::Step(Step {
                summary: u64::MAX,
                facts: Vec::new(),
            }),
            Line::EndProgram(3),
            Line::End { steps: 0 },
        ];
        for line in lines {
            assert_eq!(Line::parse(&line.to_string()), Ok(Some(line)));
        }
    }

    #[test]
    fn other_words_are_passed_over() {
        for line in [
            "",
            "   ",
            "[    6.7] clocksource: tsc",
            "Batch 1",
            "steps 5",
        ] {
            assert_eq!(Line::parse(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_is_cut_is_noticed() {
        let lines = [
            "differential 2 seed=1 steps=1 linux=6.12",
            "differential 1 seed=1 steps=1 linux=6",
            "batch 1 steps=3200 hash=2f0c",
            "batch 1 steps=3200",
            "batch x steps=3200 hash=2f0c8a7f5ad1c3e9",
            "program",
            "step 2f0c8a7f5ad1c3e9 Signo",
            "step 2f0c8a7f5ad1c3e9 Sign=1",
            "step",
            "end",
        ];
        for line in lines {
            assert!(Line::parse(line).is_err(), "{line}");
        }
    }
}
