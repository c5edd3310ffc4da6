//! Stray writes die where they stray, and the report says whose block it was.

use crate::calls::{NR_CALLS, clerk, keeper};
use crate::run::{Guarded, SURVIVED};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Keys, strays_die_where_they_stray),
    case!(Nothing, callbacks_are_wrapped),
    case!(Keys, a_callback_strays),
    case!(Nothing, what_is_handed_over_may_be_written),
    case!(Keys, what_is_not_handed_over_may_not),
    case!(Keys, what_was_reallocated_for_the_caller_is_the_callers),
    case!(Keys, callbacks_on_the_stack_are_closed),
    case!(Keys, entries_past_gates_are_no_strays),
    case!(Nothing, constructors_use_a_guarded_library),
    case!(Keys, constructors_stray),
    case!(Keys, a_freed_block_is_reported_as_freed),
];

/// What a report of the clerk's stray says.
const CLERK: [&str; 4] = [
    "domain \"libledger.so\"",
    "entry_new",
    "--share entry_new",
    "clerk.cc",
];

fn strays_die_where_they_stray() {
    for place in ["main", "thread", "handler"] {
        clerk().run(&[place]).strayed(&CLERK);
    }
}

fn with_callbacks() -> Guarded {
    clerk().with(|settings| {
        settings.domains[0].callbacks = vec![("entry_visit".to_owned(), vec![1])];
    })
}

/// A callback of this program changes nothing behind the key itself, but for the one that strays.
fn callbacks_are_wrapped() {
    with_callbacks().run(&[]).all_right(NR_CALLS);
}

fn a_callback_strays() {
    with_callbacks().run(&["callback"]).strayed(&CLERK);
    clerk().run(&["callback"]).code(SURVIVED);
}

fn what_is_handed_over_may_be_written() {
    let shared = clerk().with(|settings| {
        settings.domains[0].share = vec!["entry_handed_over".to_owned()];
    });
    shared.run(&["handed"]).code(SURVIVED);
}

fn what_is_not_handed_over_may_not() {
    clerk().run(&["handed"]).strayed(&["entry_handed_over"]);
}

/// The block was the library's, and is the caller's when a function on the list has made it larger.
fn what_was_reallocated_for_the_caller_is_the_callers() {
    keeper().run(&["grown"]).strayed(&["--share item_grown"]);
    let shared = keeper().with(|settings| {
        settings.domains[0].share = vec!["item_grown".to_owned()];
    });
    shared.run(&["grown"]).code(SURVIVED);
}

/// The seventh and the ninth argument of a function.
fn callbacks_on_the_stack_are_closed() {
    let listed = keeper().with(|settings| {
        settings.domains[0].callbacks = vec![("item_visit_both".to_owned(), vec![6, 8])];
    });
    listed.run(&["calls"]).all_right(10);
    for part in ["first-callback", "second-callback"] {
        listed.run(&[part]).strayed(&["by strays at", "keeper.c"]);
        keeper().run(&[part]).code(SURVIVED);
    }
    // Of the two only one is listed.
    let half = keeper().with(|settings| {
        settings.domains[0].callbacks = vec![("item_visit_both".to_owned(), vec![8])];
    });
    half.run(&["first-callback"]).code(SURVIVED);
    half.run(&["second-callback"]).strayed(&["by strays at"]);
}

/// Functions that the library has put into tables of its own are entered without a gate: they may write, it is counted, and what
/// the program does after the next gate is a stray again.
fn entries_past_gates_are_no_strays() {
    let ended = keeper()
        .with(|settings| settings.stats = true)
        .run(&["calls"]);
    ended.right(10).says(&[
        "4 entries past every gate",
        "0 stray writes, 0 pardoned, 0 reported",
    ]);
    keeper()
        .run(&["after-table"])
        .strayed(&["stray_after_table"]);
}

fn a_freed_block_is_reported_as_freed() {
    keeper().run(&["freed"]).strayed(&[
        "byte 24 of 64 bytes",
        "allocated in item_new",
        "the block was freed before",
    ]);
}

fn late() -> Guarded {
    Guarded::new("late", &["libstore.so"])
}

fn constructors_use_a_guarded_library() {
    late().run(&[]).all_right(1);
}

/// Of another library, before the program's first instruction.
fn constructors_stray() {
    late().variable("CASE_EARLY", "1").run(&[]).strayed(&[
        "by begin at",
        "early.c",
        "allocated in item_new",
    ]);
}
