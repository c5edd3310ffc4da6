//! Calls: whatever a function takes and gives, and however it is left, works through a gate.

use crate::run::Guarded;
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, everything_that_a_call_can_be_works_through_gates),
    case!(Nothing, calls_pass_gates),
];

/// How many lines the program prints.
const NR_CALLS: usize = 27;

pub(crate) fn clerk() -> Guarded {
    Guarded::new("clerk", &["libledger.so"])
}

fn everything_that_a_call_can_be_works_through_gates() {
    clerk().run(&[]).all_right(NR_CALLS);
}

fn calls_pass_gates() {
    let ended = clerk().with(|settings| settings.stats = true).run(&[]);
    for function in ["entry_balance", "entry_set", "entry_new"] {
        let is_listed = ended.err.lines().any(|line| line.ends_with(function));
        assert!(is_listed, "{function}: {}", ended.all());
    }
}
