//! `cargo xtask differential`: random programs on Linux and on our kernel, which have to agree.
//!
//! The program `differential` (`differential/`) does the work. On a machine with keys it runs both sides itself. Without,
//! its Linux side runs in the guest, its comparing side here, and [`rounds`] carries the lines between them.
//!
//! [`mod@tier`] is the same for `cargo xtask test`: one test, the verdict.

mod rounds;
mod tier;

pub(crate) use tier::tier;

use crate::guest::{self, Ended, Guest};
use crate::workspace::Workspace;
use crate::{artifacts, keys};
use anyhow::{Context, Result, bail};
use core::ops::ControlFlow;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rounds::{Sides, Verdict};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{self, Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

/// The package.
const PACKAGE: &str = "pkeys-differential";

/// Its program.
const PROGRAM: &str = "differential";

/// The number of steps where none is given.
const DEFAULT_STEPS: &str = "1000000";

/// Run random programs on Linux and on our kernel, which have to agree.
///
/// Where this machine has no usable keys, Linux is the one in the guest. Exit status: 0 when they agree, 1 when they do
/// not, and then the shortest program that shows it is printed, 3 where Linux has no usable keys, 5 when nothing can be
/// said.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask differential
  cargo xtask differential --steps 10000000 --seed 7 --time-limit 7200
  cargo xtask differential --twice")]
pub(crate) struct Args {
    #[command(flatten)]
    length: Length,
    /// Where the programs start; without it a new one each time, which is printed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Break this rule in our kernel: the comparison has to notice
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Instead, break one rule after the other: the comparison has to notice each
    #[arg(long, conflicts_with = "mutant")]
    all_mutants: bool,
    /// Instead, compare Linux with itself: what differs there cannot be compared
    #[arg(long, conflicts_with_all = ["mutant", "all_mutants", "jobs"])]
    twice: bool,
    /// Linux in so many processes side by side
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: Option<u64>,
    /// Run the Linux side in the guest whatever this machine has
    #[arg(long)]
    in_guest: bool,
    #[command(flatten)]
    guest: guest::Options,
}

/// How much to compare.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Length {
    /// Steps of random programs to compare
    #[arg(
        long,
        value_name = "N",
        env = "PKEYS_DIFFERENTIAL_STEPS",
        default_value = DEFAULT_STEPS,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    steps: u64,
}

/// What to do, and with which programs.
#[derive(Clone, Debug)]
struct Work {
    what: What,
    steps: u64,
    seed: u64,
    jobs: Option<u64>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Compare, with a rule of our kernel broken or with none.
    Compare(Option<String>),
    /// Compare each broken kernel.
    AllMutants,
    /// Compare Linux with itself.
    Twice,
}

impl Work {
    /// A subcommand of the program, with what all of them take.
    fn args(&self, subcommand: &str) -> Vec<String> {
        let mut args = vec![subcommand.to_owned()];
        args.extend(["--steps".to_owned(), self.steps.to_string()]);
        args.extend(["--seed".to_owned(), self.seed.to_string()]);
        args
    }

    /// The same for one that runs Linux.
    fn linux_args(&self, subcommand: &str) -> Vec<String> {
        let mut args = self.args(subcommand);
        if let Some(jobs) = self.jobs {
            args.extend(["--jobs".to_owned(), jobs.to_string()]);
        }
        args
    }

    /// Everything on this machine.
    fn here(&self) -> Vec<String> {
        match &self.what {
            What::Compare(mutant) => [self.linux_args("run"), mutant_args(mutant)].concat(),
            What::AllMutants => self.linux_args("run-mutants"),
            What::Twice => self.linux_args("twice"),
        }
    }

    /// What reads the Linux side's stream, with a file for what it has to know in the next round; `None` where Linux is
    /// alone.
    fn comparing(&self, state: &Path) -> Option<Vec<String>> {
        match &self.what {
            What::Compare(mutant) => {
                let state = ["--state".to_owned(), state.display().to_string()];
                Some([self.args("compare"), state.to_vec(), mutant_args(mutant)].concat())
            }
            What::AllMutants => Some(self.args("mutants")),
            What::Twice => None,
        }
    }
}

/// The arguments that name a broken rule.
fn mutant_args(mutant: &Option<String>) -> Vec<String> {
    let name = mutant.iter().cloned();
    name.flat_map(|name| ["--mutant".to_owned(), name])
        .collect()
}

impl Args {
    /// What is asked for.
    fn work(&self) -> Work {
        let what = match (self.twice, self.all_mutants) {
            (true, _) => What::Twice,
            (_, true) => What::AllMutants,
            _ => What::Compare(self.mutant.clone()),
        };
        Work {
            what,
            steps: self.length.steps,
            seed: self.seed.unwrap_or_else(new_seed),
            jobs: self.jobs,
        }
    }
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let work = args.work();
    if !args.in_guest && keys::probe().is_ok() {
        let status = here(&workspace, &work.here()).status();
        let status = status.context("cargo run")?;
        return match status.code() {
            Some(code) => Ok(ExitCode::from(u8::try_from(code)?)),
            None => bail!("{PROGRAM} ended with {status}"),
        };
    }
    println!("seed {}, {} steps", work.seed, work.steps);
    let bar = progress(work.steps);
    let shown = Shown {
        note: &|text| bar.suspend(|| guest::say(text)),
        doing: &|what| bar.set_message(what.to_owned()),
        steps: &|steps| bar.set_position(steps),
    };
    let mut said = |line: &str| bar.suspend(|| println!("{line}"));
    let verdict = in_guest(&workspace, &args.guest, &work, &shown, &mut said);
    bar.finish_and_clear();
    match verdict? {
        Verdict::Agree => Ok(ExitCode::SUCCESS),
        Verdict::Diverged => Ok(ExitCode::FAILURE),
        Verdict::Nothing(status) => Ok(ExitCode::from(u8::try_from(status)?)),
        Verdict::NoLinux(ended) => guest::status(&ended),
    }
}

