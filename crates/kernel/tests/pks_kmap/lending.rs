//! Pages handed over, what is refused, and what happens when page tables cannot be changed.

use core::cell::RefCell;
use std::rc::Rc;

use pkeys_core::{Access, PageState, Rights};
use pkeys_kernel::pks::PksKey;
use pkeys_kernel::pks::kmap::{
    HandedError, HashedMarks, Kmap, KmapError, Mark, MarkWord, Marks, NoRoom, NotHandedOver,
    OwnersOnly, Records, SharedKeys,
};
use pkeys_kernel::pks::region::{Lent, Openers, Protected};

use crate::rig::{
    CATALOGUE, Kernel, LEDGER, Lock, NoMemory, READABLE, Rig, SHARED, TestRegions, VAULT, page,
    pages,
};

type Mapper<M> = Kmap<'static, Kernel, Lock, M>;

const KEYS: SharedKeys = SharedKeys {
    no_access: Some(SHARED),
    read_only: Some(READABLE),
};

fn regions(rig: &'static Rig) -> &'static TestRegions {
    Box::leak(Box::new(TestRegions::new(rig.keys(), Kernel::of(rig))))
}

fn kmap<M: Marks>(regions: &'static TestRegions, marks: M) -> Mapper<M> {
    Kmap::new(regions, KEYS, marks)
}

/// A key over consecutive pages.
fn protect(
    regions: &'static TestRegions,
    first: usize,
    nr: usize,
    key: PksKey,
) -> Protected<'static, Kernel, Lock> {
    Protected::new(regions, pages(first, nr), key, Openers::Anybody).unwrap()
}

#[test]
fn a_page_handed_over_is_the_receivers_alone() {
    let rig = Rig::new(2, 2, 2);
    let regions = regions(rig);
    let _ledger = protect(regions, 0, 2, LEDGER);
    let kmap = kmap(regions, HashedMarks::<4>::new());
    let before: Vec<_> = rig.machine.cpus().map(|cpu| cpu.counters()).collect();
    let local = kmap.kmap_local_page(page(1), Rights::ReadWrite).unwrap();
    let handed = kmap.hand_over(&local);
    drop(local);
    for cpu in 0..2 {
        assert!(rig.access(cpu, 1, Access::Read).is_err(), "CPU {cpu}");
    }
    let received = rig.on(1, || handed.map(Rights::ReadWrite).unwrap());
    assert_eq!(
        (received.page(), received.rights()),
        (page(1), Rights::ReadWrite)
    );
    assert_eq!(rig.access(1, 1, Access::Write), Ok(()));
    assert!(rig.access(0, 1, Access::Read).is_err());
    rig.on(1, || drop(received));
    assert!(rig.access(1, 1, Access::Read).is_err());
    // No page table was changed for it, and nobody told.
    for (cpu, before) in rig.machine.cpus().zip(before) {
        let done = cpu.counters() - before;
        assert_eq!(
            (done.invlpgs, done.msr_writes),
            (0, 2),
            "CPU {}",
            cpu_id(&cpu)
        );
    }
    assert!(!kmap.is_shared(page(1)));
}

fn cpu_id(cpu: &pkeys_machine::MachineCpu<'_>) -> u32 {
    pkeys_kernel::hardware::Cpu::id(cpu)
}

#[test]
fn nobody_gets_more_than_was_handed_over() {
    let rig = Rig::new(1, 1, 1);
    let regions = regions(rig);
    let _ledger = protect(regions, 0, 1, LEDGER);
    let kmap = kmap(regions, HashedMarks::<4>::new());
    let refused = |handed| {
        HandedError::NotHandedOver(NotHandedOver {
            wanted: Rights::ReadWrite,
            handed,
        })
    };
    for mapped in [Rights::ReadOnly, Rights::ReadWrite] {
        let local = kmap.kmap_local_page(page(0), mapped).unwrap();
        let handed = kmap.hand_over(&local);
        assert_eq!(
            handed.map(Rights::ReadWrite).is_ok(),
            mapped == Rights::ReadWrite
        );
        let handed = handed.read_only();
        assert_eq!(handed.rights(), Rights::ReadOnly);
        let error = handed.map(Rights::ReadWrite).unwrap_err();
        assert_eq!(error, refused(Rights::ReadOnly));
        assert_eq!(
            error.to_string(),
            "read and write was asked for, read only was handed over"
        );
        drop(local);
        let received = handed.map(Rights::ReadOnly).unwrap();
        assert_eq!(rig.access(0, 0, Access::Read), Ok(()));
        assert!(rig.access(0, 0, Access::Write).is_err());
        drop(received);
    }
}

