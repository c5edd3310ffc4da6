//! Reads what test programs print.
//!
//! libtest and libtest-mimic end with the same line, `test result: ok. 3 passed; 0 failed; 1 ignored; ...`; an ignored
//! test is what we call skipped. A program that was started and printed no such line has crashed, and that is a failure
//! even where the exit status gets lost among others.

use core::fmt;
use core::ops::AddAssign;

/// How many tests went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Did what they should.
    pub(crate) passed: u64,
    /// Did not.
    pub(crate) failed: u64,
    /// Were not run.
    pub(crate) skipped: u64,
}

impl Counts {
    /// One test that passed.
    pub(crate) const fn pass() -> Self {
        Self {
            passed: 1,
            failed: 0,
            skipped: 0,
        }
    }

    /// One test that failed.
    pub(crate) const fn failure() -> Self {
        Self {
            passed: 0,
            failed: 1,
            skipped: 0,
        }
    }

    /// Reads a `test result:` line; `None` for any other.
    fn parse(line: &str) -> Option<Self> {
        let rest = line.trim().strip_prefix("test result: ")?;
        let (_, rest) = rest.split_once(". ")?;
        let mut counts = Self::default();
        for part in rest.split(';') {
            match part.trim().split_once(' ') {
                Some((number, "passed")) => counts.passed = number.parse().ok()?,
                Some((number, "failed")) => counts.failed = number.parse().ok()?,
                Some((number, "ignored")) => counts.skipped = number.parse().ok()?,
                _ => {}
            }
        }
        Some(counts)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// The sum over the programs of one run, fed line by line.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: Counts,
    program: Option<Program>,
    unreported: Vec<String>,
}

/// The program whose output is being read.
#[derive(Debug)]
struct Program {
    name: String,
    kind: Kind,
    result: Option<Counts>,
    /// Tests reported so far, for the progress display.
    seen: u64,
}

/// What a program's result lines mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The last one counts: one before it comes from a process that a test started.
    Binary,
    /// All count: rustdoc compiles some doctests together and others alone, and reports each lot.
    Doctests,
}

impl Tally {
    /// A program starts; the one before has ended.
    pub(crate) fn begin(&mut self, name: &str, kind: Kind) {
        self.end();
        self.program = Some(Program {
            name: name.to_owned(),
            kind,
            result: None,
            seen: 0,
        });
    }

    /// A line of the program that runs.
    pub(crate) fn line(&mut self, line: &str) {
        let Some(program) = &mut self.program else {
            return;
        };
        if let Some(counts) = Counts::parse(line) {
            match (program.kind, &mut program.result) {
                (Kind::Doctests, Some(sum)) => *sum += counts,
                (_, result) => *result = Some(counts),
            }
        } else if line.starts_with("test ") {
            program.seen += 1;
        }
    }

    /// A line of `cargo test`: cargo names each program before it starts it.
    pub(crate) fn cargo_line(&mut self, line: &str) {
        // Cargo sets its words flush right in twelve columns.
        if let Some(name) = line.strip_prefix("     Running ") {
            self.begin(&short_name(name), Kind::Binary);
        } else if let Some(name) = line.strip_prefix("   Doc-tests ") {
            self.begin(&format!("doctests of {name}"), Kind::Doctests);
        } else {
            self.line(line);
        }
    }

    /// The program that runs has ended; without a result it has crashed.
    pub(crate) fn end(&mut self) {
        match self.program.take() {
            Some(Program {
                result: Some(counts),
                ..
            }) => self.done += counts,
            Some(Program { name, .. }) => self.fail(name),
            None => {}
        }
    }

    /// The program that runs has ended badly, and `how`: a failure, where it has not reported one itself.
    pub(crate) fn end_badly(&mut self, how: &str) {
        let Some(program) = self.program.take() else {
            return;
        };
        let counts = program.result.unwrap_or_default();
        self.done += counts;
        if counts.failed == 0 {
            self.fail(format!("{} ({how})", program.name));
        }
    }

    /// The program that runs will not be heard of again; what it had reported is not counted.
    pub(crate) fn discard(&mut self) {
        self.program = None;
    }

    /// Counts one failure that no program reported, with its reason.
    pub(crate) fn fail(&mut self, why: String) {
        self.done += Counts::failure();
        self.unreported.push(why);
    }

    /// The name of the program that runs.
    pub(crate) fn current(&self) -> Option<&str> {
        self.program.as_ref().map(|program| program.name.as_str())
    }

