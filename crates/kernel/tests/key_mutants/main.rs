//! Every broken rule of the key parts is noticed by a check of `tests/keys/`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../keys/checks/mod.rs"]
mod checks;
#[macro_use]
#[path = "../common/mutants.rs"]
mod mutants;

use mutants::{Check, assert_noticed, assert_pass, of_folders};
use pkeys_kernel::mutant::Mutant;

const CHECKS: &[Check] = checks::each_check!(as_list);

#[test]
fn each_broken_rule_is_noticed() {
    let ours = of_folders(Mutant::ALL, &["keys"]);
    assert!(ours.len() >= 16, "only {ours:?} are in the key parts");
    assert_noticed(&ours, CHECKS);
    assert_pass(CHECKS);
}
