//! What the image says on its serial line, a line at a time.
//!
//! ```text
//! pkeys: 2 CPUs, 39 cases       before the first case
//! ok grants-nest
//! FAILED storm: 3 wrong         and why
//! pkeys: 38 passed, 1 failed    after the last
//! case grants-nest              a name, asked for by `list`
//! case die-null (ends the kernel, runs by name only)
//! pkeys: the program exited with status 3            with `exec`, at the end
//! pkeys: the program was killed by signal 11
//! pkeys: page fault at 0x8: ..  anything else that the kernel says, with what belongs to it on lines that follow
//! ```
//!
//! `image/src/cases/mod.rs` says them. A case's name is of small letters, digits and `-`: what looks otherwise is noise.

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// What is going to be run.
    Plan {
        /// CPUs that came up.
        nr_cpus: u64,
        /// Cases that follow.
        nr_cases: u64,
    },
    /// A case has passed.
    Ok(&'a str),
    /// A case has failed.
    Failed {
        /// The case.
        name: &'a str,
        /// What it found.
        why: &'a str,
    },
    /// All have run.
    Sum {
        /// That many passed.
        passed: u64,
        /// That many did not.
        failed: u64,
    },
    /// There is this case.
    Case {
        /// Its name.
        name: &'a str,
        /// It ends the kernel, and so runs by name only.
        is_deadly: bool,
    },
    /// A name that is none of a case, and the nearest that is.
    NoCase(&'a str),
    /// The program that the kernel ran has ended.
    Program(Outcome),
    /// The kernel says something else.
    Kernel(&'a str),
    /// Anything.
    Other(&'a str),
}

/// How a program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

impl Outcome {
    /// The status that a shell gives: 128 and the signal's number for a signal.
    #[must_use]
    pub fn shell_status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => signal.saturating_add(128),
        }
    }
}

impl<'a> Said<'a> {
    /// Reads a line.
    #[must_use]
    pub fn parse(line: &'a str) -> Self {
        Self::case(line)
            .or_else(|| line.strip_prefix("pkeys: ").map(Self::kernel))
            .unwrap_or(Self::Other(line))
    }

    fn case(line: &'a str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        let end = rest.find([':', ' ']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if !is_name(name) {
            return None;
        }
        Some(match (word, rest) {
            ("ok", "") => Self::Ok(name),
            ("FAILED", _) => Self::Failed {
                name,
                why: rest.strip_prefix(": ")?,
            },
            ("case", _) => Self::Case {
                name,
                is_deadly: rest.starts_with(" (ends the kernel"),
            },
            _ => return None,
        })
    }

    /// What follows the name of the kernel.
    fn kernel(text: &'a str) -> Self {
        let plan = || {
            let (cpus, cases) = text.split_once(" CPUs, ")?;
            Some(Self::Plan {
                nr_cpus: cpus.parse().ok()?,
                nr_cases: cases.strip_suffix(" cases")?.parse().ok()?,
            })
        };
        let sum = || {
            let (passed, failed) = text.strip_suffix(" failed")?.split_once(" passed, ")?;
            Some(Self::Sum {
                passed: passed.parse().ok()?,
                failed: failed.parse().ok()?,
            })
        };
        let program = || {
            let how = text.strip_prefix("the program ")?;
            Some(Self::Program(
                if let Some(status) = how.strip_prefix("exited with status ") {
                    Outcome::Exited(status.parse().ok()?)
                } else {
                    Outcome::Killed(how.strip_prefix("was killed by signal ")?.parse().ok()?)
                },
            ))
        };
        let no_case = || text.starts_with("no case \"").then_some(Self::NoCase(text));
        plan()
            .or_else(sum)
            .or_else(program)
            .or_else(no_case)
            .unwrap_or(Self::Kernel(text))
    }
}

/// Whether it looks like the name of a case.
fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Said};

    #[test]
    fn what_the_image_says_is_understood() {
        for (line, said) in [
            (
                "pkeys: 2 CPUs, 39 cases",
                Said::Plan {
                    nr_cpus: 2,
                    nr_cases: 39,
                },
            ),
            ("ok grants-nest", Said::Ok("grants-nest")),
            (
                "FAILED a: 3: x",
                Said::Failed {
                    name: "a",
                    why: "3: x",
                },
            ),
            (
                "pkeys: 38 passed, 1 failed",
                Said::Sum {
                    passed: 38,
                    failed: 1,
                },
            ),
            (
                "case a",
                Said::Case {
                    name: "a",
                    is_deadly: false,
                },
            ),
            (
                "case die-null (ends the kernel, runs by name only)",
                Said::Case {
                    name: "die-null",
                    is_deadly: true,
                },
            ),
            (
                "pkeys: no case \"strom\" (did you mean storm?)",
                Said::NoCase("no case \"strom\" (did you mean storm?)"),
            ),
            (
                "pkeys: the program exited with status 255",
                Said::Program(Outcome::Exited(255)),
            ),
            (
                "pkeys: the program was killed by signal 11",
                Said::Program(Outcome::Killed(11)),
            ),
            ("pkeys: no XSAVE", Said::Kernel("no XSAVE")),
        ] {
            assert_eq!(Said::parse(line), said);
        }
    }

    #[test]
    fn a_status_is_what_a_shell_gives() {
        for (outcome, status) in [
            (Outcome::Exited(0), 0),
            (Outcome::Exited(255), 255),
            (Outcome::Killed(11), 139),
            (Outcome::Killed(255), 255),
        ] {
            assert_eq!(outcome.shell_status(), status);
        }
    }

    #[test]
    fn noise_is_no_case() {
        for line in [
            "",
            "ok",
            "ok ",
            "ok a b",
            "okay a",
            "OK a",
            "ok \u{1b}[2J",
            "ok A",
            " ok a",
            "FAILED a",
            "FAILED a why",
            "FAILED : x",
            "passed, failed",
            "pkeys:",
        ] {
            assert_eq!(Said::parse(line), Said::Other(line), "{line:?}");
        }
        for line in [
            "-1 passed, 0 failed",
            "1 passed, 99999999999999999999 failed",
            "x CPUs, 3 cases",
            "the program exited with status 256",
            "the program was killed by signal x",
            "the program slept",
        ] {
            let full = format!("pkeys: {line}");
            assert_eq!(Said::parse(&full), Said::Kernel(line));
        }
    }
}
