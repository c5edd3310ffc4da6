//! `cargo xtask test`: every test tier there is, and one closing line with the totals.
//!
//! The tiers are in [`tier`], the order and choice of them in [`plan`]; [`results`] and [`tap`] read what the test programs
//! print and [`screen`] shows it. Where the machine has no usable keys the tests say themselves what they leave out, and
//! the tier `guest` makes up for it: the process tier in a Linux guest that has keys. The tiers `conform` and
//! `differential`, which hold our kernel against Linux, run their Linux sides in the guest, too.

mod plan;
pub(crate) mod results;
pub(crate) mod screen;
pub(crate) mod tap;
mod tier;

use crate::differential;
use crate::guest;
use crate::keys;
use crate::workspace::Workspace;
use anyhow::Result;
use results::Counts;
use screen::Screen;
use std::process::ExitCode;
use tier::Tier;

/// Run every test tier, or some of them.
///
/// One line a tier while working, the whole output of a tier that fails, and in the end one line with the totals.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test
  cargo xtask test --quick window
  cargo xtask test --in-guest --tier guest")]
pub(crate) struct Args {
    /// Run the guest tier, and every other Linux side in the guest, whatever this machine has
    #[arg(long)]
    in_guest: bool,
    /// Leave out no-pku, release, docs, boot, guarded, differential and, unless --in-guest, guest
    #[arg(long, conflicts_with = "tier")]
    quick: bool,
    /// Run only this tier; may be given several times (without it all run, in this order)
    #[arg(long, value_name = "TIER")]
    tier: Vec<Tier>,
    #[command(flatten)]
    length: differential::Length,
    #[command(flatten)]
    guest: guest::Options,
    /// Run only tests whose name contains this; tiers without named tests are left out
    filter: Option<String>,
}

/// What a tier gave.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Its tests.
    pub(crate) counts: Counts,
    /// A few words for its line: what was special.
    pub(crate) remark: Option<String>,
    /// Everything to show when it failed.
    pub(crate) output: String,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let mut screen = Screen::new();
    let keys = keys::probe();
    let tiers = plan::tiers(args, keys.is_ok());
    if let Err(missing) = &keys
        && tiers.iter().any(|tier| tier.runs_here())
    {
        let guest = if tiers.contains(&Tier::Guest) {
            "the process tier runs in a Linux guest under QEMU"
        } else {
            "what needs them is skipped, as no guest was asked for"
        };
        screen.note(&format!("no usable keys here: {missing}; {guest}"));
    }
    let mut total = Counts::default();
    let mut failed = Vec::new();
    for tier in tiers {
        screen.begin(tier.name());
        let report = tier.run(&workspace, args, keys.is_ok(), &screen);
        let report = settle(report, args.filter.is_some());
        total += report.counts;
        if report.counts.failed > 0 {
            failed.push(tier.name());
        }
        screen.end(&report);
    }
    if total == Counts::default() {
        screen.note("no test matches");
        total.failed = 1;
    }
    if !failed.is_empty() {
        screen.note(&format!("failed: {}", failed.join(", ")));
    }
    println!("{total}");
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A tier that could not run is one failure, and so is one that ran nothing, unless a filter was given.
fn settle(report: Result<Report>, has_filter: bool) -> Report {
    let mut report = report.unwrap_or_else(|err| Report {
        counts: Counts::failure(),
        output: format!("{err:#}\n"),
        ..Report::default()
    });
    if report.counts == Counts::default() && !has_filter {
        report.counts = Counts::failure();
        report.remark = Some("ran no test".into());
    }
    report
}

#[cfg(test)]
mod tests {
    use super::{Counts, Report, settle};

    #[test]
    fn a_tier_without_tests_fails_unless_filtered() {
        assert_eq!(settle(Ok(Report::default()), false).counts.failed, 1);
        assert_eq!(settle(Ok(Report::default()), true).counts.failed, 0);
    }

    #[test]
    fn a_tier_that_could_not_run_fails_with_its_reason() {
        let report = settle(Err(anyhow::anyhow!("no QEMU").context("guest")), true);
        assert_eq!(report.counts, Counts::failure());
        assert_eq!(report.output, "guest: no QEMU\n");
    }
}
