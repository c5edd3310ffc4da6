//! The rounds of a comparison, with a state in a file or in memory, and the broken kernels.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use pkeys_conformance::linux;
use pkeys_differential::compare::{Plan, State, Verdict, first_round};
use pkeys_differential::linux_side::Share;
use pkeys_differential::mutants::{Caught, Recorded, UNSEEN, catch_all, record};
use pkeys_differential::side::MachineSide;
use pkeys_kernel::mutant::{self, Mutant};

use crate::Failure;

/// One round, with what the last one left in the file.
pub(crate) fn compare(
    plan: Plan,
    file: &Path,
    mutant: Option<Mutant>,
    input: &mut dyn BufRead,
) -> Result<ExitCode, Failure> {
    mutant::set(mutant);
    let state = match fs::read_to_string(file) {
        Ok(text) => Some(State::decode(&text).ok_or_else(|| Failure {
            status: 5,
            words: format!("{} holds no state of a comparison", file.display()),
        })?),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(Failure::other(err)),
    };
    let has_state = state.is_some();
    let verdict = round(plan, state, input)?;
    if let Verdict::Need(state) = &verdict {
        fs::write(file, state.encode()).map_err(Failure::other)?;
        println!("need: {}", state.arguments(plan).join(" "));
        return Ok(ExitCode::from(4));
    }
    // The next run begins anew.
    if has_state {
        fs::remove_file(file).map_err(Failure::other)?;
    }
    Ok(conclude(plan, &verdict))
}

fn round(plan: Plan, state: Option<State>, input: &mut dyn BufRead) -> Result<Verdict, Failure> {
    let mut machine = MachineSide::default();
    let verdict = match state {
        None => first_round(plan, &mut machine, input),
        Some(state) => state.next_round(plan, &mut machine, input),
    };
    verdict.map_err(Failure::other)
}

/// Prints the end of it.
fn conclude(plan: Plan, verdict: &Verdict) -> ExitCode {
    match verdict {
        Verdict::Agreed { steps } => {
            println!(
                "Linux and the machine agree: {steps} steps, seed {}",
                plan.seed
            );
            ExitCode::SUCCESS
        }
        Verdict::Diverged(report) => {
            println!("{report}");
            ExitCode::FAILURE
        }
        Verdict::Need(_) => ExitCode::from(4),
    }
}

/// This program as the Linux side, with these arguments.
fn this_program(args: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(args).stdin(Stdio::null());
    command
}

/// This program as the Linux side of a share of the batches.
pub(crate) fn linux_command(steps: u64, seed: u64, share: Share) -> Command {
    let Share { number, of } = share;
    this_program(&[
        "linux".to_owned(),
        format!("--steps={steps}"),
        format!("--seed={seed}"),
        format!("--jobs={of}"),
        format!("--share={number}"),
    ])
}

fn linux_args(plan: Plan, jobs: u64) -> Vec<String> {
    vec![
        "linux".to_owned(),
        format!("--steps={}", plan.steps),
        format!("--seed={}", plan.seed),
        format!("--jobs={jobs}"),
    ]
}

/// A Linux side at work, which is ended when nobody reads it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the Linux side and lets `reader` have its lines.
fn with_linux<R>(
    args: &[String],
    reader: impl FnOnce(&mut dyn BufRead) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let child = this_program(args).stdout(Stdio::piped()).spawn();
    let mut running = Running(child.map_err(Failure::other)?);
    let output = running.0.stdout.take();
    let output = output.ok_or_else(|| Failure::other(io::Error::other("no pipe")))?;
    reader(&mut BufReader::new(output))
}

/// All rounds, where this Linux has keys.
pub(crate) fn run(plan: Plan, jobs: u64, mutant: Option<Mutant>) -> Result<ExitCode, Failure> {
    linux::check().map_err(Failure::no_keys)?;
    mutant::set(mutant);
    println!("seed {}, {} steps", plan.seed, plan.steps);
    let start = Instant::now();
    let mut args = linux_args(plan, jobs);
    let mut state = None;
    loop {
        let verdict = with_linux(&args, |input| round(plan, state.take(), input))?;
        let Verdict::Need(next) = verdict else {
            let seconds = start.elapsed().as_secs_f64();
            println!("{seconds:.1} seconds");
            return Ok(conclude(plan, &verdict));
        };
        args = next.arguments(plan);
        state = Some(next);
    }
}

/// Every mutant against a stream that is read to its end.
pub(crate) fn mutants(plan: Plan, input: &mut dyn BufRead) -> Result<ExitCode, Failure> {
    let recorded = record(plan, input).map_err(Failure::other)?;
    all_mutants(plan, &recorded)
}

/// Every mutant against this Linux.
pub(crate) fn run_mutants(plan: Plan, jobs: u64) -> Result<ExitCode, Failure> {
    linux::check().map_err(Failure::no_keys)?;
    let recorded = with_linux(&linux_args(plan, jobs), |input| {
        record(plan, input).map_err(Failure::other)
    })?;
    all_mutants(plan, &recorded)
}

fn all_mutants(plan: Plan, recorded: &Recorded) -> Result<ExitCode, Failure> {
    let (mut nr_caught, mut nr_missed) = (0, 0);
    let mut each = |mutant: Mutant, caught: Caught| {
        println!("{mutant:?}: {caught}");
        match caught {
            Caught::Step { .. } => nr_caught += 1,
            Caught::Not => nr_missed += 1,
        }
    };
    catch_all(plan, recorded, &mut MachineSide::default(), &mut each).map_err(Failure::other)?;
    for (mutant, reason) in UNSEEN {
        println!("{mutant:?}: not for this test: {reason}");
    }
    let Plan { seed, steps } = plan;
    println!("{nr_caught} broken kernels caught, {nr_missed} not: {steps} steps, seed {seed}");
    Ok(if nr_missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
