//! The tier `conform` of `cargo xtask test`: both sides, each case a test.

use super::{PACKAGE, PROGRAM, Side, command, guest_args};
use crate::capture;
use crate::guest::{self, Ended, Guest};
use crate::test::Report;
use crate::test::results::Counts;
use crate::test::screen::Screen;
use crate::test::tap::Tap;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use core::ops::ControlFlow;
use guest_init::events::Outcome;

/// Where the tier's Linux side runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linux {
    /// On this machine, which has keys.
    Here,
    /// In the guest.
    InGuest,
    /// Nowhere: there are no keys, and no guest was asked for.
    Nowhere,
}

/// The tier: both sides, each case a test.
pub(crate) fn tier(
    workspace: &Workspace,
    options: &guest::Options,
    linux: Linux,
    screen: &Screen,
) -> Result<Report> {
    let mut report = Report::default();
    let here = |side: Side, report: &mut Report| -> Result<()> {
        let args = ["--on".to_owned(), side.word().to_owned()];
        let mut tap = Tap::default();
        let done = capture::run(command(workspace, &args), None, &mut |line| {
            tap.line(line);
            screen.doing(format!("{} cases on {}", tap.seen(), side.word()));
        })
        .context("cargo")?;
        let code = done.status.and_then(|status| status.code());
        add(report, side, tap, code, &done.output);
        Ok(())
    };
    here(Side::Machine, &mut report)?;
    match linux {
        Linux::Here => here(Side::Linux, &mut report)?,
        Linux::InGuest => linux_in_guest(workspace, options, screen, &mut report)?,
        Linux::Nowhere => {
            report.counts.skipped += 1;
            remark(&mut report, "not on Linux, which has no usable keys here");
        }
    }
    Ok(report)
}

/// The Linux side of the tier, in the guest.
fn linux_in_guest(
    workspace: &Workspace,
    options: &guest::Options,
    screen: &Screen,
    report: &mut Report,
) -> Result<()> {
    let doing = |what: &str| screen.doing(what);
    let program = guest::build_program(workspace, PACKAGE, PROGRAM, &doing)?;
    let note = |text: &str| screen.note(&format!("guest: {text}"));
    let guest = Guest::prepare(workspace, options, &note, &doing)?;
    screen.doing("booting Linux under QEMU");
    let mut args = vec!["--on".to_owned(), Side::Linux.word().to_owned()];
    args.extend(guest_args());
    let mut tap = Tap::default();
    let mut output = String::new();
    let ended = guest.run(&program, &args, &mut |line| {
        tap.line(line);
        output.push_str(line);
        output.push('\n');
        screen.doing(format!("{} cases on Linux in the guest", tap.seen()));
        ControlFlow::Continue(())
    })?;
    let code = match ended {
        Ended::Itself(Outcome::Exit(code)) => Some(code),
        Ended::Itself(other) => {
            remark(report, &other.to_string());
            None
        }
        Ended::TimeLimit(why) => {
            remark(report, &why);
            None
        }
        Ended::Stopped => None,
    };
    add(report, Side::Linux, tap, code, &output);
    remark(report, "Linux under QEMU");
    Ok(())
}

/// Counts one side.
fn add(report: &mut Report, side: Side, tap: Tap, code: Option<i32>, output: &str) {
    let (mut counts, trouble) = tap.finish();
    if let Some(trouble) = trouble {
        remark(report, &format!("{}: {trouble}", side.word()));
    }
    if code != Some(0) && counts.failed == 0 {
        // Every case it told of was well, and it was not: it says itself why, in its output.
        counts += Counts::failure();
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        remark(report, &format!("{}: its status is {code}", side.word()));
    }
    report.counts += counts;
    report.output.push_str(side.title());
    report.output.push('\n');
    report.output.push_str(output);
}

/// Adds words to the tier's line.
fn remark(report: &mut Report, text: &str) {
    match &mut report.remark {
        Some(remark) => {
            remark.push_str("; ");
            remark.push_str(text);
        }
        None => report.remark = Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Side, Tap, add};

    /// One side's report for this output and status.
    fn report(text: &str, code: Option<i32>) -> Report {
        let mut tap = Tap::default();
        text.lines().for_each(|line| tap.line(line));
        let mut report = Report::default();
        add(&mut report, Side::Machine, tap, code, text);
        report
    }

    #[test]
    fn cases_are_counted_and_a_bad_end_is_a_failure() {
        let two = "1..2\nok 1 - a\nok 2 - b # SKIP c\n";
        for (text, code, counts, remark) in [
            (two, Some(0), "1 passed, 0 failed, 1 skipped", None),
            (
                two,
                Some(1),
                "1 passed, 1 failed, 1 skipped",
                Some("machine: its status is 1"),
            ),
            (
                two,
                None,
                "1 passed, 1 failed, 1 skipped",
                Some("machine: its status is none"),
            ),
            ("1..1\nnot ok 1 - a\n", Some(1), "0 passed, 1 failed", None),
            (
                "error: could not compile\n",
                Some(101),
                "0 passed, 1 failed",
                Some("machine: 0 tests and no plan"),
            ),
        ] {
            let report = report(text, code);
            assert_eq!(report.counts.to_string(), counts, "{text} {code:?}");
            assert_eq!(report.remark.as_deref(), remark, "{text} {code:?}");
            assert_eq!(report.output, format!("# machine\n{text}"));
        }
    }
}
