//! The allocator of C++: every form of `operator new` and `operator delete`, and what comes of exhaustion.

use crate::run::Guarded;
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, every_form_of_new_and_delete),
    case!(Nothing, a_new_handler_is_called),
    case!(Nothing, virtual_functions_are_entered_by_gates),
    case!(Keys, virtual_functions_that_nobody_can_name_are_counted),
    case!(Keys, blocks_of_every_form_are_behind_the_key),
];

fn trader() -> Guarded {
    Guarded::new("trader", &["libstock.so"])
}

fn every_form_of_new_and_delete() {
    trader().run(&["forms"]).all_right(6);
}

/// As without a guard: until it gives up; then an exception, or null.
fn a_new_handler_is_called() {
    trader().run_plain(&["exhausted"]).right(7);
    trader().run(&["exhausted"]).all_right(7);
}

fn blocks_of_every_form_are_behind_the_key() {
    trader()
        .run(&["stray"])
        .strayed(&["byte 0 of 100 bytes", "allocated in stock_new\n"]);
    trader()
        .run(&["stray-aligned"])
        .strayed(&["allocated in stock_new_aligned\n"]);
}

fn virtual_functions_are_entered_by_gates() {
    trader().run(&["shapes"]).all_right(3);
}

/// The virtual table of a class that is not exported has no name: what is called by it is entered past every gate.
fn virtual_functions_that_nobody_can_name_are_counted() {
    let counted = trader().with(|settings| settings.stats = true);
    let ended = counted.run(&["shapes"]);
    ended
        .right(3)
        .says(&[" 1 entries past every gate", "0 stray writes"]);
    trader()
        .run(&["stray-shape"])
        .strayed(&["by Triangle::write", "an entry of the library's own tables"]);
}