    /// Tests reported so far, also by the program that still runs.
    pub(crate) fn seen(&self) -> u64 {
        let running = self.program.as_ref().map_or(0, |program| program.seen);
        self.done.passed + self.done.failed + self.done.skipped + running
    }

    /// The sum, and the failures that no program reported: crashes.
    pub(crate) fn finish(mut self) -> (Counts, Vec<String>) {
        self.end();
        (self.done, self.unreported)
    }
}

/// `tests/fault.rs (target/debug/deps/fault-0123)` as people say it: `fault, tests/fault.rs`.
fn short_name(name: &str) -> String {
    let short = || {
        let (source, binary) = name.strip_suffix(')')?.split_once(" (")?;
        let (_, file) = binary.rsplit_once('/')?;
        let (stem, _) = file.rsplit_once('-')?;
        Some(format!("{stem}, {source}"))
    };
    short().unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Counts, Kind, Tally};

    fn counts(passed: u64, failed: u64, skipped: u64) -> Counts {
        Counts {
            passed,
            failed,
            skipped,
        }
    }

    fn tally_cargo(text: &str) -> (Counts, Vec<String>) {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.cargo_line(line));
        tally.finish()
    }

    #[test]
    fn result_lines_of_both_harnesses_are_read() {
        let libtest = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s";
        let mimic = "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s\r";
        assert_eq!(Counts::parse(libtest), Some(counts(3, 0, 1)));
        assert_eq!(Counts::parse(mimic), Some(counts(10, 2, 0)));
        for other in [
            "",
            "test result",
            "test a::b ... ok",
            "test result: ok",
            "saw test result: ok. 1 passed; 0 failed",
            "test result: ok. many passed; 0 failed",
        ] {
            assert_eq!(Counts::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_closing_line_names_skips_only_where_there_are_any() {
        assert_eq!(counts(7, 0, 0).to_string(), "7 passed, 0 failed");
        assert_eq!(counts(7, 1, 2).to_string(), "7 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn programs_of_a_cargo_run_are_summed() {
        let text = "\
   Compiling pkeys v0.1.0
     Running unittests src/lib.rs (target/debug/deps/pkeys-0)

running 2 tests
test a ... ok
test b ... ignored

test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/fault.rs (target/debug/deps/fault-0)
test c ... FAILED
test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        assert_eq!(tally_cargo(text), (counts(1, 1, 1), vec![]));
    }

    #[test]
    fn a_program_without_a_result_has_crashed() {
        let text = "     Running tests/a.rs (target/debug/deps/a-12)\nrunning 1 test\n\
            \u{20}    Running tests/b.rs (y)\n\
            test result: ok. 1 passed; 0 failed; 0 ignored\n     Running tests/c.rs (z)\n";
        let crashed = vec!["a, tests/a.rs".to_owned(), "tests/c.rs (z)".to_owned()];
        assert_eq!(tally_cargo(text), (counts(1, 2, 0), crashed));
    }

    #[test]
    fn a_result_printed_by_a_test_s_own_child_does_not_count() {
        let text = "     Running tests/a.rs (x)\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 41 filtered out\n\
            test result: ok. 42 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(tally_cargo(text).0, counts(42, 0, 0));
    }

    #[test]
    fn doctests_report_in_lots_that_all_count() {
        let text = "   Doc-tests pkeys\n\
            test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(tally_cargo(text).0, counts(7, 0, 1));
    }

    #[test]
    fn a_bad_end_is_a_failure_unless_one_was_reported() {
        let cases = [
            (None, counts(0, 1, 0), true),
            (Some("ok. 2 passed; 0 failed"), counts(2, 1, 0), true),
            (Some("FAILED. 2 passed; 3 failed"), counts(2, 3, 0), false),
        ];
        for (result, expected, is_named) in cases {
            let mut tally = Tally::default();
            tally.begin("a", Kind::Binary);
            if let Some(result) = result {
                tally.line(&format!("test result: {result}; 0 ignored"));
            }
            tally.end_badly("signal 11");
            let named = is_named.then(|| "a (signal 11)".to_owned());
            assert_eq!(tally.finish(), (expected, Vec::from_iter(named)));
        }
    }

    #[test]
    fn progress_counts_tests_while_they_run() {
        let mut tally = Tally::default();
        tally.begin("a", Kind::Binary);
        tally.line("test x ... ok");
        assert_eq!((tally.seen(), tally.current()), (1, Some("a")));
        tally.line("test result: ok. 1 passed; 0 failed; 0 ignored");
        tally.begin("b", Kind::Binary);
        tally.line("test y ... ok");
        assert_eq!(tally.seen(), 2);
    }
}