/// The command that builds and runs the program on this machine.
fn here(workspace: &Workspace, args: &[String]) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--release", "--package", PACKAGE]);
    cargo.args(["--bin", PROGRAM, "--"]).args(args);
    cargo
}

/// Where progress of the guest's run is shown.
struct Shown<'a> {
    /// A line that stays.
    note: &'a dyn Fn(&str),
    /// What is being done.
    doing: &'a dyn Fn(&str),
    /// How many steps are done.
    steps: &'a dyn Fn(u64),
}

/// Runs the Linux side in the guest and compares here.
fn in_guest(
    workspace: &Workspace,
    options: &guest::Options,
    work: &Work,
    shown: &Shown<'_>,
    said: &mut dyn FnMut(&str),
) -> Result<Verdict> {
    let program = guest::build_program(workspace, PACKAGE, PROGRAM, shown.doing)?;
    let guest = Guest::prepare(workspace, options, shown.note, shown.doing)?.with_one_cpu();
    let mut nr_rounds = 0;
    let mut linux = |args: &[String], on_line: rounds::OnLine<'_>| -> Result<Ended> {
        nr_rounds += 1;
        (shown.doing)(&format!("Linux under QEMU, round {nr_rounds}"));
        guest.run(&program, args, on_line)
    };
    let state = workspace
        .guest_dir()
        .join(format!("differential-{}.state", process::id()));
    let Some(comparing) = work.comparing(&state) else {
        let ended = linux(&work.linux_args("twice"), &mut |line| {
            said(line);
            ControlFlow::Continue(())
        })?;
        return Ok(Verdict::of_linux(ended));
    };
    let here = artifacts::program(workspace.cargo(), PACKAGE, PROGRAM, shown.doing)?;
    let verdict = Sides {
        linux: &mut linux,
        compare: &|| {
            let mut command = Command::new(&here);
            command.args(&comparing);
            command
        },
        said,
        steps: &mut |steps| (shown.steps)(steps),
    }
    .settle(work.linux_args("linux"));
    // There where the rounds broke off.
    if state.exists() {
        fs::remove_file(&state).with_context(|| state.display().to_string())?;
    }
    verdict
}

/// A bar on a terminal, nothing in a pipe.
fn progress(steps: u64) -> ProgressBar {
    if !io::stdout().is_terminal() || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {human_pos} of {human_len} steps {elapsed} {msg}")
    {
        bar.set_style(style);
    }
    bar
}

/// A seed that was not used before; whoever wants it again finds it printed.
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::{Parser, error::ErrorKind};
    use std::path::Path;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, ErrorKind> {
        let words = ["differential"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words)
            .map(|cli| cli.args)
            .map_err(|err| err.kind())
    }

    /// The words of a list of arguments.
    fn words(args: Option<Vec<String>>) -> String {
        args.map_or_else(|| "none".to_owned(), |args| args.join(" "))
    }

    #[test]
    fn the_program_gets_its_arguments() {
        let all = "--steps 50 --seed 7";
        for (line, here, linux, comparing) in [
            (
                "",
                format!("run {all}"),
                format!("linux {all}"),
                format!("compare {all} --state /s"),
            ),
            (
                "--mutant m --jobs 2",
                format!("run {all} --jobs 2 --mutant m"),
                format!("linux {all} --jobs 2"),
                format!("compare {all} --state /s --mutant m"),
            ),
            (
                "--all-mutants",
                format!("run-mutants {all}"),
                format!("linux {all}"),
                format!("mutants {all}"),
            ),
            (
                "--twice",
                format!("twice {all}"),
                format!("linux {all}"),
                "none".to_owned(),
            ),
        ] {
            let work = parse(&format!("{all} {line}")).unwrap().work();
            assert_eq!(work.here().join(" "), here);
            assert_eq!(work.linux_args("linux").join(" "), linux);
            assert_eq!(words(work.comparing(Path::new("/s"))), comparing);
        }
    }

    #[test]
    fn steps_have_a_default_and_seeds_are_new() {
        let work = parse("").unwrap().work();
        assert_eq!(work.steps, 1_000_000);
        assert_ne!(work.seed, 1, "the tier's seed is not a new one");
    }

    #[test]
    fn bad_arguments_are_refused() {
        for (line, kind) in [
            ("--steps 0", ErrorKind::ValueValidation),
            ("--steps many", ErrorKind::ValueValidation),
            ("--seed -1", ErrorKind::UnknownArgument),
            ("--jobs 0", ErrorKind::ValueValidation),
            ("--twice --mutant m", ErrorKind::ArgumentConflict),
            ("--all-mutants --mutant m", ErrorKind::ArgumentConflict),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
    }
}
