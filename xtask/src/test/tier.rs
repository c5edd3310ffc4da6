//! The tiers, one by one: what each runs, and how its outcome is counted.

use super::results::{Counts, Tally};
use super::screen::Screen;
use super::{Args, Report, plan};
use crate::conform::{self, Linux};
use crate::workspace::Workspace;
use crate::{boot, capture, differential, guest, inventory, no_std, shape};
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::process::Command;

/// A tier. The order is the order of running: what is cheap comes first, and `no-pku` comes before `release`, whose
/// build then replaces a command line without keys in the target folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tier {
    /// cargo fmt --check
    Fmt,
    /// Dependencies between the crates point one way
    Shape,
    /// docs/SAFETY.md names every file with unsafe code, crates that deny it do; asm! on rights keeps its rules
    Inventory,
    /// cargo clippy, warnings are errors
    Lint,
    /// What a kernel takes needs neither the standard library nor the C library
    NoStd,
    /// cargo test
    Debug,
    /// The library and the command line, with the probe forced to say no
    NoPku,
    /// cargo test --release: the code-generation rules can break only there
    Release,
    /// cargo doc, warnings are errors
    Docs,
    /// The catalogue of the keys' ABI, on our kernel and on Linux
    Conform,
    /// The kernel image under QEMU: its cases, what it refuses, what must end it
    Boot,
    /// The process tier in a Linux guest with keys; by itself only where this machine has none
    Guest,
    /// `pkeys guard` on programs and libraries from packages, in a Linux guest with keys
    Guarded,
    /// Random programs on our kernel and on Linux
    Differential,
}

/// The workspace that a call of cargo is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The one at the root.
    Root,
    /// The kernel image, which has its own.
    Image,
}

/// A call of cargo: where, its arguments, none of which has a blank in it, and what it finds in its environment.
struct Call {
    place: Place,
    args: &'static str,
    env: Option<(&'static str, &'static str)>,
}

/// Makes rustdoc's warnings errors.
const STRICT_DOCS: Option<(&str, &str)> = Some(("RUSTDOCFLAGS", "-Dwarnings"));

/// Tells tests that the library was built to find no keys.
const NO_PKU: Option<(&str, &str)> = Some(("PKEYS_TEST_NO_PKU", "1"));

impl Call {
    /// The command.
    fn command(&self, workspace: &Workspace) -> Command {
        let mut cargo = match self.place {
            Place::Root => workspace.cargo(),
            Place::Image => workspace.image_cargo(),
        };
        cargo.args(self.args.split_whitespace()).envs(self.env);
        cargo
    }
}

