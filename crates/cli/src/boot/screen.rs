//! A boot on the screen: a row a case as it ends, a bar below while there is a terminal; or JSON lines.

use core::time::Duration;
use std::io::{self, Write};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::noise::tame;
use crate::failure::{Doing, Failure};
use crate::style::Tone::{self, Bad, Good, Plain, Quiet, Strong};
use crate::style::{has_drawing, width, wrap};

/// The width of the column of names, behind the margin. What is wider pushes the others to the right.
const NAME: usize = 42;

/// The width of the column of results.
const RESULT: usize = 8;

/// What the kernel says beside its cases is shown up to this line.
const MAX_LINES: usize = 200;

/// How often the bar moves while nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// A case, as JSON.
#[derive(Debug, Serialize)]
struct Case<'a> {
    kind: &'static str,
    name: &'a str,
    is_ok: bool,
    why: Option<&'a str>,
    seconds: f64,
}

/// A name in a list, as JSON.
#[derive(Debug, Serialize)]
struct Name<'a> {
    kind: &'static str,
    name: &'a str,
    /// It runs by name only, and ends the kernel.
    ends_kernel: bool,
}

/// Where a boot is shown.
#[derive(Debug)]
pub(super) struct Screen {
    is_json: bool,
    bar: ProgressBar,
    started: Instant,
    /// When the last case ended.
    last: Instant,
    has_rows: bool,
    /// What the kernel said beside its cases.
    others: Vec<String>,
}

impl Screen {
    pub(super) fn new(is_json: bool) -> Self {
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::new_spinner();
        bar.set_message("starting the kernel");
        bar.enable_steady_tick(TICK);
        let now = Instant::now();
        Self {
            is_json,
            bar,
            started: now,
            last: now,
            has_rows: false,
            others: Vec::new(),
        }
    }

    /// Since the start of the boot.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What the kernel said beside its cases.
    pub(super) fn others(&self) -> &[String] {
        &self.others
    }

    /// The kernel is up.
    pub(super) fn begin(&mut self, nr_cases: u64) {
        self.last = Instant::now();
        let chars = if has_drawing() { "━╸─" } else { "=>-" };
        if let Ok(look) = ProgressStyle::with_template("{bar:30} {pos} of {len} cases") {
            self.bar.set_style(look.progress_chars(chars));
        }
        self.bar.set_length(nr_cases);
    }

    /// A case has ended.
    pub(super) fn case(&mut self, name: &str, why: Option<&str>) -> Result<(), Failure> {
        let time = self.last.elapsed();
        self.last = Instant::now();
        self.bar.inc(1);
        let why = why.map(tame);
        if self.is_json {
            return self.json(&Case {
                kind: "case",
                name,
                is_ok: why.is_none(),
                why: why.as_deref(),
                seconds: rounded(time),
            });
        }
        if !self.has_rows {
            self.has_rows = true;
            let head = format!("{:NAME$}{:RESULT$}{:>8}", "case", "result", "time");
            self.line(&[(Quiet, &head)])?;
        }
        let (tone, result) = match why {
            None => (Good, "ok"),
            Some(_) => (Bad, "FAILED"),
        };
        self.line(&[
            (Plain, &format!("{name:NAME$}")),
            (tone, &format!("{result:RESULT$}")),
            (Quiet, &format!("{:>5} ms", time.as_millis())),
        ])?;
        for line in why.iter().flat_map(|why| wrap(why, width() - 4)) {
            self.line(&[(Plain, "    "), (Tone::Warning, &line)])?;
        }
        Ok(())
    }

    /// A case's name.
    pub(super) fn name(&self, name: &str, ends_kernel: bool) -> Result<(), Failure> {
        if self.is_json {
            return self.json(&Name {
                kind: "case",
                name,
                ends_kernel,
            });
        }
        let remark = if ends_kernel {
            "  ends the kernel: by name only"
        } else {
            ""
        };
        self.line(&[(Plain, name), (Quiet, remark)])
    }

    /// The kernel says something else: shown up to a limit.
    pub(super) fn other(&mut self, line: &str) -> Result<(), Failure> {
        let nr = self.others.len();
        let line = match nr {
            0..MAX_LINES => tame(line).into_owned(),
            MAX_LINES => "more was said, which is not shown".to_owned(),
            _ => return Ok(()),
        };
        if !self.is_json {
            self.line(&[(Quiet, "  | "), (Plain, &line)])?;
        }
        self.others.push(line);
        Ok(())
    }

    /// The last line of a boot that told of all it should.
    pub(super) fn sum(&self, passed: u64, failed: u64) -> Result<(), Failure> {
        let tone = if failed == 0 { Good } else { Bad };
        let sum = format!("{passed} passed, {failed} failed");
        let time = format!(" in {:.2} s", self.elapsed().as_secs_f64());
        let remark = ", under emulation: says nothing about real hardware's speed";
        self.line(&[(tone, &sum), (Strong, &time), (Quiet, remark)])
    }

    /// An object on a line of its own.
    pub(super) fn json(&self, object: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(object).doing("cannot write the output")?;
        self.write(&text)
    }

    fn line(&self, pieces: &[(Tone, &str)]) -> Result<(), Failure> {
        let line: String = pieces.iter().map(|(tone, text)| tone.paint(text)).collect();
        self.write(line.trim_end())
    }

    fn write(&self, line: &str) -> Result<(), Failure> {
        let written = self.bar.suspend(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()
        });
        Ok(written?)
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Seconds to three places: more is noise.
pub(super) fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
