//! Gates that are interrupted or passed by: by signal handlers, by jumps out of them, by functions that the library has handed out.

use crate::run::Guarded;
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, a_handler_in_a_gate_allocates_past_every_gate),
    case!(
        Keys,
        a_key_that_was_left_open_is_closed_by_the_outermost_gate
    ),
    case!(Nothing, a_gate_can_be_left_at_each_instruction),
];

/// The program, with the first callback closed.
fn ringer() -> Guarded {
    Guarded::new("ringer", &["libbells.so"]).with(|settings| {
        settings.domains[0].callbacks = vec![("bells_visit".to_owned(), vec![0])];
    })
}

/// The allocator takes the gate's word that the key is open. In the handler it is closed.
fn a_handler_in_a_gate_allocates_past_every_gate() {
    ringer().run(&["handler"]).all_right(2);
}

/// One entry, not two: the library that called the second callback keeps its key when a gate in there ends.
fn a_key_that_was_left_open_is_closed_by_the_outermost_gate() {
    let counted = ringer().with(|settings| settings.stats = true);
    let ended = counted.run(&["callback"]);
    ended.right(2).says(&[" 1 entries past every gate"]);
}

/// By a handler that jumps out: nothing stays open that was closed where the jump goes.
fn a_gate_can_be_left_at_each_instruction() {
    ringer().run(&["steps"]).all_right(3);
}
