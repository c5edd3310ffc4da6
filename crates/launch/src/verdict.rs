//! Whether a boot is a pass: lines and end together.
//!
//! Each alone may lie. A status of success after half of the lines, a sum that is not what was told, fewer CPUs or cases than
//! were announced: each is a failure with a reason.

use core::fmt;

use crate::end::End;
use crate::said::Said;

/// What was told so far.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Cases that were told to have passed.
    pub passed: u64,
    /// Cases that were told to have failed.
    pub failed: u64,
    /// Names that were listed.
    pub listed: u64,
    /// CPUs and cases that were announced.
    pub plan: Option<(u64, u64)>,
    sum: Option<(u64, u64)>,
}

impl Verdict {
    /// Takes a line in.
    pub fn take(&mut self, said: &Said<'_>) {
        match said {
            Said::Plan { nr_cpus, nr_cases } => self.plan = Some((*nr_cpus, *nr_cases)),
            Said::Ok(_) => self.passed += 1,
            Said::Failed { .. } => self.failed += 1,
            Said::Sum { passed, failed } => self.sum = Some((*passed, *failed)),
            Said::Case { .. } => self.listed += 1,
            Said::NoCase(_) | Said::Program(_) | Said::Kernel(_) | Said::Other(_) => {}
        }
    }

    /// Cases that were told of.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.passed + self.failed
    }

    /// What was wrong beside failed cases; `None` where all that was announced was told, and the end is what follows.
    #[must_use]
    pub fn trouble(&self, end: &End) -> Option<Trouble> {
        let told = (self.passed, self.failed);
        let is_told = match end {
            End::Passed => self.passed > 0 && self.failed == 0,
            End::Failed => self.failed > 0,
            _ => false,
        };
        let of = self.plan.map(|(_, cases)| cases);
        match (self.sum, of) {
            (Some(sum), Some(cases)) if is_told && sum == told && cases == self.seen() => None,
            (Some((passed, failed)), _) if is_told && (passed, failed) != told => {
                Some(Trouble::Sum {
                    told,
                    says: (passed, failed),
                })
            }
            _ => Some(Trouble::End {
                end: *end,
                seen: self.seen(),
                of,
            }),
        }
    }

    /// The same for a list of the cases' names.
    #[must_use]
    pub fn list_trouble(&self, end: &End) -> Option<Trouble> {
        (*end != End::Passed || self.listed == 0).then_some(Trouble::End {
            end: *end,
            seen: self.listed,
            of: None,
        })
    }
}

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The kernel says another sum than its lines give: passed and failed.
    Sum {
        /// By the lines.
        told: (u64, u64),
        /// By the sum.
        says: (u64, u64),
    },
    /// It ended before it had told of everything, or in a way that does not follow from what it told.
    End {
        /// How.
        end: End,
        /// Cases until then.
        seen: u64,
        /// Cases that were announced.
        of: Option<u64>,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum { told, says } => write!(
                f,
                "told of {} passed, {} failed, says {} passed, {} failed",
                told.0, told.1, says.0, says.1
            ),
            Self::End { end, seen, of } => {
                write!(f, "{end}, after {seen} ")?;
                match of {
                    Some(of) => write!(f, "of {of} cases"),
                    None => f.write_str(if *seen == 1 { "case" } else { "cases" }),
                }
            }
        }
    }
}

impl core::error::Error for Trouble {}

#[cfg(test)]
mod tests {
    use super::{End, Said, Verdict};

    fn verdict(text: &str) -> Verdict {
        let mut verdict = Verdict::default();
        text.lines()
            .for_each(|line| verdict.take(&Said::parse(line)));
        verdict
    }

    #[test]
    fn a_pass_needs_plan_cases_sum_and_status() {
        let two = "pkeys: 2 CPUs, 2 cases\nok a\nok b\npkeys: 2 passed, 0 failed\n";
        let one =
            "pkeys: 1 CPUs, 2 cases\nok a\nFAILED b: stop failed\npkeys: 1 passed, 1 failed\n";
        for (text, end, trouble) in [
            (two, End::Passed, None),
            (one, End::Failed, None),
            (
                two,
                End::Status(0),
                Some("the machine was reset, after 2 of 2 cases"),
            ),
            (two, End::Failed, Some("a case failed, after 2 of 2 cases")),
            (one, End::Passed, Some("passed, after 2 of 2 cases")),
            (
                two,
                End::TimeLimit,
                Some("killed at its time limit, after 2 of 2 cases"),
            ),
            ("ok a\nok b\n", End::Passed, Some("passed, after 2 cases")),
            (
                "ok a\n",
                End::Stopped,
                Some("the kernel was stopped by an exception, after 1 case"),
            ),
            (
                "pkeys: 1 CPUs, 0 cases\npkeys: 0 passed, 0 failed\n",
                End::Passed,
                Some("passed, after 0 of 0 cases"),
            ),
            (
                "pkeys: 1 CPUs, 2 cases\nok a\npkeys: 2 passed, 0 failed\n",
                End::Passed,
                Some("told of 1 passed, 0 failed, says 2 passed, 0 failed"),
            ),
            (
                "pkeys: 1 CPUs, 3 cases\nok a\nok b\npkeys: 2 passed, 0 failed\n",
                End::Passed,
                Some("passed, after 2 of 3 cases"),
            ),
            // The plan is part of it: who lost that may have lost more.
            (
                "ok a\npkeys: 1 passed, 0 failed\n",
                End::Passed,
                Some("passed, after 1 case"),
            ),
            (
                "",
                End::Signal(9),
                Some("QEMU was killed by signal 9, after 0 cases"),
            ),
        ] {
            let found = verdict(text)
                .trouble(&end)
                .map(|trouble| trouble.to_string());
            assert_eq!(found.as_deref(), trouble, "{text} {end:?}");
        }
    }

    #[test]
    fn a_list_needs_names_and_the_status() {
        let list = verdict("case a\ncase b (ends the kernel, runs by name only)\n");
        assert_eq!(list.list_trouble(&End::Passed), None);
        for (verdict, end) in [(list, End::Status(0)), (verdict("ok a\n"), End::Passed)] {
            assert!(verdict.list_trouble(&end).is_some());
        }
    }
}
