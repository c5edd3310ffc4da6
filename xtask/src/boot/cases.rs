//! Counts the cases that the image tells of on its serial line, as tests.
//!
//! A boot that says that all was well and ends in another way than by the status of success is one failure more, and so is
//! one whose lines do not hold what it announced: `pkeys_launch::Verdict` finds it.

use super::machine::End;
use crate::test::results::Counts;
use pkeys_launch::{Said, Verdict};

/// The cases of one boot, fed line by line.
#[derive(Debug, Default)]
pub(super) struct Cases {
    verdict: Verdict,
}

impl Cases {
    /// A line of the serial output.
    pub(super) fn line(&mut self, line: &str) {
        self.verdict.take(&Said::parse(line));
    }

    /// Cases so far.
    pub(super) fn seen(&self) -> u64 {
        self.verdict.seen()
    }

    /// The sum, and what was wrong beside failed cases.
    pub(super) fn finish(self, end: End) -> (Counts, Option<String>) {
        let trouble = self
            .verdict
            .trouble(&end)
            .map(|trouble| trouble.to_string());
        let failed = self.verdict.failed + u64::from(trouble.is_some());
        let counts = Counts {
            passed: self.verdict.passed,
            failed,
            skipped: 0,
        };
        (counts, trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cases, End};

    #[test]
    fn a_boot_that_ends_otherwise_than_it_tells_is_one_failure_more() {
        let two = "pkeys: 1 CPUs, 2 cases\nok a\nok b\npkeys: 2 passed, 0 failed\n";
        let one = "pkeys: 1 CPUs, 2 cases\nok a\nFAILED b: no\npkeys: 1 passed, 1 failed\n";
        for (text, end, counts, has_trouble) in [
            (two, End::Passed, "2 passed, 0 failed", false),
            (one, End::Failed, "1 passed, 1 failed", false),
            (two, End::Status(0), "2 passed, 1 failed", true),
            (one, End::Passed, "1 passed, 2 failed", true),
        ] {
            let mut cases = Cases::default();
            text.lines().for_each(|line| cases.line(line));
            assert_eq!(cases.seen(), 2);
            let (found, why) = cases.finish(end);
            assert_eq!(found.to_string(), counts, "{text} {end:?}");
            assert_eq!(why.is_some(), has_trouble, "{text} {end:?}");
        }
    }
}