#[test]
fn pages_of_an_owner_only_are_mapped_by_nobody() {
    let rig = Rig::new(1, 1, 1);
    let regions = regions(rig);
    let vault = Protected::new(regions, pages(0, 1), VAULT, Openers::Owner).unwrap();
    let kmap = kmap(regions, HashedMarks::<4>::new());
    let refused = OwnersOnly {
        page: page(0),
        key: VAULT,
    };
    let local = kmap.kmap_local_page(page(0), Rights::ReadOnly);
    assert_eq!(local.unwrap_err(), refused);
    let shared = kmap.kmap(page(0));
    assert_eq!(shared.unwrap_err(), KmapError::OwnersOnly(refused));
    assert!(rig.access(0, 0, Access::Read).is_err());
    assert_eq!(regions.key_of(page(0).addr() + 0xFFF), Some(VAULT));
    drop(vault);
    assert_eq!(regions.key_of(page(0).addr()), None);
}

#[test]
fn a_handed_page_that_became_an_owners_is_not_mapped() {
    let rig = Rig::new(1, 1, 1);
    let regions = regions(rig);
    let kmap = kmap(regions, HashedMarks::<4>::new());
    let local = kmap.kmap_local_page(page(0), Rights::ReadOnly).unwrap();
    let handed = kmap.hand_over(&local);
    drop(local);
    let _vault = Protected::new(regions, pages(0, 1), VAULT, Openers::Owner).unwrap();
    let error = handed.map(Rights::ReadOnly).unwrap_err();
    assert!(matches!(error, HandedError::OwnersOnly(_)), "{error}");
}

#[test]
fn pages_that_everybody_may_read_stay_so_when_they_are_shared() {
    let rig = Rig::new(2, 2, 2);
    let regions = regions(rig);
    let _catalogue = protect(regions, 0, 1, CATALOGUE);
    let _ledger = protect(regions, 1, 1, LEDGER);
    let kmap = kmap(regions, HashedMarks::<4>::new());
    let shared = kmap.kmap(page(0)).unwrap();
    let other = kmap.kmap(page(1)).unwrap();
    assert_eq!([rig.pkey(0), rig.pkey(1)], [READABLE.pkey(), SHARED.pkey()]);
    for cpu in 0..2 {
        assert_eq!(rig.access(cpu, 0, Access::Read), Ok(()));
        assert!(rig.access(cpu, 0, Access::Write).is_err());
        assert!(rig.access(cpu, 1, Access::Read).is_err());
    }
    // The right to write pages of one closed rights opens no page of the other.
    let local = kmap.kmap_local_page(page(0), Rights::ReadWrite).unwrap();
    assert_eq!(rig.access(0, 0, Access::Write), Ok(()));
    assert!(rig.access(0, 1, Access::Read).is_err());
    drop((local, shared, other));
    assert_eq!(
        [rig.pkey(0), rig.pkey(1)],
        [CATALOGUE.pkey(), LEDGER.pkey()]
    );
}

#[test]
fn without_a_fitting_shared_key_nothing_is_shared() {
    let rig = Rig::new(1, 1, 2);
    let regions = regions(rig);
    let _ledger = protect(regions, 0, 1, LEDGER);
    let _catalogue = protect(regions, 1, 1, CATALOGUE);
    let only = |no_access, read_only| {
        let keys = SharedKeys {
            no_access,
            read_only,
        };
        Kmap::new(regions, keys, HashedMarks::<4>::new())
    };
    let none = only(None, None);
    for (number, closed, told) in [
        (
            0,
            Rights::NoAccess,
            "no shared key for pages with no access for everybody",
        ),
        (
            1,
            Rights::ReadOnly,
            "no shared key for pages with read only for everybody",
        ),
    ] {
        let error = none.kmap(page(number)).unwrap_err();
        assert_eq!(error, KmapError::NoSharedKey { closed });
        assert_eq!(error.to_string(), told);
    }
    // A key of somebody else, and the one for the other closed rights.
    for key in [VAULT, READABLE] {
        let error = only(Some(key), None).kmap(page(0)).unwrap_err();
        let closed = Rights::NoAccess;
        assert_eq!(error, KmapError::NotAShared { key, closed });
    }
    for number in 0..2 {
        assert_ne!(rig.pkey(number), SHARED.pkey());
        assert_eq!(rig.keys().sharing(), pkeys_kernel::pks::kmap::Sharing::NONE);
    }
}

