//! Linux against Linux: what differs here cannot be asked of our kernel, and nothing else may be masked.

use crate::compare::Plan;
use crate::detail;
use crate::generate::{Rules, batch};
use crate::linux_side::nr_batches;
use crate::masks::{Firings, MASKS};
use crate::op::Op;
use crate::reader::Broken;
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
        let mut told = [Vec::new(), Vec::new()];
        side.with_root(&mut |root| {
            for steps in &mut told {
                detail::run(root, &ops, true, &mut |step| {
                    steps.push(step);
                    true
                });
            }
        })
        .map_err(Broken::Root)?;
        let [one, other] = told;
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

#[cfg(test)]
mod tests {
    use super::{Twice, twice};
    use crate::compare::Plan;
    use crate::fake::{FakeSide, Fault};
    use crate::generate::Rules;

    const PLAN: Plan = Plan {
        seed: 4,
        steps: 10_000,
    };

    #[test]
    fn a_steady_side_needs_no_mask() {
        for fault in [Fault::None, Fault::DropsKey] {
            let result = twice(PLAN, Rules::ALL, &mut FakeSide(fault)).unwrap();
            let Twice::Explained(firings) = result else {
                panic!("{result:?}");
            };
            assert_eq!(firings.idle().count(), firings.counts().count());
        }
    }

    #[test]
    fn an_unsteady_side_is_found_out() {
        let result = twice(PLAN, Rules::ALL, &mut FakeSide(Fault::EverySecond)).unwrap();
        let Twice::Unexplained(report) = result else {
            panic!("{result:?}");
        };
        let (one, other) = (&report.linux, &report.machine);
        assert_ne!(one[report.place].facts, other[report.place].facts);
        assert_eq!(report.place, report.ops.len() - 1);
    }
}
