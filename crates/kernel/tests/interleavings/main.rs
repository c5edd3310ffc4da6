//! Every interleaving of threads that allocate and free keys with one that asks for its rights: loom shows that the asking
//! thread sees only values that the map has held, in the order in which it held them.
//!
//! The functions are those that a kernel and a program call. [`AllocationMap`] and [`KeyPage`] take any word of memory,
//! and here get one that tells loom of each access; nothing is compiled another way for it. Loom also plays through what
//! weaker memory orders than those of x86 allow, and so shows more than threads on this machine could.
//!
//! That it finds what it looks for is shown by maps that are wrong: one in two halves, as Linux's draft of the calls had
//! it; one that is read twice for one answer; one without memory orders.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;
mod words;

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc as RealArc;

use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;
use pkeys_core::AllocationMap;
use pkeys_kernel::keys::user::KeyPage;
use pkeys_kernel::mutant::Mutant;

use scene::Told::{Free, Taken};
use scene::{Asks, Step, outcomes, with_rules};
use words::{Halves, Watched, Whole};

/// What two threads do under the lock of the address space, and which key the third asks for. Which keys they are given
/// depends on the order in which they come.
type Scene = ([&'static [Step]; 2], i32);

/// One thread makes changes.
const ALONE: &[Scene] = &[
    // Key 1 becomes the execute-only key from nothing.
    ([&[Step::ExecuteOnly], &[]], 1),
    // Key 1 is allocated, freed, and becomes the execute-only key.
    ([&[Step::Alloc, Step::Free(1), Step::ExecuteOnly], &[]], 1),
    // Key 0 is freed, and comes back as another.
    ([&[Step::Free(0), Step::Alloc], &[]], 0),
];

/// Two threads do. Some ten thousand interleavings each.
const TOGETHER: &[Scene] = &[
    // Either takes key 1; which one decides what is left of it.
    ([&[Step::Alloc, Step::Free(1)], &[Step::ExecuteOnly]], 1),
    ([&[Step::Alloc], &[Step::Alloc, Step::Free(1)]], 1),
    // Key 0 is freed, and may come back as the execute-only key.
    ([&[Step::Free(0)], &[Step::ExecuteOnly]], 0),
];

fn assert_explained((writers, pkey): Scene, asks: Asks) {
    let outcomes = outcomes::<Whole>(writers, asks, pkey);
    println!("{writers:?}, {asks:?}, key {pkey}: {outcomes:?}");
    assert_eq!(outcomes.nr_unexplained, 0);
}

#[test]
fn a_call_sees_only_values_the_map_has_held() {
    with_rules(None, || {
        for scene in ALONE.iter().chain(TOGETHER) {
            assert_explained(*scene, Asks::Kernel);
        }
    });
}

#[test]
fn the_page_shows_only_values_the_map_has_held() {
    with_rules(None, || {
        for scene in ALONE.iter().chain(&TOGETHER[..1]) {
            assert_explained(*scene, Asks::Page);
        }
    });
}

/// Else nothing here would mean much. Of a key that is allocated and freed, a thread that asks twice may be told every
/// pair: never there, there, both changes in between, and so on.
#[test]
fn every_pair_of_answers_that_is_possible_is_given() {
    with_rules(None, || {
        for asks in [Asks::Kernel, Asks::Page] {
            let all = [[Taken, Taken], [Taken, Free], [Free, Taken], [Free, Free]];
            let scene = [&[Step::Alloc, Step::Free(1)] as &[Step], &[]];
            let outcomes = outcomes::<Whole>(scene, asks, 1);
            assert!(outcomes.told.into_iter().eq(all));
        }
    });
}

#[test]
fn a_map_in_two_halves_shows_keys_that_never_were() {
    with_rules(None, || {
        // Key 1 goes from free to execute-only and is answered for.
        let (writers, pkey) = ALONE[0];
        for asks in [Asks::Kernel, Asks::Page] {
            let outcomes = outcomes::<Halves>(writers, asks, pkey);
            assert!(outcomes.nr_unexplained > 0, "{asks:?}: {outcomes:?}");
        }
    });
}

#[test]
fn a_map_that_is_read_twice_shows_keys_that_never_were() {
    with_rules(Some(Mutant::MapReadTwice), || {
        let (writers, pkey) = ALONE[0];
        let outcomes = outcomes::<Whole>(writers, Asks::Kernel, pkey);
        assert!(outcomes.nr_unexplained > 0, "{outcomes:?}");
    });
}

/// Whether what the allocator of a key did before is seen by whoever finds the key allocated.
fn is_prepared_when_found<W: Watched>() -> bool {
    let is_always = RealArc::new(AtomicBool::new(true));
    let notes = RealArc::clone(&is_always);
    loom::model(move || {
        let map = Arc::new(AllocationMap::from_word(W::new(1)));
        let prepared = Arc::new(AtomicUsize::new(0));
        let allocator = {
            let (map, prepared) = (Arc::clone(&map), Arc::clone(&prepared));
            thread::spawn(move || {
                prepared.store(1, Relaxed);
                assert!(map.allocate().is_some());
            })
        };
        if map.is_allocated(1) && prepared.load(Relaxed) == 0 {
            notes.store(false, Relaxed);
        }
        allocator.join().unwrap();
    });
    is_always.load(Relaxed)
}

#[test]
fn an_allocation_comes_after_what_was_done_for_it() {
    with_rules(None, || {
        assert!(is_prepared_when_found::<Whole>());
        assert!(!is_prepared_when_found::<Whole<false>>());
    });
}

/// Whether the kernel's own map is at least as new as the page: who finds a key on it is not told otherwise by the call.
fn is_page_never_ahead<W: Watched>() -> bool {
    let is_always = RealArc::new(AtomicBool::new(true));
    let notes = RealArc::clone(&is_always);
    loom::model(move || {
        let map = Arc::new(AllocationMap::from_word(W::new(1)));
        let page = Arc::new(KeyPage {
            map: W::new(1),
            version: KeyPage::VERSION.into(),
        });
        let kernel = {
            let (map, page) = (Arc::clone(&map), Arc::clone(&page));
            thread::spawn(move || {
                map.allocate();
                page.map.mirror(map.snapshot());
            })
        };
        if scene::ask_page(&page, 1) == Taken && scene::ask_kernel(&map, 1) != Taken {
            notes.store(false, Relaxed);
        }
        kernel.join().unwrap();
    });
    is_always.load(Relaxed)
}

#[test]
fn the_kernels_map_is_at_least_as_new_as_the_page() {
    with_rules(None, || {
        assert!(is_page_never_ahead::<Whole>());
        assert!(!is_page_never_ahead::<Whole<false>>());
    });
}

/// Threads that hold no lock get different keys, and one execute-only key between them.
#[test]
fn changes_without_the_lock_are_not_lost() {
    with_rules(None, || {
        loom::model(|| {
            let map = Arc::new(AllocationMap::from_word(<Whole>::new(1)));
            let others = Arc::clone(&map);
            let other = thread::spawn(move || {
                let pkey = others.allocate().unwrap();
                let execute_only = others.allocate_execute_only();
                assert_eq!(others.free(pkey.into()), Ok(()));
                (pkey, execute_only)
            });
            let here = (map.allocate().unwrap(), map.allocate_execute_only());
            let there = other.join().unwrap();
            assert_eq!(here.1, there.1);
            let taken = map.snapshot().taken();
            // Key 0, the one of this thread, and the execute-only key.
            assert_eq!(taken.len(), 3, "{taken}");
            assert!(taken.contains(here.0), "{taken}");
        });
    });
}
