//! What the init says on the console, between the lines that the programs print.
//!
//! An event is one line that starts with [`PREFIX`]. The init puts a line break before each, because a program may die
//! in the middle of a line. Programs write to the same console: a program that prints such a line itself would be
//! believed, and the exit status that QEMU gives would still say whether all was well.

use core::fmt;

/// Starts every line that is the init's own.
pub const PREFIX: &str = "#guest# ";

/// One line of the init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest is up.
    Ready {
        /// Whether the kernel has switched protection keys on.
        has_keys: bool,
        /// The kernel's release, as `uname -r` gives it.
        kernel: String,
    },
    /// A program starts.
    Begin {
        /// The job's name.
        name: String,
    },
    /// The program that started last has ended.
    End(Outcome),
    /// The init could not do its work; nothing more follows.
    Broken {
        /// Why.
        why: String,
    },
    /// All programs have run.
    Done,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// Killed by the init when its time was up.
    TimeLimit,
    /// Never: it could not be started, with this error number (0 where there is none).
    NotStarted(i32),
}

impl Event {
    /// Reads one line of the console; `None` when it is not an event.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let text = line.strip_prefix(PREFIX)?.trim_end();
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "ready" => {
                let (keys, kernel) = rest.split_once(' ')?;
                let has_keys = match keys {
                    "keys" => true,
                    "no-keys" => false,
                    _ => return None,
                };
                Some(Self::Ready {
                    has_keys,
                    kernel: kernel.to_owned(),
                })
            }
            "begin" => Some(Self::Begin { name: rest.into() }),
            "end" => Outcome::parse(rest).map(Self::End),
            "broken" => Some(Self::Broken { why: rest.into() }),
            "done" => Some(Self::Done),
            _ => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Ready { has_keys, kernel } => {
                let keys = if *has_keys { "keys" } else { "no-keys" };
                write!(f, "ready {keys} {kernel}")
            }
            Self::Begin { name } => write!(f, "begin {name}"),
            Self::End(outcome) => write!(f, "end {outcome}"),
            Self::Broken { why } => write!(f, "broken {why}"),
            Self::Done => f.write_str("done"),
        }
    }
}

impl Outcome {
    /// Reads what `Display` wrote.
    fn parse(text: &str) -> Option<Self> {
        if text == "time-limit" {
            return Some(Self::TimeLimit);
        }
        let (word, number) = text.split_once(' ')?;
        let number = number.parse().ok()?;
        match word {
            "exit" => Some(Self::Exit(number)),
            "signal" => Some(Self::Signal(number)),
            "not-started" => Some(Self::NotStarted(number)),
            _ => None,
        }
    }

    /// The status that a shell would give: the program's own, 128+N for signal N, 124 for the time limit and 127 for a
    /// program that could not be started.
    #[must_use]
    pub fn shell_status(self) -> i32 {
        match self {
            Self::Exit(status) => status,
            Self::Signal(signal) => 128 + signal,
            Self::TimeLimit => 124,
            Self::NotStarted(_) => 127,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exit {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::TimeLimit => f.write_str("time-limit"),
            Self::NotStarted(errno) => write!(f, "not-started {errno}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Outcome};

    #[test]
    fn every_event_is_read_back_as_it_was_written() {
        let mut events = vec![
            Event::Ready {
                has_keys: true,
                kernel: "6.1.0-56-cloud-amd64".into(),
            },
            Event::Ready {
                has_keys: false,
                kernel: "6.8".into(),
            },
            Event::Begin {
                name: "debug pkeys window".into(),
            },
            Event::Broken {
                why: "no /proc".into(),
            },
            Event::Done,
        ];
        events.extend(
            [
                Outcome::Exit(101),
                Outcome::Signal(11),
                Outcome::TimeLimit,
                Outcome::NotStarted(2),
            ]
            .map(Event::End),
        );
        for event in events {
            // The console ends its lines with a carriage return.
            let line = format!("{event}\r");
            assert_eq!(Event::parse(&line), Some(event), "{line}");
        }
    }

    #[test]
    fn other_lines_are_not_events() {
        for line in [
            "",
            "test result: ok. 1 passed",
            "#guest# ",
            "#guest# end",
            "#guest# end exit x",
            "#guest# ready maybe 6.1",
            " #guest# done",
        ] {
            assert_eq!(Event::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_status_is_what_a_shell_gives() {
        let cases = [
            (Outcome::Exit(3), 3),
            (Outcome::Signal(11), 139),
            (Outcome::TimeLimit, 124),
            (Outcome::NotStarted(2), 127),
        ];
        for (outcome, status) in cases {
            assert_eq!(outcome.shell_status(), status);
        }
    }
}
