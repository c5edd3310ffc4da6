//! The tiers, one by one: what each runs, and how its outcome is counted.

use super::results::{Counts, Tally};
use super::screen::Screen;
use super::{Args, Report};
use crate::workspace::Workspace;
use crate::{capture, guest, inventory, shape};
use anyhow::{Context, Result};
use clap::ValueEnum;

/// A tier. The order is the order of running: what is cheap comes first, and `no-pku` comes before `release`, whose
/// build then replaces a command line without keys in the target folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tier {
    /// Formatting.
    Fmt,
    /// One-way dependencies.
    Shape,
    /// `docs/SAFETY.md` and the asm rules.
    Inventory,
    /// Clippy.
    Lint,
    /// The tests as `cargo test` builds them.
    Debug,
    /// The tests of what a program does without keys.
    NoPku,
    /// The tests, optimised: the code-generation rules can break only there.
    Release,
    /// Documentation builds without a warning.
    Docs,
    /// The process tier in the guest.
    Guest,
}

/// A call of cargo.
struct Call {
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

impl Tier {
    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Shape => "shape",
            Self::Inventory => "inventory",
            Self::Lint => "lint",
            Self::Debug => "debug",
            Self::NoPku => "no-pku",
            Self::Release => "release",
            Self::Docs => "docs",
            Self::Guest => "guest",
        }
    }

    /// Whether a test filter means something to it.
    pub(super) fn has_named_tests(self) -> bool {
        matches!(
            self,
            Self::Debug | Self::NoPku | Self::Release | Self::Guest
        )
    }

    /// What cargo is called with; `None` for what this program does itself.
    fn call(self) -> Option<Call> {
        let (args, env): (&'static [&'static str], &'static [_]) = match self {
            Self::Fmt => (&["fmt", "--all", "--check"], &[]),
            Self::Lint => (
                &[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ],
                &[],
            ),
            Self::Debug => (&["test", "--workspace", "--no-fail-fast"], &[]),
            Self::Release => (&["test", "--workspace", "--no-fail-fast", "--release"], &[]),
            Self::NoPku => (
                &[
                    "test",
                    "--package=pkeys",
                    "--package=pkeys-cli",
                    "--features=pkeys/no-pku,pkeys-cli/no-pku",
                    "--no-fail-fast",
                    "--release",
                ],
                &[("PKEYS_TEST_NO_PKU", "1")],
            ),
            Self::Docs => (
                &["doc", "--workspace", "--no-deps"],
                &[("RUSTDOCFLAGS", "-Dwarnings")],
            ),
            Self::Shape | Self::Inventory | Self::Guest => return None,
        };
        Some(Call { args, env })
    }

    /// Runs it.
    pub(super) fn run(
        self,
        workspace: &Workspace,
        args: &Args,
        screen: &mut Screen,
    ) -> Result<Report> {
        match self.call() {
            Some(call) if self.has_named_tests() => {
                run_tests(workspace, &call, args.filter.as_deref(), screen)
            }
            Some(call) => run_check(workspace, &call, screen),
            None => match self {
                Self::Shape => Ok(findings(&shape::check(&workspace.metadata))),
                Self::Inventory => inventory::tier(workspace),
                _ => guest::tier(workspace, &args.guest, args.filter.as_deref(), screen),
            },
        }
    }
}

/// Runs a call that passes or fails as a whole.
fn run_check(workspace: &Workspace, call: &Call, screen: &Screen) -> Result<Report> {
    let mut cargo = workspace.cargo();
    cargo.args(call.args).envs(call.env.iter().copied());
    let done = capture::run(cargo, None, &mut |line| screen.doing(line.trim()))
        .with_context(|| format!("cargo {}", call.args.join(" ")))?;
    Ok(Report {
        counts: if done.is_success() {
            Counts::pass()
        } else {
            Counts::failure()
        },
        remark: None,
        output: done.output,
    })
}

/// Runs a `cargo test` and sums what its programs say.
fn run_tests(
    workspace: &Workspace,
    call: &Call,
    filter: Option<&str>,
    screen: &Screen,
) -> Result<Report> {
    let mut cargo = workspace.cargo();
    cargo.args(call.args).envs(call.env.iter().copied());
    if let Some(filter) = filter {
        cargo.args(["--", filter]);
    }
    let mut tally = Tally::default();
    let done = capture::run(cargo, None, &mut |line| {
        tally.cargo_line(line);
        match tally.current() {
            Some(name) => screen.doing(format!("{} tests, {name}", tally.seen())),
            None => screen.doing(line.trim()),
        }
    })
    .with_context(|| format!("cargo {}", call.args.join(" ")))?;
    let (mut counts, crashed) = tally.finish();
    if !done.is_success() && counts.failed == 0 {
        // It did not compile, or a program ended badly after it had said that all was well.
        counts += Counts::failure();
    }
    Ok(Report {
        counts,
        remark: (!crashed.is_empty()).then(|| format!("without a result: {}", crashed.join(", "))),
        output: done.output,
    })
}

/// The report of a check that this program makes itself: one test, failed when there is a finding.
pub(crate) fn findings(findings: &[String]) -> Report {
    Report {
        counts: if findings.is_empty() {
            Counts::pass()
        } else {
            Counts::failure()
        },
        remark: None,
        output: findings
            .iter()
            .map(|finding| format!("{finding}\n"))
            .collect(),
    }
}
