//! Pardons until the end of a context: what opens, and what closes it.

use pkeys::{Mode, Pardon, Rights};

use crate::case::{Case, assert_rights, builder, stray_read, stray_write};

pub(crate) const CASES: &[Case] = &[
    Case::new("a_context_pardon_lasts_to_the_outermost_window", outermost).keys(),
    Case::new(
        "a_context_pardon_without_a_window_is_for_one_instruction",
        without_window,
    ),
    Case::new("a_context_pardon_brings_read_only_back", read_only).keys(),
    Case::new("a_context_pardon_inside_a_read_window", inside_read_window).keys(),
    Case::new("two_context_pardons_end_together", two).keys(),
    Case::new("the_pardon_can_be_changed", changed).keys(),
];

fn relaxed(name: &str) -> pkeys::Domain {
    builder(name)
        .mode(Mode::Silent)
        .pardon(Pardon::Context)
        .create()
        .unwrap()
}

fn outermost() {
    let (ledger, other) = (relaxed("ledger"), relaxed("other"));
    let rows = ledger.map::<u64>(10).unwrap();
    let outer = other.open(Rights::ReadOnly).unwrap();
    let inner = other.open(Rights::ReadWrite).unwrap();
    for value in 0..100 {
        stray_write(rows.as_ptr(), value);
    }
    assert_eq!(
        ledger.counters().stray_writes,
        1,
        "the first opens for the rest"
    );
    assert_rights(&ledger, Rights::ReadWrite);
    drop(inner);
    assert_rights(&ledger, Rights::ReadWrite);
    drop(outer);
    assert_rights(&ledger, Rights::NoAccess);
    assert_eq!(rows.read().unwrap()[0], 99);
}

fn without_window() {
    let ledger = relaxed("ledger");
    let rows = ledger.map::<u64>(10).unwrap();
    for value in 0..100 {
        stray_write(rows.as_ptr(), value);
        assert_rights(&ledger, Rights::NoAccess);
    }
    assert_eq!(ledger.counters().stray_writes, 100);
}

fn read_only() {
    let ledger = builder("ledger")
        .closed(Rights::ReadOnly)
        .mode(Mode::Silent)
        .pardon(Pardon::Context)
        .create()
        .unwrap();
    let other = relaxed("other");
    let rows = ledger.map::<u64>(10).unwrap();
    let window = other.open(Rights::ReadOnly).unwrap();
    stray_write(rows.as_ptr(), 1);
    assert_rights(&ledger, Rights::ReadWrite);
    drop(window);
    assert_rights(&ledger, Rights::ReadOnly);
    assert_eq!(stray_read(rows.as_ptr()), 1);
}

/// A write inside the domain's own read window: the pardon ends with that window, as the outermost.
fn inside_read_window() {
    let ledger = relaxed("ledger");
    let rows = ledger.map::<u64>(10).unwrap();
    let window = ledger.open(Rights::ReadOnly).unwrap();
    stray_write(rows.as_ptr(), 1);
    stray_write(rows.as_ptr(), 2);
    assert_eq!(ledger.counters().stray_writes, 1);
    drop(window);
    assert_rights(&ledger, Rights::NoAccess);
}

fn two() {
    let (ledger, vault, other) = (relaxed("ledger"), relaxed("vault"), relaxed("other"));
    let rows = ledger.map::<u64>(10).unwrap();
    let keys = vault.map::<u64>(10).unwrap();
    let window = other.open(Rights::ReadWrite).unwrap();
    stray_write(rows.as_ptr(), 1);
    stray_write(keys.as_ptr(), 1);
    assert_rights(&ledger, Rights::ReadWrite);
    assert_rights(&vault, Rights::ReadWrite);
    drop(window);
    assert_rights(&ledger, Rights::NoAccess);
    assert_rights(&vault, Rights::NoAccess);
    assert_rights(&other, Rights::NoAccess);
}

fn changed() {
    let (ledger, other) = (relaxed("ledger"), relaxed("other"));
    let rows = ledger.map::<u64>(10).unwrap();
    ledger.set_pardon(Pardon::Instruction);
    assert_eq!(ledger.pardon(), Pardon::Instruction);
    let window = other.open(Rights::ReadOnly).unwrap();
    for _ in 0..10 {
        stray_write(rows.as_ptr(), 1);
    }
    assert_eq!(ledger.counters().stray_writes, 10);
    drop(window);
}
