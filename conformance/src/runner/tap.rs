//! Results for people and for harnesses: the Test Anything Protocol, version 14.
//!
//! A failed case is followed by a YAML block with the rule, its source, what was expected and what was found.

use std::io::{self, Write};

use super::result::{End, Outcome};
use crate::case::Case;

/// Writes results as they come.
#[derive(Debug)]
pub(super) struct Tap<W> {
    out: W,
    number: usize,
    /// Passed, failed, skipped.
    counts: [usize; 3],
    is_verbose: bool,
}

impl<W: Write> Tap<W> {
    /// Writes the head: version, plan, and what is under the cases.
    ///
    /// # Errors
    ///
    /// As the writer.
    pub(super) fn new(
        mut out: W,
        cases: usize,
        ground: &str,
        is_verbose: bool,
    ) -> io::Result<Self> {
        writeln!(out, "TAP version 14\n1..{cases}\n# on {ground}")?;
        Ok(Self {
            out,
            number: 0,
            counts: [0; 3],
            is_verbose,
        })
    }

    /// Writes one result.
    ///
    /// # Errors
    ///
    /// As the writer.
    pub(super) fn result(&mut self, case: &Case, outcome: &Outcome) -> io::Result<()> {
        self.number += 1;
        if self.is_verbose {
            for signal in &outcome.signals {
                writeln!(self.out, "# {}: {signal}", case.name)?;
            }
        }
        let (number, name) = (self.number, case.name);
        match &outcome.end {
            End::Passed => {
                self.counts[0] += 1;
                writeln!(self.out, "ok {number} - {name}")?;
            }
            End::Failed(mismatch) => {
                self.counts[1] += 1;
                writeln!(self.out, "not ok {number} - {name}\n  ---")?;
                let fields = [
                    ("rule", case.rule),
                    ("source", case.source),
                    ("what", &mismatch.what),
                    ("expected", &mismatch.expected),
                    ("found", &mismatch.found),
                ];
                for (field, text) in fields {
                    // A JSON string is a YAML string.
                    let text = serde_json::to_string(text)?;
                    writeln!(self.out, "  {field}: {text}")?;
                }
                writeln!(self.out, "  ...")?;
            }
            End::Skipped(reason) => {
                self.counts[2] += 1;
                writeln!(self.out, "ok {number} - {name} # SKIP {reason}")?;
            }
        }
        self.out.flush()
    }

    /// Writes the counts.
    ///
    /// # Errors
    ///
    /// As the writer.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let [passed, failed, skipped] = self.counts;
        writeln!(
            self.out,
            "# {passed} passed, {failed} failed, {skipped} skipped"
        )
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::Tap;
    use crate::case::{Case, Mismatch};
    use crate::runner::result::{End, Outcome};

    const CASE: Case = Case::new("free.twice", "A rule: \"quoted\".", "a source", |_| Ok(()));

    fn written(ends: &[End], is_verbose: bool) -> String {
        let mut out = Vec::new();
        let mut tap = Tap::new(&mut out, ends.len(), "Linux 6.12", is_verbose).unwrap();
        for end in ends {
            let outcome = Outcome {
                end: end.clone(),
                signals: vec!["SIGSEGV of some kind".into()],
                time: Duration::ZERO,
            };
            tap.result(&CASE, &outcome).unwrap();
        }
        tap.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_kind_of_result_has_its_line() {
        let failed = End::Failed(Mismatch {
            what: "pkey_free(1)".into(),
            expected: "-22 (EINVAL)".into(),
            found: "0\nand more".into(),
        });
        let found = written(
            &[End::Passed, failed, End::Skipped("since 6.12".into())],
            false,
        );
        let expected = r#"TAP version 14
1..3
# on Linux 6.12
ok 1 - free.twice
not ok 2 - free.twice
  ---
  rule: "A rule: \"quoted\"."
  source: "a source"
  what: "pkey_free(1)"
  expected: "-22 (EINVAL)"
  found: "0\nand more"
  ...
ok 3 - free.twice # SKIP since 6.12
# 1 passed, 1 failed, 1 skipped
"#;
        assert_eq!(found, expected);
    }

    #[test]
    fn signals_are_comments_and_only_on_demand() {
        assert!(!written(&[End::Passed], false).contains("SIGSEGV"));
        let found = written(&[End::Passed], true);
        assert!(
            found.contains("\n# free.twice: SIGSEGV of some kind\nok 1 "),
            "{found}"
        );
    }

    #[test]
    fn no_cases_are_a_plan_of_none() {
        let found = written(&[], false);
        assert!(found.contains("\n1..0\n") && found.ends_with("# 0 passed, 0 failed, 0 skipped\n"));
    }
}
