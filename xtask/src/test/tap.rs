//! Reads TAP, the Test Anything Protocol: a plan `1..N`, and a line for each test.
//!
//! ```text
//! 1..3
//! ok 1 - pkey_alloc.flags
//! not ok 2 - pkey_free.twice
//! ok 3 - signal.altstack # SKIP needs Linux 6.12
//! ```
//!
//! Other lines may stand between them. A program that stops in the middle leaves fewer lines than its plan has, and a
//! plan that is missing shows that it never got far: both are failures, whatever the status of the program.

use super::results::Counts;

/// A stream that is being read.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    counts: Counts,
    plan: Option<u64>,
    trouble: Option<String>,
}

impl Tap {
    /// Takes a line.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if result(line, "not ok").is_some() {
            self.counts.failed += 1;
        } else if let Some(rest) = result(line, "ok") {
            if is_skip(rest) {
                self.counts.skipped += 1;
            } else {
                self.counts.passed += 1;
            }
        } else if let Some(plan) = plan(line) {
            self.plan = Some(plan);
            // A plan of nothing says why, as a test does that is skipped.
            if plan == 0 {
                self.counts.skipped += 1;
            }
        } else if let Some(why) = line.strip_prefix("Bail out!") {
            self.trouble = Some(format!("it gave up:{why}"));
        }
    }

    /// Tests so far.
    pub(crate) fn seen(&self) -> u64 {
        self.counts.passed + self.counts.failed + self.counts.skipped
    }

    /// The counts, and the failure that no line reports.
    pub(crate) fn finish(mut self) -> (Counts, Option<String>) {
        let seen = self.seen();
        let trouble = self.trouble.or(match self.plan {
            None => Some(format!("{seen} tests and no plan")),
            Some(0) => None,
            Some(plan) if plan != seen => Some(format!("{seen} of {plan} tests")),
            Some(_) => None,
        });
        if trouble.is_some() {
            self.counts += Counts::failure();
        }
        (self.counts, trouble)
    }
}

/// What follows `word` in a test's line.
fn result<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(rest)
}

/// Whether the first word after the last `#` says that the test was not run.
fn is_skip(rest: &str) -> bool {
    let directive = rest.rsplit_once(" #").map(|(_, directive)| directive);
    let word = directive.and_then(|directive| directive.split_whitespace().next());
    word.is_some_and(|word| word.trim_end_matches(':').eq_ignore_ascii_case("skip"))
}

/// The number of tests that a plan announces.
fn plan(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("1..")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Tap;

    /// The counts as they are printed, and the trouble.
    fn read(text: &str) -> (String, Option<String>) {
        let mut tap = Tap::default();
        text.lines().for_each(|line| tap.line(line));
        let (counts, trouble) = tap.finish();
        (counts.to_string(), trouble)
    }

    #[test]
    fn each_way_to_end_is_counted() {
        let text = "TAP version 13\n1..5\nok 1 - a\r\nnot ok 2 - b\n  ---\n  ok: 7\n  ...\n\
            ok 3 - c # SKIP needs Linux 6.12\nok\n# ok 5\nokay\nok 5 - d # SKIP\n";
        let (counts, trouble) = read(text);
        assert_eq!(counts, "2 passed, 1 failed, 2 skipped");
        assert_eq!(trouble, None);
    }

    #[test]
    fn a_skip_is_one_only_as_a_directive() {
        let text =
            "1..4\nok 1 - skip\nok 2 - a # skipped here\nok 3 - b # skip\nok 4 - # SKIP: c\n";
        assert_eq!(read(text).0, "2 passed, 0 failed, 2 skipped");
        assert_eq!(read("1..1\nnot ok 1 - a # SKIP\n").0, "0 passed, 1 failed");
    }

    #[test]
    fn a_plan_that_is_not_kept_is_a_failure() {
        let cases = [
            ("", "0 passed, 1 failed", "0 tests and no plan"),
            ("ok 1\n", "1 passed, 1 failed", "1 tests and no plan"),
            ("1..2\nok 1\n", "1 passed, 1 failed", "1 of 2 tests"),
            ("ok 1\nok 2\n1..1\n", "2 passed, 1 failed", "2 of 1 tests"),
            (
                "1..1\nok 1\nBail out! no memory\n",
                "1 passed, 1 failed",
                "it gave up: no memory",
            ),
        ];
        for (text, counts, trouble) in cases {
            assert_eq!(read(text), (counts.into(), Some(trouble.into())), "{text}");
        }
    }

    #[test]
    fn a_plan_of_nothing_is_a_skip() {
        let text = "1..0 # SKIP no usable keys\n";
        assert_eq!(read(text), ("0 passed, 0 failed, 1 skipped".into(), None));
    }
}