impl Tier {
    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Shape => "shape",
            Self::Inventory => "inventory",
            Self::Lint => "lint",
            Self::NoStd => "no-std",
            Self::Debug => "debug",
            Self::NoPku => "no-pku",
            Self::Release => "release",
            Self::Docs => "docs",
            Self::Conform => "conform",
            Self::Boot => "boot",
            Self::Guest => "guest",
            Self::Guarded => "guarded",
            Self::Differential => "differential",
        }
    }

    /// Whether a test filter means something to it.
    pub(super) fn has_named_tests(self) -> bool {
        matches!(
            self,
            Self::Debug | Self::NoPku | Self::Release | Self::Guest | Self::Guarded
        )
    }

    /// Whether its tests run on this machine, where keys may be missing, or in the guest in place of it.
    pub(super) fn runs_here(self) -> bool {
        self.has_named_tests() && self != Self::Guarded
    }

    /// Whether it compares with Linux, wherever there is one with keys.
    pub(super) fn has_linux_side(self) -> bool {
        matches!(self, Self::Conform | Self::Differential)
    }

    /// The calls of cargo it consists of; none for what this program does itself.
    fn calls(self) -> &'static [Call] {
        match self {
            Self::Fmt => &[
                Call {
                    place: Place::Root,
                    args: "fmt --all --check",
                    env: None,
                },
                Call {
                    place: Place::Image,
                    args: "fmt --check",
                    env: None,
                },
            ],
            Self::Lint => &[
                Call {
                    place: Place::Root,
                    args: "clippy --workspace --all-targets -- -D warnings",
                    env: None,
                },
                Call {
                    place: Place::Image,
                    args: "clippy --all-targets -- -D warnings",
                    env: None,
                },
            ],
            Self::Debug => &[
                Call {
                    place: Place::Root,
                    args: "test --workspace --no-fail-fast",
                    env: None,
                },
                Call {
                    place: Place::Image,
                    args: "test --lib",
                    env: None,
                },
            ],
            Self::Release => &[Call {
                place: Place::Root,
                args: "test --workspace --no-fail-fast --release",
                env: None,
            }],
            Self::NoPku => &[Call {
                place: Place::Root,
                args: "test --package=pkeys --package=pkeys-cli --no-fail-fast --release \
                       --features=pkeys/no-pku,pkeys-cli/no-pku",
                env: NO_PKU,
            }],
            // The command line's name is the library's: their pages would be written to the same place at the same
            // time. One after the other, the library's stay.
            Self::Docs => &[
                Call {
                    place: Place::Root,
                    args: "doc --no-deps --package=pkeys-cli",
                    env: STRICT_DOCS,
                },
                Call {
                    place: Place::Root,
                    args: "doc --no-deps --workspace --exclude=pkeys-cli",
                    env: STRICT_DOCS,
                },
                Call {
                    place: Place::Image,
                    args: "doc --no-deps --lib",
                    env: STRICT_DOCS,
                },
            ],
            Self::Shape
            | Self::Inventory
            | Self::NoStd
            | Self::Conform
            | Self::Boot
            | Self::Guest
            | Self::Guarded
            | Self::Differential => &[],
        }
    }

    /// Runs it.
    pub(super) fn run(
        self,
        workspace: &Workspace,
        args: &Args,
        has_keys: bool,
        screen: &Screen,
    ) -> Result<Report> {
        let linux = plan::linux(args, has_keys);
        match (self, self.calls()) {
            (Self::Shape, _) => Ok(findings(&shape::check(workspace)?)),
            (Self::Inventory, _) => inventory::tier(workspace),
            (Self::NoStd, _) => no_std::tier(workspace, &|what| screen.doing(what)),
            (Self::Conform, _) => conform::tier(workspace, &args.guest, linux, screen),
            (Self::Boot, _) => boot::tier(workspace, screen),
            (Self::Differential, _) => differential::tier(
                workspace,
                &args.guest,
                args.length,
                linux != Linux::Here,
                screen,
            ),
            (Self::Guest, _) => guest::tier(workspace, &args.guest, args.filter.as_deref(), screen),
            (Self::Guarded, _) => {
                guest::guarded_tier(workspace, &args.guest, args.filter.as_deref(), screen)
            }
            (_, calls) if self.has_named_tests() => {
                run_tests(workspace, calls, args.filter.as_deref(), screen)
            }
            (_, calls) => run_check(workspace, calls, screen),
        }
    }
}

/// Runs calls that pass or fail as a whole.
fn run_check(workspace: &Workspace, calls: &[Call], screen: &Screen) -> Result<Report> {
    let mut report = Report {
        counts: Counts::pass(),
        ..Report::default()
    };
    for call in calls {
        let done = capture::run(call.command(workspace), None, &mut |line| {
            screen.doing(line.trim());
        })
        .context("cargo")?;
        report.output.push_str(&done.output);
        if !done.is_success() {
            report.counts = Counts::failure();
        }
    }
    Ok(report)
}

/// Runs calls of `cargo test` and sums what its programs say.
fn run_tests(
    workspace: &Workspace,
    calls: &[Call],
    filter: Option<&str>,
    screen: &Screen,
) -> Result<Report> {
    let mut report = Report::default();
    let mut crashed = Vec::new();
    for call in calls {
        let mut cargo = call.command(workspace);
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
        .context("cargo")?;
        let (mut counts, unreported) = tally.finish();
        if !done.is_success() && counts.failed == 0 {
            // It did not compile, or a program ended badly after it had said that all was well.
            counts += Counts::failure();
        }
        report.counts += counts;
        report.output.push_str(&done.output);
        crashed.extend(unreported);
    }
    if !crashed.is_empty() {
        report.remark = Some(format!("without a result: {}", crashed.join(", ")));
    }
    Ok(report)
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
