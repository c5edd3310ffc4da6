//! Results for programs: a JSON object a case, one a line.

use std::io::{self, Write};

use serde::Serialize;

use super::result::{End, Outcome};
use crate::case::Case;

/// One line. Fields that do not apply are missing.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    /// `passed`, `failed` or `skipped`.
    result: &'static str,
    rule: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<&'a str>,
    ground: &'a str,
    milliseconds: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    signals: Option<&'a [String]>,
}

/// Writes a result; with the signals, if those are wanted.
///
/// # Errors
///
/// As the writer.
pub(super) fn write(
    out: &mut impl Write,
    case: &Case,
    outcome: &Outcome,
    ground: &str,
    is_verbose: bool,
) -> io::Result<()> {
    let mut line = Line {
        name: case.name,
        result: "passed",
        rule: case.rule,
        source: case.source,
        since: case.since.map(|(major, minor)| format!("{major}.{minor}")),
        reason: None,
        what: None,
        expected: None,
        found: None,
        ground,
        milliseconds: outcome.time.as_millis(),
        signals: is_verbose.then_some(&outcome.signals),
    };
    match &outcome.end {
        End::Passed => {}
        End::Skipped(reason) => {
            line.result = "skipped";
            line.reason = Some(reason);
        }
        End::Failed(mismatch) => {
            line.result = "failed";
            line.what = Some(&mismatch.what);
            line.expected = Some(&mismatch.expected);
            line.found = Some(&mismatch.found);
        }
    }
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use serde_json::{Value, json};

    use super::write;
    use crate::case::{Case, Mismatch};
    use crate::runner::result::{End, Outcome};

    const CASE: Case = Case::new("free.twice", "A rule.", "a source", |_| Ok(())).since(6, 12);

    fn written(end: End, is_verbose: bool) -> Value {
        let outcome = Outcome {
            end,
            signals: vec!["SIGSEGV".into()],
            time: Duration::from_millis(12),
        };
        let mut out = Vec::new();
        write(&mut out, &CASE, &outcome, "Linux 6.12", is_verbose).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_line_has_what_applies_and_nothing_else() {
        let expected = json!({
            "name": "free.twice", "result": "passed", "rule": "A rule.", "source": "a source",
            "since": "6.12", "ground": "Linux 6.12", "milliseconds": 12,
        });
        assert_eq!(written(End::Passed, false), expected);
        let skipped = written(End::Skipped("needs mseal".into()), false);
        assert_eq!(skipped["result"], "skipped");
        assert_eq!(skipped["reason"], "needs mseal");
        let failed = written(
            End::Failed(Mismatch {
                what: "pkey_free".into(),
                expected: "0".into(),
                found: "1\n2".into(),
            }),
            true,
        );
        assert_eq!(failed["result"], "failed");
        assert_eq!(failed["what"], "pkey_free");
        assert_eq!(failed["expected"], "0");
        assert_eq!(failed["found"], "1\n2");
        assert_eq!(failed["signals"], json!(["SIGSEGV"]));
    }
}
