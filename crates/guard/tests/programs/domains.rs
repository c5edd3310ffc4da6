//! Two libraries: with a key each, or with one together.

use crate::run::{Guarded, SURVIVED};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, one_library_calls_another_and_is_called_back),
    case!(Nothing, two_libraries_may_share_a_domain),
    case!(Keys, strays_are_told_by_whose_block_it_was),
    case!(Keys, one_library_does_not_write_to_the_other),
    case!(Keys, callbacks_between_domains_open_the_right_one),
    case!(Keys, a_shared_domain_lets_both_write),
    case!(Keys, what_is_learnt_is_said_by_domain),
];

/// How many lines the program prints.
const NR_CALLS: usize = 12;

fn apart() -> Guarded {
    Guarded::new("clients", &["libupper.so", "liblower.so"])
}

fn together() -> Guarded {
    Guarded::new("clients", &["libupper.so"]).with(|settings| {
        settings.domains[0].libraries.push("liblower.so".to_owned());
    })
}

fn with_callbacks(guarded: Guarded) -> Guarded {
    guarded.with(|settings| {
        for domain in &mut settings.domains {
            if domain.libraries.contains(&"libupper.so".to_owned()) {
                domain.callbacks.push(("note_round".to_owned(), vec![1]));
            }
            if domain.libraries.contains(&"liblower.so".to_owned()) {
                domain.callbacks.push(("cell_call".to_owned(), vec![1]));
                domain.callbacks.push(("cell_sort".to_owned(), vec![2]));
            }
        }
    })
}

fn one_library_calls_another_and_is_called_back() {
    // What the upper library hands to the lower one is a function of its own, which is called with its own key.
    with_callbacks(apart()).run(&["calls"]).all_right(NR_CALLS);
    let with_data = with_callbacks(apart()).with(|settings| settings.data = true);
    with_data.run(&["calls"]).all_right(NR_CALLS);
    // Without a list it is an entry past every gate.
    apart().run(&["calls"]).all_right(NR_CALLS);
}

fn two_libraries_may_share_a_domain() {
    together().run(&["calls"]).all_right(NR_CALLS);
    with_callbacks(together())
        .run(&["calls"])
        .all_right(NR_CALLS);
}

fn strays_are_told_by_whose_block_it_was() {
    apart()
        .run(&["upper"])
        .strayed(&["domain \"libupper.so\"", "allocated in note_new"]);
    apart()
        .run(&["lower"])
        .strayed(&["domain \"liblower.so\"", "allocated in cell_new"]);
}

/// From either side; and the library's name is in the calls.
fn one_library_does_not_write_to_the_other() {
    apart()
        .run(&["from-upper"])
        .strayed(&["domain \"liblower.so\"", "by note_stray"]);
    apart()
        .run(&["from-lower"])
        .strayed(&["domain \"libupper.so\"", "by cell_write"]);
    apart()
        .run(&["after"])
        .strayed(&["domain \"liblower.so\"", "by note_stray"]);
}

fn callbacks_between_domains_open_the_right_one() {
    let listed = with_callbacks(apart());
    listed
        .run(&["callback-up"])
        .strayed(&["domain \"libupper.so\"", "by strays_up"]);
    listed
        .run(&["callback-down"])
        .strayed(&["domain \"liblower.so\"", "by strays_down"]);
    // A callback that is not listed runs with the key of who calls it, and with no other.
    apart().run(&["callback-down"]).code(SURVIVED);
    apart()
        .run(&["callback-up"])
        .strayed(&["domain \"libupper.so\"", "by strays_up"]);
}

/// There is no gate between the two: what one allocates in a call of the other, the other's caller has asked for.
fn a_shared_domain_lets_both_write() {
    together().run(&["from-upper"]).code(SURVIVED);
    together().run(&["from-lower"]).code(SURVIVED);
    together()
        .run(&["lower"])
        .strayed(&["domain \"libupper.so\"", "allocated in note_new"]);
}

/// The one whose block it was, not the one that wrote.
fn what_is_learnt_is_said_by_domain() {
    let learning = apart().with(|settings| {
        settings.learn = true;
        "relaxed".clone_into(&mut settings.mode);
    });
    for (part, list) in [
        ("from-upper", "liblower.so: --share cell_new"),
        ("from-lower", "libupper.so: --share note_new"),
    ] {
        let ended = learning.run(&[part]);
        ended.code(SURVIVED);
        let said = ended.err.lines().filter(|line| line.contains("--share"));
        let said: Vec<&str> = said.filter(|line| !line.contains("advice")).collect();
        assert_eq!(said, [format!("pkeys guard: {list}")], "{}", ended.all());
    }
}
