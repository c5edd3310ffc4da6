//! Calls: whatever a function takes and gives, and however it is left, works through a gate.

use crate::run::Guarded;
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, everything_that_a_call_can_be_works_through_gates),
    case!(Nothing, calls_pass_gates),
    case!(Nothing, programs_bound_in_every_way_pass_the_same_gates),
    case!(Nothing, destructors_run_in_gates),
    case!(Nothing, blocks_in_other_hands),
    case!(Nothing, a_block_freed_twice_ends_the_program),
];

/// How many lines the program prints.
pub(crate) const NR_CALLS: usize = 28;

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

/// How many lines `keeper calls` prints.
const NR_KEEPER_CALLS: usize = 10;

pub(crate) fn keeper() -> Guarded {
    Guarded::new("keeper", &["libstore.so"])
}

/// Lazily and at once, without a procedure linkage table, at a fixed address: pointers to functions in variables and in
/// tables lead through gates in each.
fn programs_bound_in_every_way_pass_the_same_gates() {
    for program in ["keeper", "keeper-now", "keeper-noplt", "keeper-nopie"] {
        let guarded = Guarded::new(program, &["libstore.so"]);
        guarded.run(&["calls"]).all_right(NR_KEEPER_CALLS);
        let counted = guarded.with(|settings| settings.stats = true);
        let ended = counted.run(&["calls"]);
        ended.right(NR_KEEPER_CALLS);
        for (function, calls) in [("item_set", 2), ("item_get", 8), ("item_visit_both", 1)] {
            let line = ended
                .err
                .lines()
                .find(|line| line.ends_with(&format!(" {function}")));
            let count = line.and_then(|line| line.split_whitespace().rev().nth(1));
            assert_eq!(
                count,
                Some(calls.to_string().as_str()),
                "{program} {function}: {}",
                ended.all()
            );
        }
    }
}

fn destructors_run_in_gates() {
    let guarded = keeper().variable("CASE_DESTRUCTOR", "1");
    guarded.run(&["calls"]).all_right(NR_KEEPER_CALLS + 1);
}

fn blocks_in_other_hands() {
    keeper().run(&["memory"]).all_right(8);
}

fn a_block_freed_twice_ends_the_program() {
    keeper()
        .run(&["twice"])
        .killed_by(libc::SIGABRT)
        .says(&["freed twice"]);
}
