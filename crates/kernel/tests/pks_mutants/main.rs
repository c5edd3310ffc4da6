//! Every broken rule of supervisor keys is noticed by a check of `tests/pks/`.
//!
//! Among the rules are the protocols that earlier kernels had: the cache written first, the register written first, the
//! thread's rights left in place while its exception is handled, a new thread with its creator's rights.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../pks/checks/mod.rs"]
mod checks;
#[macro_use]
#[path = "../common/mutants.rs"]
mod mutants;

use mutants::{Check, assert_noticed, assert_pass, of_folders};
use pkeys_kernel::mutant::Mutant;

const CHECKS: &[Check] = checks::each_check!(as_list);

/// Faulty protocols, which the interleavings by themselves have to find.
const PROTOCOLS: [Mutant; 6] = [
    Mutant::PksCacheFirst,
    Mutant::PksRegisterFirst,
    Mutant::PksContextKept,
    Mutant::PksContextInherited,
    Mutant::PksLoadsOnce,
    Mutant::PksCacheRevalidated,
];

#[test]
fn each_broken_rule_is_noticed() {
    let ours = of_folders(Mutant::PKS, &["pks"]);
    assert!(ours.len() >= 25, "only {ours:?} are in the protocol");
    let (protocols, others): (Vec<_>, Vec<_>) = ours
        .into_iter()
        .partition(|mutant| PROTOCOLS.contains(mutant));
    assert_eq!(protocols.len(), PROTOCOLS.len(), "{protocols:?}");
    assert_noticed(&others, CHECKS);
    let is_interleaving = |(name, _): &&Check| name.starts_with("interleavings::");
    let interleavings: Vec<_> = CHECKS.iter().filter(is_interleaving).copied().collect();
    assert_noticed(&protocols, &interleavings);
    assert_pass(CHECKS);
}
