//! Every broken kernel is told from the unbroken one by the random programs.
//!
//! The unbroken kernel answers in Linux's place here, so that this runs on any machine. It says the same as against Linux:
//! `cargo xtask differential` compares the unbroken kernel's hashes with Linux's for the same seeds, and a broken kernel
//! whose hashes differ from the one differs from the other.
//!
//! All in one test: which rule is broken is a setting of the whole process.

use pkeys_differential::compare::Plan;
use pkeys_differential::mutants::{Caught, UNSEEN, catch, catch_all, record_unbroken};
use pkeys_differential::side::MachineSide;
use pkeys_kernel::mutant::Mutant;

/// Within so many steps each has to be caught.
const PLAN: Plan = Plan {
    seed: 1,
    steps: 32_000,
};

#[test]
fn every_broken_kernel_is_caught() {
    let mut side = MachineSide::default();
    let recorded = record_unbroken(PLAN, &mut side).unwrap();
    let mut missed = Vec::new();
    let mut nr_caught = 0;
    let mut each = |mutant: Mutant, caught: Caught| {
        println!("{mutant:?}: {caught}");
        match caught {
            Caught::Step { .. } => nr_caught += 1,
            Caught::Not => missed.push(mutant),
        }
    };
    catch_all(PLAN, &recorded, &mut side, &mut each).unwrap();
    assert!(
        missed.is_empty(),
        "not caught in {} steps: {missed:?}",
        PLAN.steps
    );
    assert_eq!(nr_caught + UNSEEN.len(), Mutant::ALL.len());
    for (mutant, _) in UNSEEN {
        let caught = catch(*mutant, PLAN, &recorded, &mut side).unwrap();
        assert_eq!(caught, Caught::Not, "{mutant:?} can be seen after all");
    }
}
