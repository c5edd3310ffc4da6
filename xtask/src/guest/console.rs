//! Reads the guest's console: which program runs, what it reports, how it ended, and whether anything is missing.

use super::machine::End;
use crate::test::results::{Counts, Kind, Tally};
use guest_init::events::{Event, Outcome};

/// What the console has said so far.
#[derive(Debug, Default)]
pub(super) struct Console {
    tally: Tally,
    kernel: Option<String>,
    has_keys: bool,
    is_done: bool,
    started: usize,
    last: Option<Outcome>,
    broken: Option<String>,
}

/// What is expected of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// How many programs were to run.
    pub(super) programs: usize,
    /// Whether the kernel must have switched keys on.
    pub(super) keys: bool,
}

impl Console {
    /// Takes a line; gives whether it was a program's.
    pub(super) fn line(&mut self, line: &str) -> bool {
        let Some(event) = Event::parse(line) else {
            self.tally.line(line);
            return self.tally.current().is_some();
        };
        match event {
            Event::Ready { has_keys, kernel } => {
                self.kernel = Some(kernel);
                self.has_keys = has_keys;
            }
            Event::Begin { name } => {
                self.started += 1;
                self.tally.begin(&name, Kind::Binary);
            }
            Event::End(outcome) => {
                self.last = Some(outcome);
                match outcome {
                    Outcome::Exit(0) => self.tally.end(),
                    bad => self.tally.end_badly(&bad.to_string()),
                }
            }
            Event::Broken { why } => self.broken = Some(why),
            Event::Done => self.is_done = true,
        }
        false
    }

    /// One line for the progress display.
    pub(super) fn progress(&self) -> String {
        match self.tally.current() {
            Some(name) => format!("{} tests, {name}", self.tally.seen()),
            None => "booting Linux under QEMU".into(),
        }
    }

    /// The kernel's release, once it is up.
    pub(super) fn kernel(&self) -> Option<&str> {
        self.kernel.as_deref()
    }

    /// How the last program ended, if it did.
    pub(super) fn last_outcome(&self) -> Option<Outcome> {
        self.last
    }

    /// The guest's own trouble: why the machine's end is not one that the programs account for.
    pub(super) fn trouble(&self, end: End) -> Option<String> {
        let at = match (self.tally.current(), &self.kernel) {
            (Some(name), _) => format!("while it ran {name}"),
            (None, Some(_)) => "between two programs".into(),
            (None, None) => "before its first process was up".into(),
        };
        if let Some(why) = &self.broken {
            return Some(format!("the guest's first process gave up: {why}"));
        }
        match end {
            End::Stopped => Some(format!("the guest was stopped {at}")),
            End::TimeLimit => Some(format!("the guest was killed at its time limit {at}")),
            End::Status(Some(0)) => Some(format!("the guest died {at}: a panic or a triple fault")),
            End::Status(Some(code)) => Some(format!("QEMU ended {at}, with status {code}")),
            End::Status(None) => Some(format!("QEMU was killed by a signal {at}")),
            End::Passed | End::Failed if !self.is_done => {
                Some(format!("the guest ended {at}, before its list was done"))
            }
            End::Passed | End::Failed => None,
        }
    }

    /// The totals, and every failure that no program has reported.
    pub(super) fn finish(mut self, end: End, expected: Expected) -> (Counts, Vec<String>) {
        if let Some(trouble) = self.trouble(end) {
            // One failure, with the reason, also where a program was running that now has no result.
            self.tally.discard();
            self.tally.fail(trouble);
            return self.tally.finish();
        }
        if self.started != expected.programs {
            let text = format!("{} of {} programs ran", self.started, expected.programs);
            self.tally.fail(text);
        }
        if expected.keys && !self.has_keys {
            let text = "the guest's kernel has not switched protection keys on";
            self.tally.fail(text.into());
        }
        let (mut counts, mut why) = self.tally.finish();
        if end == End::Failed && counts.failed == 0 {
            counts += Counts::failure();
            why.push("the guest's first process says that a program failed".into());
        }
        (counts, why)
    }
}

#[cfg(test)]
mod tests {
    use super::{Console, Expected};
    use crate::guest::machine::End;
    use crate::test::results::Counts;

    const ALL_WELL: &str = "\
\r
#guest# ready keys 6.1.0\r
#guest# begin debug core unit tests\r
running 2 tests\r
test a ... ok\r
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\r
\r
#guest# end exit 0\r
#guest# begin release core unit tests\r
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\r
#guest# end exit 0\r
#guest# done\r
";

    fn read(text: &str, end: End) -> (Counts, Vec<String>) {
        let mut console = Console::default();
        for line in text.lines() {
            console.line(line);
        }
        let expected = Expected {
            programs: 2,
            keys: true,
        };
        console.finish(end, expected)
    }

    /// One failure with this reason.
    fn fails(text: &str, end: End, reason: &str) {
        let (counts, why) = read(text, end);
        assert!(counts.failed >= 1, "{counts:?}");
        assert!(why.iter().any(|why| why.contains(reason)), "{why:?}");
    }

    #[test]
    fn a_good_run_is_summed() {
        let (counts, why) = read(ALL_WELL, End::Passed);
        assert_eq!(counts.to_string(), "5 passed, 0 failed, 1 skipped");
        assert_eq!(why, Vec::<String>::new());
    }

    #[test]
    fn a_program_that_crashes_is_a_failure() {
        let text = ALL_WELL.replacen("end exit 0", "end signal 11", 1);
        fails(&text, End::Failed, "debug core unit tests (signal 11)");
        let silent = ALL_WELL.replace("test result: ok. 3", "");
        fails(&silent, End::Passed, "release core unit tests");
    }

    #[test]
    fn a_guest_that_dies_is_a_failure_whatever_ran() {
        for end in [End::Status(Some(0)), End::Status(None), End::TimeLimit] {
            let (counts, why) = read(ALL_WELL, end);
            assert_eq!((counts.passed, counts.failed), (5, 1), "{why:?}");
        }
        fails("", End::Status(Some(0)), "before its first process was up");
        let (cut, _) = ALL_WELL.split_at(ALL_WELL.find("test result").unwrap());
        fails(cut, End::TimeLimit, "while it ran debug core unit tests");
        fails(cut, End::Passed, "before its list was done");
    }

    #[test]
    fn an_init_that_gives_up_says_why() {
        let text = "#guest# broken /proc: no such device\r\n";
        fails(text, End::Failed, "gave up: /proc: no such device");
    }

    #[test]
    fn a_program_that_never_ran_and_keys_that_are_missing_are_failures() {
        let text = ALL_WELL.replacen("begin", "beginning", 1);
        fails(&text, End::Passed, "1 of 2 programs ran");
        let text = ALL_WELL.replace("ready keys", "ready no-keys");
        fails(&text, End::Passed, "has not switched protection keys on");
    }

    #[test]
    fn the_two_witnesses_must_agree() {
        fails(ALL_WELL, End::Failed, "says that a program failed");
    }
}