#[test]
fn one_page_has_so_many_shared_mappings() {
    let rig = Rig::new(1, 1, 1);
    let regions = regions(rig);
    let _ledger = protect(regions, 0, 1, LEDGER);
    let kmap = kmap(regions, HashedMarks::<4>::new());
    let first = kmap.kmap(page(0)).unwrap();
    let full = Mark::from_bits(kmap.marks().get(page(0)).bits() | Mark::MAX_COUNT);
    kmap.marks().set(page(0), full).unwrap();
    assert_eq!(kmap.kmap(page(0)).unwrap_err(), KmapError::TooMany);
    assert_eq!(kmap.nr_shared(page(0)), 131_071);
    kmap.marks()
        .set(page(0), Mark::from_bits(full.bits() & !Mark::MAX_COUNT | 1))
        .unwrap();
    drop(first);
    assert_eq!(rig.pkey(0), LEDGER.pkey());
}

#[test]
fn a_mark_without_room_leaves_the_page_alone() {
    let rig = Rig::new(1, 1, 2);
    let regions = regions(rig);
    let _ledger = protect(regions, 0, 2, LEDGER);
    let kmap = kmap(regions, HashedMarks::<1>::new());
    let first = kmap.kmap(page(0)).unwrap();
    let again = kmap.kmap(page(0)).unwrap();
    assert_eq!(kmap.kmap(page(1)).unwrap_err(), KmapError::NoRoom(NoRoom));
    assert_eq!(rig.pkey(1), LEDGER.pkey());
    drop((first, again));
    let second = kmap.kmap(page(1)).unwrap();
    assert_eq!([rig.pkey(0), rig.pkey(1)], [LEDGER.pkey(), SHARED.pkey()]);
    drop(second);
}

#[test]
fn a_page_that_cannot_be_moved_is_not_shared() {
    let rig = Rig::new(2, 2, 1);
    let regions = regions(rig);
    let mut ledger = protect(regions, 0, 1, LEDGER);
    let records = Box::leak(Box::new([MarkWord::new()]));
    let kmap = kmap(regions, Records::new(page(0), records));
    let local = kmap.kmap_local_page(page(0), Rights::ReadWrite).unwrap();
    *rig.failing.borrow_mut() = vec![0];
    assert_eq!(kmap.kmap(page(0)).unwrap_err(), KmapError::Tables(NoMemory));
    assert_eq!(rig.pkey(0), LEDGER.pkey());
    assert_eq!(
        (kmap.nr_shared(page(0)), kmap.is_shared(page(0))),
        (0, false)
    );
    assert_eq!(rig.keys().sharing(), pkeys_kernel::pks::kmap::Sharing::NONE);
    assert_eq!(rig.access(0, 0, Access::Write), Ok(()));
    drop(local);
    assert_eq!(ledger.end(), Ok(()));
    assert_eq!(rig.keys().nr_pages(LEDGER), 0);
}

#[test]
fn a_page_that_cannot_come_back_is_shared_no_more() {
    let rig = Rig::new(2, 2, 1);
    let regions = regions(rig);
    let mut ledger = protect(regions, 0, 1, LEDGER);
    let kmap = kmap(regions, HashedMarks::<4>::new());
    let shared = kmap.kmap(page(0)).unwrap();
    *rig.failing.borrow_mut() = vec![0];
    drop(shared);
    // It has the shared key and is not shared: a stray access is one.
    assert_eq!(
        (rig.pkey(0), kmap.is_shared(page(0))),
        (SHARED.pkey(), false)
    );
    assert_eq!(kmap.state(page(0).addr(), SHARED.pkey()), PageState::Stray);
    assert!(rig.access(0, 0, Access::Read).is_err());
    assert_eq!(ledger.end(), Err(Lent { nr_pages: 1 }));
    let local = kmap.kmap_local_page(page(0), Rights::ReadOnly).unwrap();
    assert_eq!(rig.access(0, 0, Access::Read), Ok(()));
    drop(local);
    // The next mapping puts it right.
    drop(kmap.kmap(page(0)).unwrap());
    assert_eq!(rig.pkey(0), LEDGER.pkey());
    assert_eq!(ledger.end(), Ok(()));
}

