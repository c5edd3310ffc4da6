//! The allocator of C++: every form of `operator new` and `operator delete`, and what comes of exhaustion.

use crate::run::{Ended, Guarded, has_keys};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, every_form_of_new_and_delete),
    case!(Nothing, a_new_handler_is_called),
    case!(Nothing, virtual_functions_are_entered_by_gates),
    case!(Keys, virtual_functions_that_nobody_can_name_are_gated_too),
    case!(Packing, packed_virtual_tables_are_gated),
    case!(Keys, a_stray_in_a_derived_class_dies),
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

/// The virtual table of a class that is not exported has no name: it is told by its shape, whether the linker
/// has packed its relocations or not.
fn virtual_functions_that_nobody_can_name_are_gated_too() {
    let counted = trader().with(|settings| settings.stats = true);
    let ended = counted.run(&["shapes"]);
    ended
        .right(3)
        .says(&[" 0 entries past every gate", "0 stray writes"]);
}

fn packed_virtual_tables_are_gated() {
    let packed = Guarded::new("trader-packed", &["libstock-packed.so"]);
    packed.run(&["shapes"]).all_right(3);
    let ended = packed
        .with(|settings| settings.stats = true)
        .run(&["shapes"]);
    ended.right(3);
    // How often entries of the library's own tables were called.
    let entries = |ended: &Ended| -> u64 {
        let lines = ended.err.lines().filter(|line| line.contains("own tables"));
        lines
            .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
            .sum()
    };
    let plain = trader()
        .with(|settings| settings.stats = true)
        .run(&["shapes"]);
    assert!(entries(&plain) > 0, "{}", plain.all());
    assert_eq!(entries(&ended), entries(&plain), "{}", ended.all());
    if has_keys() {
        ended.says(&[" 0 entries past every gate"]);
    }
}

fn a_stray_in_a_derived_class_dies() {
    trader()
        .run(&["stray-shape"])
        .strayed(&["by Triangle::write"]);
}
