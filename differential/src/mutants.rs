//! Broken kernels, which the same programs have to tell from Linux.
//!
//! A recorded stream of Linux's hashes is enough for all of them: Linux need not run again for each. Where a mutant's
//! hash is another one, the step is found by running that batch on the unbroken kernel as well, whose hash must be
//! Linux's, so that it answers for Linux there. Where there is no Linux with keys at all, the unbroken kernel's own
//! hashes are the stream. That says the same, as long as the comparison of the unbroken kernel with Linux says that they
//! agree; and that is what the rest of this crate is for.

use core::fmt;
use core::panic::AssertUnwindSafe;
use std::io::BufRead;
use std::panic::{self, catch_unwind};

use pkeys_kernel::mutant::{self, Mutant};

use crate::compare::{Plan, first_difference, run_all};
use crate::detail::before_breaking_down;
use crate::generate::{BATCH_STEPS, Rules, batch};
use crate::linux_side::nr_batches;
use crate::op::Op;
use crate::reader::{BatchHash, Broken, read_stream};
use crate::side::{Side, batch_hash};

/// Mutants that no program in lock step can tell from the kernel, and why.
pub const UNSEEN: &[(Mutant, &str)] = &[(
    Mutant::MapReadTwice,
    "it differs only while another CPU changes the map between the two reads; here one step follows another",
)];

/// What Linux, or whoever answers for it, gave for each batch.
#[derive(Debug)]
pub struct Recorded {
    /// What was generated.
    pub rules: Rules,
    /// A hash for each batch, in order.
    pub hashes: Vec<u64>,
}

/// Reads a whole stream.
///
/// # Errors
///
/// [`Broken`].
pub fn record(plan: Plan, input: &mut dyn BufRead) -> Result<Recorded, Broken> {
    let mut recorded = Recorded {
        rules: Rules::ALL,
        hashes: Vec::new(),
    };
    read_stream(plan, input, &mut |rules, BatchHash { hash, .. }| {
        recorded.rules = rules;
        recorded.hashes.push(hash);
        true
    })?;
    Ok(recorded)
}

/// What the unbroken kernel gives, in Linux's place.
///
/// # Errors
///
/// [`Broken::Root`].
pub fn record_unbroken(plan: Plan, side: &mut dyn Side) -> Result<Recorded, Broken> {
    mutant::set(None);
    let rules = Rules::ALL;
    let hashes = (0..nr_batches(plan.steps))
        .map(|number| hash(side, plan.seed, number, rules))
        .collect::<Result<_, _>>()?;
    Ok(Recorded { rules, hashes })
}

fn hash(side: &mut dyn Side, seed: u64, number: u64, rules: Rules) -> Result<u64, Broken> {
    let mut hash = 0;
    side.with_root(&mut |root| hash = batch_hash(root, seed, number, rules))
        .map_err(Broken::Root)?;
    Ok(hash)
}

/// How a mutant was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// By this step, counted over all batches from 1.
    Step {
        /// The number.
        number: u64,
        /// The step.
        op: Op,
        /// Whether the kernel or the machine broke down on it, instead of giving a wrong answer.
        has_broken_down: bool,
    },
    /// Not at all.
    Not,
}

/// Runs a broken kernel along the record.
///
/// # Errors
///
/// [`Broken`]: also if the unbroken kernel does not give what was recorded, in which case the comparison with Linux comes
/// first.
pub fn catch(
    mutant: Mutant,
    plan: Plan,
    recorded: &Recorded,
    side: &mut dyn Side,
) -> Result<Caught, Broken> {
    // A broken kernel may break down, which is as good as a wrong answer and needs no words.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = catch_broken(mutant, plan, recorded, side);
    panic::set_hook(hook);
    mutant::set(None);
    result
}

fn catch_broken(
    mutant: Mutant,
    plan: Plan,
    recorded: &Recorded,
    side: &mut dyn Side,
) -> Result<Caught, Broken> {
    for (number, expected) in (0..).zip(&recorded.hashes) {
        mutant::set(Some(mutant));
        let run = || hash(side, plan.seed, number, recorded.rules);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(hash)) if hash == *expected => {}
            _ => return step(mutant, plan, recorded.rules, number, *expected, side),
        }
    }
    Ok(Caught::Not)
}

/// The step of a batch that gives a mutant away.
fn step(
    mutant: Mutant,
    plan: Plan,
    rules: Rules,
    number: u64,
    expected: u64,
    side: &mut dyn Side,
) -> Result<Caught, Broken> {
    let ops: Vec<Op> = batch(plan.seed, number, rules).collect();
    mutant::set(None);
    if hash(side, plan.seed, number, rules)? != expected {
        return Err(Broken::Unsteady { batch: number });
    }
    let right = run_all(side, &ops, false)?;
    mutant::set(Some(mutant));
    let ran = catch_unwind(AssertUnwindSafe(|| run_all(side, &ops, false)));
    let (wrong, has_ended) = match ran {
        Ok(Ok(steps)) => (steps, true),
        // The step on which it broke down is not among them, so that the sides differ there at the latest.
        Ok(Err(_)) | Err(_) => (before_breaking_down(), false),
    };
    let place = first_difference(&right, &wrong).ok_or(Broken::Unsteady { batch: number })?;
    let op = ops.get(place).ok_or(Broken::Unsteady { batch: number })?;
    let before = number * u64::from(BATCH_STEPS);
    Ok(Caught::Step {
        number: before + u64::try_from(place).unwrap_or(0) + 1,
        op: *op,
        has_broken_down: !has_ended && place == wrong.len(),
    })
}

/// Breaks every rule in turn that a program in lock step can see, and tells `each` how it was caught.
///
/// # Errors
///
/// [`Broken`].
pub fn catch_all(
    plan: Plan,
    recorded: &Recorded,
    side: &mut dyn Side,
    each: &mut dyn FnMut(Mutant, Caught),
) -> Result<(), Broken> {
    let is_seen = |mutant: &&Mutant| UNSEEN.iter().all(|(unseen, _)| unseen != *mutant);
    for mutant in Mutant::ALL.iter().filter(is_seen) {
        each(*mutant, catch(*mutant, plan, recorded, side)?);
    }
    Ok(())
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step {
                number,
                op,
                has_broken_down,
            } => {
                let how = if *has_broken_down {
                    "broke down in"
                } else {
                    "caught by"
                };
                write!(f, "{how} step {number}, {}", op.code())
            }
            Self::Not => f.write_str("not caught"),
        }
    }
}
