//! The figures that the project promises, measured and held against their bars.
//!
//! The measuring program (`benches/`) is built in release mode and run; it prints a JSON line a figure. This task prints
//! a line each for people, or passes the JSON on. What is about the kernel image is measured here, by booting it. It is a
//! report for a person on a quiet machine: the test tiers only see that it runs.

use crate::boot::figures;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use console::style;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};
use std::process::{ExitCode, Stdio};

/// Measure the promised figures and hold them against their bars.
///
/// Exit status: 0 when every bar is met, 1 when one is not, 3 when those that were measured are met and others need
/// protection keys or a program that is not installed.
///
/// Examples: cargo xtask bars window nested; cargo xtask bars boot boot-cases
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Print the measuring program's JSON lines as they are.
    #[arg(long)]
    json: bool,

    /// A few iterations only: shows that it runs; its figures mean nothing.
    #[arg(long)]
    smoke: bool,

    /// The figures to measure; all when none is named.
    names: Vec<String>,
}

/// How the names of the figures of `pkeys guard` begin.
const GUARD: &str = "guard-";

/// What is read of a figure; see `benches/src/figure.rs`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
    pub(crate) side: Side,
    pub(crate) bar: f64,
    pub(crate) is_met: bool,
}

/// The good side of a bar.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    AtMost,
    AtLeast,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let is_ours = |name: &String| figures::names().any(|ours| ours == name);
    let others: Vec<&String> = args.names.iter().filter(|name| !is_ours(name)).collect();
    let mut status = 0;
    if args.names.is_empty() || !others.is_empty() {
        status = run_program(&workspace, args, &others)?;
    }
    let is_wanted =
        |name: &str| args.names.is_empty() || args.names.iter().any(|wanted| wanted == name);
    if figures::names().any(is_wanted) {
        for figure in figures::measure(&workspace, &is_wanted, args.smoke)? {
            if !figure.is_met {
                status = 1;
            }
            if args.json {
                println!("{}", serde_json::to_string(&figure)?);
            } else {
                println!("{}", figure.line());
            }
        }
    }
    Ok(ExitCode::from(status))
}

/// Builds `pkeys` beside the measuring program, for the figures of `pkeys guard`.
fn build_guard(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["build", "--release", "--quiet", "--package", "pkeys-cli"]);
    let status = command
        .status()
        .context("cargo build --package pkeys-cli")?;
    if !status.success() {
        bail!("cargo build --package pkeys-cli ended with {status}");
    }
    Ok(())
}

/// Runs the measuring program and gives this task's status.
fn run_program(workspace: &Workspace, args: &Args, names: &[&String]) -> Result<u8> {
    if names.is_empty() || names.iter().any(|name| name.starts_with(GUARD)) {
        build_guard(workspace)?;
    }
    let mut command = workspace.cargo();
    command.args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "pkeys-benches",
        "--",
    ]);
    command.args(args.smoke.then_some("--smoke")).args(names);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo run --package pkeys-benches")?;
    let stdout = child.stdout.take().context("no pipe")?;
    let mut is_every_bar_met = true;
    let mut has_figures = false;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let figure: Figure =
            serde_json::from_str(&line).with_context(|| format!("not a figure: {line}"))?;
        is_every_bar_met &= figure.is_met;
        has_figures = true;
        if args.json {
            println!("{line}");
        } else {
            println!("{}", figure.line());
        }
    }
    let status = child.wait()?;
    match status.code() {
        Some(0) if is_every_bar_met => Ok(0),
        Some(1) if !has_figures => {
            let ours: Vec<_> = figures::names().collect();
            bail!("of the kernel image there are: {}", ours.join(", "))
        }
        Some(0 | 1) => Ok(1),
        Some(3) if is_every_bar_met => Ok(3),
        Some(3) => Ok(1),
        _ => bail!("the measuring program ended with {status}"),
    }
}

impl Figure {
    fn line(&self) -> String {
        let verdict = if self.is_met {
            style("met").green()
        } else {
            style("NOT MET").red().bold()
        };
        let sign = match self.side {
            Side::AtMost => "<=",
            Side::AtLeast => ">=",
        };
        format!(
            "{:<20} {:>9} ({} to {})  bar {sign} {:<7} {verdict}  {}",
            self.name,
            short(self.median),
            short(self.low),
            short(self.high),
            self.bar,
            style(&self.what).dim(),
        )
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_printed_with_spread_bar_and_verdict() {
        let line = r#"{"name":"nested","what":"w","low":0.3,"median":0.415,"high":12.345,
            "side":"at_most","bar":0.5,"is_met":true,"cycles":[1.0,2.0]}"#;
        let figure: Figure = serde_json::from_str(line).unwrap();
        let printed = console::strip_ansi_codes(&figure.line()).into_owned();
        let words: Vec<&str> = printed.split_whitespace().collect();
        let expected = [
            "nested", "0.41", "(0.30", "to", "12.3)", "bar", "<=", "0.5", "met", "w",
        ];
        assert_eq!(words, expected);
    }
}
