//! What the person sees: a spinner while a tier works, a line when it has ended.
//!
//! On a terminal the line of the working tier moves and says what is being done. In a pipe there is one plain line a
//! tier and nothing else, but for the whole output of a tier that failed.

use super::Report;
use console::style;
use core::time::Duration;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Instant;

/// Where progress goes.
#[derive(Debug)]
pub(crate) struct Screen {
    spinner: ProgressBar,
    tier: &'static str,
    started: Instant,
}

impl Screen {
    /// A screen that moves only where both streams are a terminal.
    pub(crate) fn new() -> Self {
        let spinner = if io::stdout().is_terminal() && io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix:<12} {spinner} {elapsed} {msg}") {
            spinner.set_style(style);
        }
        Self {
            spinner,
            tier: "",
            started: Instant::now(),
        }
    }

    /// A tier starts.
    pub(crate) fn begin(&mut self, tier: &'static str) {
        self.tier = tier;
        self.started = Instant::now();
        self.spinner.reset();
        self.spinner.set_prefix(tier);
        self.spinner.set_message("");
        self.spinner.enable_steady_tick(Duration::from_millis(100));
    }

    /// What the tier is doing now; seen on a terminal only.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        let what: String = what.into();
        // One line of the terminal: a longer one would wrap and leave its first part behind.
        self.spinner
            .set_message(what.chars().take(56).collect::<String>());
    }

    /// A line that stays.
    pub(crate) fn note(&self, text: &str) {
        self.spinner.suspend(|| println!("{text}"));
    }

    /// Nothing moves any more.
    pub(crate) fn clear(&self) {
        self.spinner.disable_steady_tick();
        self.spinner.finish_and_clear();
    }

    /// The tier has ended.
    pub(super) fn end(&mut self, report: &Report) {
        self.clear();
        let has_failed = report.counts.failed > 0;
        let counts = report.counts.to_string();
        let counts = if has_failed {
            style(counts).red()
        } else {
            style(counts).green()
        };
        let seconds = self.started.elapsed().as_secs_f32();
        let remark = report
            .remark
            .as_ref()
            .map_or_else(String::new, |remark| format!(", {remark}"));
        println!("{:<12} {counts} in {seconds:.1} s{remark}", self.tier);
        if has_failed {
            print!("{}", report.output);
            println!("{:<12} end of the output", self.tier);
        }
    }
}
