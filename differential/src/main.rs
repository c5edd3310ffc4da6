//! Runs random programs on both kernels.
//!
//! Two sides that may be on two machines: Linux with keys, perhaps in a guest, and the kernel library on its software
//! machine. `linux` prints lines ([`pkeys_differential::protocol`]), `compare` reads them:
//!
//! ```text
//! differential linux --steps N --seed S  |  differential compare --steps N --seed S --state FILE
//! ```
//!
//! `compare` ends with a status:
//!
//! | status | meaning |
//! |---|---|
//! | 0 | all agreed; the totals are printed |
//! | 1 | they differ; the shrunk program and both answers are printed |
//! | 2 | bad arguments |
//! | 3 | no usable keys here (`linux`, `run`, `twice`, `run-mutants`) |
//! | 4 | the Linux side is needed once more: the last line is `need: ARGUMENTS`; run `differential ARGUMENTS` there, and its output through `compare` with the same arguments and the same file as before |
//! | 5 | nothing can be said: the stream broke off, or something is not determined |
//!
//! Whoever drives this repeats it until the status is not 4. `run` does all of it where keys are native.

mod driver;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use pkeys_conformance::linux::{self, LinuxSystem};
use pkeys_conformance::system::System;
use pkeys_differential::compare::Plan;
use pkeys_differential::exclusions::EXCLUSIONS;
use pkeys_differential::generate::Rules;
use pkeys_differential::kept::Kept;
use pkeys_differential::linux_side::{self, Share};
use pkeys_differential::masks::{self, MASKS};
use pkeys_differential::side::Side;
use pkeys_differential::twice::{Twice, twice};
use pkeys_kernel::mutant::Mutant;

/// Random programs on Linux and on the kernel library.
#[derive(Debug, Parser)]
#[command(name = "differential", max_term_width = 80)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the programs on this Linux, and print a line for each batch
    Linux(LinuxArgs),
    /// Run them on the machine, and compare with the lines of `linux` on standard input
    Compare(CompareArgs),
    /// Do both, where this Linux has keys
    Run(RunArgs),
    /// Run them on this Linux twice, and compare
    Twice(PlanArgs),
    /// Run broken kernels, and compare with the lines of `linux` on standard input
    Mutants(PlanArgs),
    /// Run broken kernels, and compare with this Linux
    RunMutants(RunArgs),
    /// Say what is not compared, and what is not generated
    Limits,
}

#[derive(Debug, Clone, Copy, Args)]
struct PlanArgs {
    /// How many steps, at least
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// The seed of all programs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct LinuxArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// In so many processes at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Only every so manyth batch, from this on
    #[arg(long, hide = true)]
    share: Option<u64>,
    /// Instead: the steps of this batch, one by one
    #[arg(long, value_name = "BATCH", requires = "keep")]
    detail: Option<u64>,
    /// Which of its steps, as 0-31+40; several programs, with commas between them
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = Kept::decode)]
    keep: Vec<Kept>,
    /// With all that was seen
    #[arg(long)]
    facts: bool,
}

#[derive(Debug, Args)]
struct CompareArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Where to keep what is known between two rounds
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Break the kernel first
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Linux in so many processes at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Break the kernel first
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
}

