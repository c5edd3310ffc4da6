//! Libraries that come and go, and libraries that are laid out otherwise.

use crate::calls::keeper;
use crate::run::{Guarded, SURVIVED};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, a_library_is_opened_and_closed_again_and_again),
    case!(Nothing, another_library_may_take_its_place),
    case!(Nothing, a_call_of_what_is_gone_ends_as_without_a_guard),
    case!(Nothing, a_library_in_a_namespace_of_its_own_is_not_guarded),
    case!(Packing, packed_relocations_are_gated),
    case!(Packing, strays_from_a_packed_library_die),
];

fn plugs() -> Guarded {
    Guarded::new("plugs", &["libstore.so"])
}

/// Its blocks outlive it; its variables are given back.
fn a_library_is_opened_and_closed_again_and_again() {
    plugs().run(&["reopen"]).right(1);
    plugs()
        .with(|settings| settings.data = true)
        .variable("CASE_DATA", "1")
        .run(&["reopen"])
        .right(1);
}

fn another_library_may_take_its_place() {
    plugs()
        .with(|settings| settings.data = true)
        .run(&["replace"])
        .right(1);
}

fn a_call_of_what_is_gone_ends_as_without_a_guard() {
    plugs().run_plain(&["gone"]).killed_by(libc::SIGSEGV);
    let ended = plugs().run(&["gone"]);
    ended.killed_by(libc::SIGSEGV);
    assert!(!ended.err.contains("stray"), "{}", ended.all());
}

fn a_library_in_a_namespace_of_its_own_is_not_guarded() {
    let ended = plugs().run(&["apart"]);
    ended.right(2).says(&[
        "libstore.so was loaded into a namespace of its own (dlmopen): it is not guarded there",
    ]);
    let lines = ended.err.lines().filter(|line| line.contains("dlmopen"));
    assert_eq!(lines.count(), 1, "{}", ended.all());
}

fn packed() -> Guarded {
    Guarded::new("keeper-packed", &["libstore-packed.so"])
}

/// Constructors and destructors among them (`DT_RELR`).
fn packed_relocations_are_gated() {
    let guarded = packed().variable("CASE_DESTRUCTOR", "1");
    guarded.run(&["calls"]).all_right(11);
    // As many as in a library that is not packed, which has the same ones.
    let counted = |guarded: Guarded| {
        let ended = guarded
            .with(|settings| settings.stats = true)
            .run(&["calls"]);
        ended.right(10);
        let line = ended.err.lines().next().unwrap_or_default().to_owned();
        line.split(" gates").next().unwrap_or_default().to_owned()
    };
    assert_eq!(counted(packed()), counted(keeper()));
}

fn strays_from_a_packed_library_die() {
    packed().run(&["block"]).strayed_or_survived(&["item_new"]);
    let with_data = packed().with(|settings| settings.data = true);
    with_data
        .run(&["counter"])
        .strayed_or_survived(&["data of the library"]);
    packed().run(&["counter"]).code(SURVIVED);
}
