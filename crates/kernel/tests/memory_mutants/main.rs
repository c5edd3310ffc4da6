//! Every broken rule of the memory part is noticed by a check of `tests/memory/`.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test, with numbers that it chose itself"
)]

#[path = "../memory/checks/mod.rs"]
mod checks;
#[macro_use]
#[path = "../common/mutants.rs"]
mod mutants;

use mutants::{Check, assert_noticed, assert_pass, of_folders};
use pkeys_kernel::mutant::Mutant;

const CHECKS: &[Check] = checks::each_check!(as_list);

#[test]
fn each_broken_rule_is_noticed() {
    let ours = of_folders(Mutant::ALL, &["memory"]);
    assert!(ours.len() >= 6, "only {ours:?} are in the memory part");
    assert_noticed(&ours, CHECKS);
    assert_pass(CHECKS);
}
