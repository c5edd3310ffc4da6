//! Windows: nesting, order, leaks, panics, several domains.

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use pkeys::{Domain, OpenError, Rights, Window};

use crate::case::{Case, assert_rights, builder, domain, expect_fault, stray_write};

pub(crate) const CASES: &[Case] = &[
    Case::new("nested_windows_in_any_order", any_order),
    Case::new("nested_windows_of_a_read_only_domain", any_order_read_only),
    Case::new("two_domains_at_once", two_domains),
    Case::new("other_keys_are_left_alone", other_keys).keys(),
    Case::new("a_leaked_window_stays_open", leaked).keys(),
    Case::new("a_leaked_window_quarantines_its_key", quarantine).keys(),
    Case::new("a_panic_closes_the_window", panic_closes).stopped(),
    Case::new("a_window_of_another_domain_is_refused", wrong_domain),
    Case::new("a_read_window_does_not_write", insufficient),
    Case::new("a_window_without_rights_is_refused", no_rights),
];

/// All orders in which up to four windows of two kinds can be opened and dropped, against a list of what is open.
fn every_order(domain: &Domain, closed: Rights) {
    const NR_WINDOWS: usize = 4;
    for kinds in 0..1_usize << NR_WINDOWS {
        for order in permutations(NR_WINDOWS) {
            let kind = |index: usize| match kinds >> index & 1 {
                0 => Rights::ReadOnly,
                _ => Rights::ReadWrite,
            };
            let mut open: Vec<Option<Window<'_>>> = Vec::new();
            let expected = |open: &[Option<Window<'_>>]| {
                let rights = open.iter().flatten().map(Window::rights);
                rights.max().map_or(closed, |rights| rights.max(closed))
            };
            for index in 0..NR_WINDOWS {
                open.push(Some(domain.open(kind(index)).unwrap()));
                assert_rights(domain, expected(&open));
            }
            for index in order {
                open[index] = None;
                assert_rights(domain, expected(&open));
            }
        }
    }
}

fn permutations(len: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for next in 0..len {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut longer = order.clone();
                    longer.insert(at, next);
                    longer
                })
            })
            .collect();
    }
    all
}

fn any_order() {
    let domain = domain("ledger");
    every_order(&domain, Rights::NoAccess);
}

fn any_order_read_only() {
    let domain = builder("ledger").closed(Rights::ReadOnly).create().unwrap();
    every_order(&domain, Rights::ReadOnly);
}

fn two_domains() {
    let (ledger, vault) = (domain("ledger"), domain("vault"));
    let mut rows = ledger.map::<u64>(10).unwrap();
    let mut keys = vault.map::<u64>(10).unwrap();
    {
        let one = ledger.open(Rights::ReadWrite).unwrap();
        assert_rights(&vault, Rights::NoAccess);
        let two = vault.open(Rights::ReadOnly).unwrap();
        rows.get_mut(&one).unwrap()[1] = 1;
        assert_eq!(keys.get(&two).unwrap()[1], 0);
        drop(one);
        assert_rights(&ledger, Rights::NoAccess);
        assert_rights(&vault, Rights::ReadOnly);
    }
    assert_rights(&vault, Rights::NoAccess);
    keys.write().unwrap()[2] = 2;
    assert_eq!((rows.read().unwrap()[1], keys.read().unwrap()[2]), (1, 2));
}

/// Somebody else's key, opened and closed by its owner, is the same before, in and after our windows.
fn other_keys() {
    let domain = domain("ledger");
    let foreign = pkeys::Key::alloc(Rights::ReadOnly).unwrap();
    for rights in [Rights::NoAccess, Rights::ReadOnly, Rights::ReadWrite] {
        foreign.set(rights).unwrap();
        let window = domain.open(Rights::ReadWrite).unwrap();
        assert_eq!(foreign.get().unwrap(), rights);
        drop(window);
        assert_eq!(foreign.get().unwrap(), rights);
    }
    foreign.set(Rights::NoAccess).unwrap();
    let window = domain.open(Rights::ReadWrite).unwrap();
    foreign.set(Rights::ReadWrite).unwrap();
    drop(window);
    assert_eq!(foreign.get().unwrap(), Rights::ReadWrite);
}

fn leaked() {
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    core::mem::forget(domain.open(Rights::ReadWrite).unwrap());
    assert_rights(&domain, Rights::ReadWrite);
    drop(domain.open(Rights::ReadWrite).unwrap());
    assert_rights(&domain, Rights::ReadWrite);
    stray_write(rows.as_ptr(), 1);
}

/// A key that a thread still has open is not handed out again, as long as that thread lives.
fn quarantine() {
    let leaky = domain("leaky");
    let pkey = leaky.pkey();
    let (give, take) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        core::mem::forget(leaky.open(Rights::ReadWrite).unwrap());
        give.send(leaky).unwrap();
        ended.recv().unwrap_err();
    });
    drop(take.recv().unwrap());
    let next = domain("next");
    assert_ne!(next.pkey(), pkey);
    drop(end);
    thread.join().unwrap();
    drop(next);
    let after = domain("after");
    assert_eq!(after.pkey(), pkey, "the lowest key is free again");
}

fn panic_closes() {
    let domain = domain("ledger");
    let mut rows = domain.map::<u64>(10).unwrap();
    let addr = rows.as_ptr();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let mut rows = rows.write().unwrap();
        rows[0] = 1;
        let beyond = rows.len();
        rows[beyond] = 2;
    }));
    assert!(caught.is_err());
    assert_rights(&domain, Rights::NoAccess);
    expect_fault(&domain, addr.cast());
    stray_write(addr, 2);
}

fn wrong_domain() {
    let (ledger, vault) = (domain("ledger"), domain("vault"));
    let mut rows = ledger.map::<u64>(10).unwrap();
    let window = vault.open(Rights::ReadWrite).unwrap();
    let error = rows.get_mut(&window).unwrap_err();
    assert!(matches!(
        &error,
        OpenError::WrongDomain { window, region } if &**window == "vault" && &**region == "ledger"
    ));
    assert_eq!(
        error.to_string(),
        "the window is on domain \"vault\", the data in domain \"ledger\""
    );
    assert!(matches!(
        rows.get(&window),
        Err(OpenError::WrongDomain { .. })
    ));
}

fn insufficient() {
    let domain = domain("ledger");
    let mut rows = domain.map::<u64>(10).unwrap();
    let window = domain.open(Rights::ReadOnly).unwrap();
    assert_eq!(rows.get(&window).unwrap()[0], 0);
    assert!(matches!(
        rows.get_mut(&window),
        Err(OpenError::InsufficientRights {
            needed: Rights::ReadWrite,
            given: Rights::ReadOnly
        })
    ));
}

fn no_rights() {
    let domain = domain("ledger");
    assert!(matches!(
        domain.open(Rights::NoAccess),
        Err(OpenError::NoRights)
    ));
    assert_rights(&domain, Rights::NoAccess);
}