#[test]
fn a_region_does_not_end_while_pages_of_it_are_shared() {
    let rig = Rig::new(1, 1, 3);
    let regions = regions(rig);
    let mut ledger = protect(regions, 0, 2, LEDGER);
    let dropped = protect(regions, 2, 1, LEDGER);
    let kmap = kmap(regions, HashedMarks::<4>::new());
    let pages = [0, 1, 2].map(|number| kmap.kmap(page(number)).unwrap());
    let lent = ledger.end().unwrap_err();
    assert_eq!(lent, Lent { nr_pages: 2 });
    assert_eq!(lent.to_string(), "2 pages of the region are lent out");
    drop(dropped);
    assert_eq!(rig.keys().nr_pages(LEDGER), 3);
    drop(pages);
    assert_eq!([0, 1, 2].map(|number| rig.pkey(number)), [LEDGER.pkey(); 3]);
    assert_eq!(ledger.end(), Ok(()));
    assert_eq!(ledger.end(), Ok(()));
    // What was dropped while it was lent keeps its key, and is counted.
    assert_eq!(rig.keys().nr_pages(LEDGER), 1);
    assert!(rig.access(0, 2, Access::Read).is_err());
}

/// What a fault handler is told while the page moves: it never takes a page for a shared one that has its own key.
#[test]
fn a_page_counts_as_shared_only_with_a_shared_key() {
    let rig = Rig::new(1, 1, 1);
    let regions = regions(rig);
    let _ledger = protect(regions, 0, 1, LEDGER);
    let kmap = kmap(regions, HashedMarks::<4>::new());
    let state = |pkey| kmap.state(page(0).addr() + 5, pkey);
    for key in [LEDGER, SHARED] {
        assert_eq!(state(key.pkey()), PageState::Stray);
    }
    let shared = kmap.kmap(page(0)).unwrap();
    assert_eq!(state(LEDGER.pkey()), PageState::Stray);
    assert_eq!(state(SHARED.pkey()), PageState::Shared);
    drop(shared);
    assert_eq!(state(SHARED.pkey()), PageState::Stray);
}

/// While a page moves nobody has its address by right, and a fault is a stray access.
#[test]
fn a_page_on_its_way_is_not_shared() {
    let rig = Rig::new(2, 2, 1);
    let regions = regions(rig);
    let _ledger = protect(regions, 0, 1, LEDGER);
    let kmap: &Mapper<_> = Box::leak(Box::new(kmap(regions, HashedMarks::<4>::new())));
    let seen: Rc<RefCell<Vec<(String, bool)>>> = Rc::default();
    let notes = Rc::clone(&seen);
    let look = move |when: &str| {
        let is_shared = kmap.is_shared(page(0));
        notes.borrow_mut().push((when.to_owned(), is_shared));
    };
    *rig.onlooker.borrow_mut() = Some(Box::new(look));
    let shared = kmap.kmap(page(0)).unwrap();
    assert!(kmap.is_shared(page(0)));
    drop(shared);
    let seen = seen.take();
    assert!(seen.iter().all(|(_, is_shared)| !is_shared), "{seen:?}");
    let steps: Vec<_> = seen.iter().map(|(when, _)| when.as_str()).collect();
    let (loaded, told) = (["register loaded"; 2], ["TLB told"; 2]);
    let moved = [&["key changed"][..], &told];
    let expected = [
        &loaded[..],
        moved[0],
        moved[1],
        moved[0],
        moved[1],
        &loaded[..],
    ];
    assert_eq!(steps, expected.concat());
}

/// All CPUs are told of the first page of a key, and when the last one comes back; of the others only TLBs are.
#[test]
fn further_pages_of_a_key_need_no_register() {
    let rig = Rig::new(1, 1, 3);
    let regions = regions(rig);
    let _ledger = protect(regions, 0, 2, LEDGER);
    let _vault = protect(regions, 2, 1, VAULT);
    let kmap = kmap(regions, HashedMarks::<4>::new());
    rig.host_calls.take();
    let (refresh, moved) = (["refresh"], ["set_pkey", "shoot_down"]);
    let first = kmap.kmap(page(0)).unwrap();
    assert_eq!(rig.host_calls.take(), [&refresh[..], &moved].concat());
    let again = kmap.kmap(page(0)).unwrap();
    assert_eq!(rig.host_calls.take(), [""; 0]);
    let second = kmap.kmap(page(1)).unwrap();
    assert_eq!(rig.host_calls.take(), moved);
    let of_other = kmap.kmap(page(2)).unwrap();
    assert_eq!(rig.host_calls.take(), [&refresh[..], &moved].concat());
    drop(first);
    assert_eq!(rig.host_calls.take(), [""; 0]);
    drop(again);
    assert_eq!(rig.host_calls.take(), moved);
    drop(second);
    assert_eq!(rig.host_calls.take(), [&moved[..], &refresh].concat());
    drop(of_other);
    assert_eq!(rig.host_calls.take(), [&moved[..], &refresh].concat());
}