/// The mutant of this name.
fn mutant(name: &str) -> Result<Mutant, String> {
    let all = Mutant::ALL.iter().copied();
    let names = || {
        all.clone()
            .map(|mutant| format!("{mutant:?}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let found = all
        .clone()
        .find(|mutant| format!("{mutant:?}").eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("there are: {}", names()))
}

impl From<PlanArgs> for Plan {
    fn from(args: PlanArgs) -> Self {
        Self {
            seed: args.seed,
            steps: args.steps,
        }
    }
}

fn main() -> ExitCode {
    // First of all: this process may be somebody's peer.
    linux::begin();
    let result = match Cli::parse().command {
        Command::Linux(args) => linux(&args),
        Command::Compare(args) => {
            let mut input = io::stdin().lock();
            driver::compare(args.plan.into(), &args.state, args.mutant, &mut input)
        }
        Command::Run(args) => driver::run(args.plan.into(), args.jobs, args.mutant),
        Command::Twice(args) => run_twice(args.into()),
        Command::Mutants(args) => driver::mutants(args.into(), &mut io::stdin().lock()),
        Command::RunMutants(args) => driver::run_mutants(args.plan.into(), args.jobs),
        Command::Limits => Ok(limits()),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("differential: {}", failure.words);
        ExitCode::from(failure.status)
    })
}

/// Why there is nothing to be said.
#[derive(Debug)]
struct Failure {
    status: u8,
    words: String,
}

impl Failure {
    /// For want of keys.
    fn no_keys(words: impl core::fmt::Display) -> Self {
        Self {
            status: 3,
            words: format!("no usable keys here: {words}"),
        }
    }

    /// For any other reason.
    fn other(err: impl core::error::Error) -> Self {
        let mut words = err.to_string();
        let mut source = err.source();
        while let Some(err) = source {
            words = format!("{words}: {err}");
            source = err.source();
        }
        Self { status: 5, words }
    }
}

/// This Linux, if it has keys.
fn enter() -> Result<LinuxSystem, Failure> {
    linux::check().map_err(Failure::no_keys)?;
    LinuxSystem::enter().map_err(Failure::no_keys)
}

fn linux(args: &LinuxArgs) -> Result<ExitCode, Failure> {
    let PlanArgs { steps, seed } = args.plan;
    let mut out = io::stdout().lock();
    let done = if let Some(batch) = args.detail {
        linux_side::details(&mut enter()?, seed, batch, &args.keep, args.facts, &mut out)
    } else if let Some(number) = args.share {
        let share = Share {
            number,
            of: args.jobs,
        };
        linux_side::stream(&mut enter()?, seed, steps, share, &mut out)
    } else if args.jobs == 1 {
        linux_side::stream(&mut enter()?, seed, steps, Share::ALL, &mut out)
    } else {
        linux::check().map_err(Failure::no_keys)?;
        let command = |share: Share| driver::linux_command(steps, seed, share);
        linux_side::stream_in_shares(&command, steps, args.jobs, &mut out)
    };
    done.map_err(Failure::other)?;
    Ok(ExitCode::SUCCESS)
}

/// This Linux as a side: one root for everything.
struct LinuxSide(LinuxSystem);

impl Side for LinuxSide {
    fn with_root(&mut self, body: &mut dyn FnMut(&mut dyn System)) -> Result<(), String> {
        body(&mut self.0);
        Ok(())
    }
}

fn run_twice(plan: Plan) -> Result<ExitCode, Failure> {
    masks::turn_off();
    let mut side = LinuxSide(enter()?);
    let (major, minor) = linux_side::version(&side.0);
    let rules = Rules::for_linux(major, minor);
    let result = twice(plan, rules, &mut side).map_err(Failure::other)?;
    let firings = match result {
        Twice::Explained(firings) => firings,
        Twice::Unexplained(report) => {
            println!(
                "Two runs on Linux differ, the first and the second; no mask hides it.\n{report}"
            );
            return Ok(ExitCode::FAILURE);
        }
    };
    for (mask, count) in firings.counts() {
        println!("mask {:?} was needed {count} times", mask.name);
    }
    let mut has_idle = false;
    for mask in firings.idle() {
        has_idle = true;
        println!(
            "mask {:?} hides nothing that differs on Linux: remove it",
            mask.name
        );
    }
    let Plan { seed, steps } = plan;
    println!("Linux {major}.{minor} agrees with itself: {steps} steps, seed {seed}");
    Ok(if has_idle {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn limits() -> ExitCode {
    let mut out = io::stdout().lock();
    // Nobody is told when the reader has gone.
    let _ = writeln!(out, "Not compared:");
    for mask in MASKS {
        let _ = writeln!(out, "  {}: {}", mask.name, mask.reason);
    }
    if MASKS.is_empty() {
        let _ = writeln!(out, "  nothing is left out");
    }
    let _ = writeln!(out, "Not generated:");
    for exclusion in EXCLUSIONS {
        let (what, reason, caught) = (exclusion.what, exclusion.reason, exclusion.caught);
        let _ = writeln!(out, "  {what}: {reason} (still caught: {caught:?})");
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn mutants_are_named() {
        use pkeys_kernel::mutant::Mutant;
        for mutant in Mutant::ALL {
            assert_eq!(super::mutant(&format!("{mutant:?}")), Ok(*mutant));
        }
        assert!(
            super::mutant("Nobody")
                .unwrap_err()
                .contains("FetchIsChecked")
        );
    }
}
