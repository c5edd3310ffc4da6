//! Every broken rule of signals and threads is noticed by a check of `tests/kernel/`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../kernel/checks/mod.rs"]
mod checks;
#[macro_use]
#[path = "../common/mutants.rs"]
mod mutants;

use mutants::{Check, assert_noticed, assert_pass, of_folders};
use pkeys_kernel::mutant::Mutant;

const CHECKS: &[Check] = checks::each_check!(as_list);

/// Rules of the key parts that a thread's life brings to light.
const OF_THREADS: [Mutant; 3] = [
    Mutant::ExecKeepsPkru,
    Mutant::CloneResetsPkru,
    Mutant::ForkForgetsKeys,
];

#[test]
fn each_broken_rule_is_noticed() {
    let folders = ["signal", "task", "ptrace", "syscall", "files"];
    let mut ours = of_folders(Mutant::ALL, &folders);
    ours.retain(|mutant| !OF_THREADS.contains(mutant));
    ours.extend(OF_THREADS);
    assert!(ours.len() >= 6, "only {ours:?} are in these parts");
    assert_noticed(&ours, CHECKS);
    assert_pass(CHECKS);
}
