//! The tier `differential` of `cargo xtask test`: one test, the verdict.

use super::rounds::Verdict;
use super::{Length, Shown, What, Work, here, in_guest};
use crate::capture;
use crate::guest::{self, Ended};
use crate::test::Report;
use crate::test::results::Counts;
use crate::test::screen::Screen;
use crate::workspace::Workspace;
use anyhow::{Context, Result};

/// The seed: one that stays, so that what has passed passes again. `cargo xtask differential` looks elsewhere.
const SEED: u64 = 1;

/// Runs it.
pub(crate) fn tier(
    workspace: &Workspace,
    options: &guest::Options,
    length: Length,
    is_in_guest: bool,
    screen: &Screen,
) -> Result<Report> {
    let work = Work {
        what: What::Compare(None),
        steps: length.steps,
        seed: SEED,
        jobs: None,
    };
    let mut output = String::new();
    let (counts, place) = if is_in_guest {
        let shown = Shown {
            note: &|text| screen.note(&format!("guest: {text}")),
            doing: &|what| screen.doing(what),
            steps: &|steps| screen.doing(format!("{steps} of {} steps", length.steps)),
        };
        let mut said = |line: &str| {
            output.push_str(line);
            output.push('\n');
        };
        let verdict = in_guest(workspace, options, &work, &shown, &mut said)?;
        (judge(verdict, &mut output), ", Linux under QEMU")
    } else {
        let cargo = here(workspace, &work.here());
        let done =
            capture::run(cargo, None, &mut |line| screen.doing(line.trim())).context("cargo")?;
        output = done.output.clone();
        let counts = if done.is_success() {
            Counts::pass()
        } else {
            Counts::failure()
        };
        (counts, "")
    };
    Ok(Report {
        counts,
        remark: Some(format!("{} steps, seed {SEED}{place}", length.steps)),
        output,
    })
}

/// The tier's count for a verdict; adds the reason where the programs have not printed it.
fn judge(verdict: Verdict, output: &mut String) -> Counts {
    match verdict {
        Verdict::Agree => return Counts::pass(),
        Verdict::Diverged => {}
        Verdict::Nothing(status) => {
            output.push_str(&format!("the comparing side ended with status {status}\n"));
        }
        Verdict::NoLinux(Ended::Itself(outcome)) => {
            output.push_str(&format!("the Linux side ended: {outcome}\n"));
        }
        Verdict::NoLinux(Ended::TimeLimit(why)) => output.push_str(&format!("{why}\n")),
        Verdict::NoLinux(Ended::Stopped) => output.push_str("the Linux side was stopped\n"),
    }
    Counts::failure()
}

#[cfg(test)]
mod tests {
    use super::{Counts, Ended, Verdict, judge};
    use guest_init::events::Outcome;

    #[test]
    fn only_agreement_is_a_pass() {
        let cases = [
            (Verdict::Agree, Counts::pass(), ""),
            (Verdict::Diverged, Counts::failure(), ""),
            (
                Verdict::Nothing(5),
                Counts::failure(),
                "the comparing side ended with status 5\n",
            ),
            (
                Verdict::NoLinux(Ended::Itself(Outcome::Exit(3))),
                Counts::failure(),
                "the Linux side ended: exit 3\n",
            ),
            (
                Verdict::NoLinux(Ended::TimeLimit("late".into())),
                Counts::failure(),
                "late\n",
            ),
        ];
        for (verdict, counts, said) in cases {
            let name = format!("{verdict:?}");
            let mut output = String::new();
            assert_eq!(judge(verdict, &mut output), counts, "{name}");
            assert_eq!(output, said, "{name}");
        }
    }
}
