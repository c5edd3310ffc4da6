//! Counts the cases that the image tells of on its serial line.
//!
//! A line a case, `ok NAME` or `FAILED NAME: why`, and in the end `pkeys: N passed, M failed`. A boot that says that all was
//! well and ends in another way than by the status of success is a failure, and so is one whose sum is not what it told.

use super::machine::End;
use crate::test::results::Counts;

/// The cases of one boot, fed line by line.
#[derive(Debug, Default)]
pub(super) struct Cases {
    counts: Counts,
    sum: Option<String>,
}

impl Cases {
    /// A line of the serial output.
    pub(super) fn line(&mut self, line: &str) {
        if line.starts_with("ok ") {
            self.counts += Counts::pass();
        } else if line.starts_with("FAILED ") {
            self.counts += Counts::failure();
        } else if let Some(said) = line.strip_prefix("pkeys: ")
            && said.ends_with(" failed")
        {
            self.sum = Some(said.to_owned());
        }
    }

    /// Cases so far.
    pub(super) fn seen(&self) -> u64 {
        self.counts.passed + self.counts.failed
    }

    /// The sum, and what was wrong beside failed cases.
    pub(super) fn finish(mut self, end: End) -> (Counts, Option<String>) {
        let told = self.counts.to_string();
        let trouble = match (&self.sum, end) {
            (Some(sum), End::Passed | End::Failed) if *sum != told => {
                Some(format!("told of {told}, says {sum}"))
            }
            (Some(_), End::Passed) if self.counts.failed == 0 && self.counts.passed > 0 => None,
            (Some(_), End::Failed) if self.counts.failed > 0 => None,
            _ => Some(format!("{end}, after {} cases", self.seen())),
        };
        if trouble.is_some() {
            self.counts += Counts::failure();
        }
        (self.counts, trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cases, End};

    #[test]
    fn a_pass_needs_cases_the_sum_and_the_status() {
        let two = "pkeys: 2 CPUs\nok a\nok b\npkeys: 2 passed, 0 failed\n";
        let one = "ok a\nFAILED b: stop failed\npkeys: 1 passed, 1 failed\n";
        for (text, end, counts, trouble) in [
            (two, End::Passed, "2 passed, 0 failed", None),
            (one, End::Failed, "1 passed, 1 failed", None),
            (
                two,
                End::Status(Some(0)),
                "2 passed, 1 failed",
                Some("the machine was reset, after 2 cases"),
            ),
            (
                two,
                End::Failed,
                "2 passed, 1 failed",
                Some("a case failed, after 2 cases"),
            ),
            (
                "ok a\nok b\n",
                End::Passed,
                "2 passed, 1 failed",
                Some("passed, after 2 cases"),
            ),
            (
                "pkeys: 0 passed, 0 failed\n",
                End::Passed,
                "0 passed, 1 failed",
                Some("passed, after 0 cases"),
            ),
            (
                "ok a\npkeys: 2 passed, 0 failed\n",
                End::Passed,
                "1 passed, 1 failed",
                Some("told of 1 passed, 0 failed, says 2 passed, 0 failed"),
            ),
            (
                "ok a\n",
                End::Stopped,
                "1 passed, 1 failed",
                Some("the kernel was stopped by an exception, after 1 cases"),
            ),
        ] {
            let mut cases = Cases::default();
            text.lines().for_each(|line| cases.line(line));
            let (found, why) = cases.finish(end);
            assert_eq!(found.to_string(), counts, "{text} {end:?}");
            assert_eq!(why.as_deref(), trouble, "{text} {end:?}");
        }
    }
}
