//! Stray writes die where they stray, and the report says whose block it was.

use crate::calls::clerk;
use crate::run::{Guarded, SURVIVED};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Keys, strays_die_where_they_stray),
    case!(Nothing, callbacks_are_wrapped),
    case!(Keys, a_callback_strays),
    case!(Nothing, what_is_handed_over_may_be_written),
    case!(Keys, what_is_not_handed_over_may_not),
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
    with_callbacks().run(&[]).all_right(27);
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
