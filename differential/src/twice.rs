//! Linux against Linux: what differs here cannot be asked of our kernel, and nothing else may be masked.

use crate::compare::{Broken, Plan, run_all};
use crate::generate::{Rules, batch};
use crate::linux_side::nr_batches;
use crate::masks::{Firings, MASKS};
use crate::op::Op;
use crate::report::Report;
use crate::side::{Side, batch_hash};

/// What came of it.
#[derive(Debug)]
pub enum Twice {
    /// Each difference is one that a mask hides; how often each mask was needed.
    Explained(Firings),
    /// A difference that no mask hides; the second run stands in the machine's place.
    Unexplained(Box<Report>),
}

/// Runs each batch twice, masks off, and looks for differences.
///
/// # Errors
///
/// [`Broken::Root`].
pub fn twice(plan: Plan, rules: Rules, side: &mut dyn Side) -> Result<Twice, Broken> {
    let mut firings = Firings::new(MASKS);
    for number in 0..nr_batches(plan.steps) {
        let mut hashes = [0; 2];
        side.with_root(&mut |root| {
            hashes = [(); 2].map(|()| batch_hash(root, plan.seed, number, rules));
        })
        .map_err(Broken::Root)?;
        if hashes[0] == hashes[1] {
            continue;
        }
        let ops: Vec<Op> = batch(plan.seed, number, rules).collect();
        let (one, other) = (run_all(side, &ops, true)?, run_all(side, &ops, true)?);
        for (place, (first, second)) in one.iter().zip(&other).enumerate() {
            if firings.explain(&first.facts, &second.facts).is_err() {
                let report = Report {
                    seed: plan.seed,
                    batch: number,
                    ops: ops[..=place].to_vec(),
                    place,
                    linux: one,
                    machine: other,
                };
                return Ok(Twice::Unexplained(Box::new(report)));
            }
        }
    }
    Ok(Twice::Explained(firings))
}
