//! Collections in a domain: what they hold, when they can be seen, and how they go.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use core::cell::Cell;
use core::hash::{BuildHasher, Hasher};
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::collections::HashMap as Model;
use std::hash::DefaultHasher;
use std::panic::catch_unwind;
use std::thread;

use common::{Walk, alone, domain, is_closed, leaves_nothing_behind, limited};
use pkeys::keyed::{self, HashMap, HashSet};
use pkeys::{Keyed, OpenError, Rights};

#[test]
fn a_map_agrees_with_the_model() {
    let domain = domain("model");
    let mut map: Keyed<HashMap<u64, [u64; 3]>> = domain.keyed_map().unwrap();
    let mut model = Model::new();
    let mut walk = Walk::new(3);
    for step in 0..50_000_u64 {
        let key = walk.below(2_000) as u64;
        match walk.below(5) {
            0..2 => assert_eq!(
                map.write().unwrap().insert(key, [step; 3]),
                model.insert(key, [step; 3])
            ),
            2 => assert_eq!(map.write().unwrap().remove(&key), model.remove(&key)),
            _ => assert_eq!(map.read().unwrap().get(&key), model.get(&key)),
        }
    }
    let guard = map.read().unwrap();
    assert_eq!(guard.len(), model.len());
    assert!(guard.iter().all(|(key, value)| model[key] == *value));
}

#[test]
fn an_array_agrees_with_the_model() {
    let domain = domain("array");
    let mut array = domain.keyed_vec::<u32>().unwrap();
    let mut model = Vec::new();
    let mut walk = Walk::new(4);
    for step in 0..20_000_u32 {
        let mut guard = array.write().unwrap();
        match walk.below(100) {
            0 => {
                guard.clear();
                model.clear();
            }
            1 => {
                guard.shrink_to_fit();
            }
            2..20 if !model.is_empty() => {
                let at = walk.below(model.len());
                assert_eq!(guard.swap_remove(at), model.swap_remove(at));
            }
            _ => {
                guard.push(step);
                model.push(step);
            }
        }
        assert_eq!(guard[..], model[..]);
    }
}

/// Elements, table and header: nothing of a collection is within reach when its window is closed.
#[test]
fn header_and_elements_are_closed_without_a_window() {
    let domain = domain("closed");
    let mut map: Keyed<HashMap<u64, u64>> = domain.keyed_map().unwrap();
    let (header, element) = {
        let mut guard = map.write().unwrap();
        guard.insert(1, 2);
        let element = core::ptr::from_ref(&guard[&1]).addr();
        (core::ptr::from_ref(&*guard).addr(), element)
    };
    assert!(is_closed(header) && is_closed(element));
    let guard = map.read().unwrap();
    assert!(!is_closed(header) && !is_closed(element));
    drop(guard);
    assert!(is_closed(header) && is_closed(element));
}

#[test]
fn every_collection_can_be_made_filled_and_read() {
    let domain = domain("kinds");
    let map: Keyed<HashMap<u8, u8>> = domain
        .keyed(|alloc| {
            let mut map = HashMap::with_capacity_in(10, alloc);
            map.insert(1, 2);
            map
        })
        .unwrap();
    assert_eq!(map.read().unwrap()[&1], 2);
    let set: Keyed<HashSet<u8>> = domain
        .keyed(|alloc| {
            let mut set = HashSet::new_in(alloc);
            set.insert(3);
            set
        })
        .unwrap();
    assert!(set.read().unwrap().contains(&3));
    let array = domain.keyed::<keyed::Vec<u8>>(|alloc| {
        let mut array = keyed::Vec::new_in(alloc);
        array.extend([4, 5]);
        array
    });
    assert_eq!(array.unwrap().read().unwrap()[..], [4, 5]);
    let boxed = domain.keyed::<keyed::Box<[u64; 100]>>(|alloc| keyed::Box::new_in([6; 100], alloc));
    assert_eq!(boxed.unwrap().read().unwrap()[99], 6);
}

#[test]
fn one_window_serves_many_collections() {
    let domain = domain("many");
    let mut map = domain.keyed_map::<u64, u64>().unwrap();
    let mut array = domain.keyed_vec::<u64>().unwrap();
    let window = domain.open(Rights::ReadWrite).unwrap();
    let (map, array) = (
        map.get_mut(&window).unwrap(),
        array.get_mut(&window).unwrap(),
    );
    for n in 0..1_000 {
        map.insert(n, n);
        array.push(map[&n]);
    }
    assert_eq!(array.iter().sum::<u64>(), 499_500);
}

#[test]
fn a_window_must_be_of_the_domain_and_give_the_rights() {
    let (ours, other) = (domain("ours"), domain("other"));
    let mut array = ours.keyed_vec::<u64>().unwrap();
    let window = other.open(Rights::ReadWrite).unwrap();
    for error in [
        array.get(&window).unwrap_err(),
        array.get_shared(&window).unwrap_err(),
        array.get_mut(&window).unwrap_err(),
    ] {
        let OpenError::WrongDomain { window, region } = error else {
            panic!("{error:?}");
        };
        assert_eq!((&*window, &*region), ("other", "ours"));
    }
    let window = ours.open(Rights::ReadOnly).unwrap();
    assert!(array.get(&window).is_ok());
    for error in [
        array.get_shared(&window).unwrap_err(),
        array.get_mut(&window).unwrap_err(),
    ] {
        assert!(
            matches!(error, OpenError::InsufficientRights { .. }),
            "{error:?}"
        );
    }
}

/// A window that also writes, for elements that change behind a shared reference.
#[test]
fn shared_elements_may_have_interior_mutability() {
    let domain = domain("cells");
    let mut cells = domain.keyed_vec::<Cell<u32>>().unwrap();
    cells.write().unwrap().push(Cell::new(1));
    cells.share().unwrap()[0].set(2);
    let window = domain.open(Rights::ReadWrite).unwrap();
    assert_eq!(cells.get_shared(&window).unwrap()[0].replace(3), 2);
}

#[test]
fn threads_read_at_the_same_time_and_the_last_one_drops() {
    let domain = domain("threads");
    let mut map = domain.keyed_map::<u64, u64>().unwrap();
    map.write().unwrap().extend((0..1_000).map(|n| (n, n * n)));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..1_000 {
                    assert_eq!(map.read().unwrap()[&n], n * n);
                }
            });
        }
    });
    // On a thread that has never had a window.
    thread::spawn(move || drop(map)).join().unwrap();
}

#[test]
fn a_collection_outlives_its_domain() {
    let domain = domain("gone");
    let mut array = domain.keyed_vec::<u64>().unwrap();
    drop(domain);
    array.write().unwrap().push(1);
    assert_eq!(array.read().unwrap()[0], 1);
    assert_eq!(array.domain_name(), "gone");
}

/// Counts how many of its kind are dropped.
#[derive(Debug)]
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn elements_are_dropped_once() {
    let domain = domain("drops");
    let dropped = AtomicUsize::new(0);
    let mut array = domain.keyed_vec().unwrap();
    for _ in 0..100 {
        array.write().unwrap().push(Counted(&dropped));
    }
    array.write().unwrap().truncate(60);
    assert_eq!(dropped.load(Relaxed), 40);
    drop(array);
    assert_eq!(dropped.load(Relaxed), 100);
}

#[test]
fn two_collections_of_a_domain_can_be_swapped() {
    let domain = domain("swap");
    let mut first = domain.keyed_vec::<u64>().unwrap();
    let mut second = domain.keyed_vec::<u64>().unwrap();
    first.write().unwrap().extend([1, 2, 3]);
    core::mem::swap(&mut *first.write().unwrap(), &mut *second.write().unwrap());
    assert_eq!(first.read().unwrap().len(), 0);
    drop(first);
    assert_eq!(second.read().unwrap()[..], [1, 2, 3]);
}

/// The one thing that safe code can do to mix two domains up. Neither is opened for the other's data, and each goes
/// where it belongs.
#[test]
fn collections_swapped_between_domains_are_refused_and_dropped_whole() {
    let dropped = AtomicUsize::new(0);
    let (left, right) = (domain("left"), domain("right"));
    let (mut a, mut b) = (left.keyed_vec().unwrap(), right.keyed_vec().unwrap());
    a.write().unwrap().push(Counted(&dropped));
    b.write().unwrap().push(Counted(&dropped));
    b.write().unwrap().push(Counted(&dropped));
    core::mem::swap(&mut *a.write().unwrap(), &mut *b.write().unwrap());

    let window = left.open(Rights::ReadWrite).unwrap();
    for error in [
        a.write().unwrap_err(),
        a.share().unwrap_err(),
        a.get_mut(&window).map(|_| ()).unwrap_err(),
        a.get_shared(&window).map(|_| ()).unwrap_err(),
    ] {
        let OpenError::WrongDomain { window, region } = error else {
            panic!("{error:?}");
        };
        assert_eq!((&*window, &*region), ("left", "right"));
    }
    drop(window);
    assert!(matches!(b.write(), Err(OpenError::WrongDomain { .. })));

    // Each holds the other's memory, whatever else is gone.
    drop((left, right));
    drop(a);
    assert_eq!(dropped.load(Relaxed), 2);
    drop(b);
    assert_eq!(dropped.load(Relaxed), 3);
}

#[test]
fn readers_are_refused_after_a_swap_too() {
    let (left, right) = (domain("left"), domain("right"));
    let (mut a, mut b) = (
        left.keyed_map::<u64, u64>().unwrap(),
        right.keyed_map().unwrap(),
    );
    core::mem::swap(&mut *a.write().unwrap(), &mut *b.write().unwrap());
    let window = left.open(Rights::ReadOnly).unwrap();
    assert!(matches!(a.read(), Err(OpenError::WrongDomain { .. })));
    assert!(matches!(a.get(&window), Err(OpenError::WrongDomain { .. })));
    // Back again: through guards that were opened before there was anything to refuse.
    drop((a, b, window));
}

#[test]
fn a_panic_closes_the_window() {
    let domain = domain("panic");
    let mut probe = domain.keyed_vec::<u64>().unwrap();
    probe.write().unwrap().push(1);
    let element = probe.read().unwrap().as_ptr().addr();

    let result = catch_unwind(|| {
        domain.keyed::<keyed::Vec<u64>>(|_alloc| {
            assert!(!is_closed(element));
            panic!("in the closure")
        })
    });
    assert!(result.is_err() && is_closed(element));

    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = probe.write().unwrap();
        guard.push(2);
        panic!("beside a guard")
    }));
    assert!(result.is_err() && is_closed(element));
    assert_eq!(probe.read().unwrap()[..], [1, 2]);
}

/// A panic without a message.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new(()))
}

/// Panics when it is dropped, unless a panic is on its way already.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic_quietly();
        }
    }
}

/// What a guard opened stays open when it is leaked, and nothing worse happens.
#[test]
fn a_leaked_guard_costs_protection_only() {
    let domain = domain("leaked");
    let mut array = domain.keyed_vec::<u64>().unwrap();
    core::mem::forget(array.write().unwrap());
    array.write().unwrap().push(1);
    let element = array.read().unwrap().as_ptr().addr();
    assert!(!is_closed(element));
}

#[test]
fn temporary_collections_can_borrow_the_allocator() {
    let domain = domain("temporary");
    let mut array = domain.keyed_vec::<u64>().unwrap();
    let mut guard = array.write().unwrap();
    guard.extend([3, 1, 2]);
    let mut sorted = keyed::Vec::new_in(guard.allocator());
    sorted.extend_from_slice(&guard);
    sorted.sort_unstable();
    assert_eq!(sorted[..], [1, 2, 3]);
}

/// `ulimit -v`: a table that does not fit is refused, by the methods that can say so.
#[test]
fn a_reservation_that_does_not_fit_is_refused() {
    alone(
        "a_reservation_that_does_not_fit_is_refused",
        limited(512),
        || {
            let domain = domain("large");
            let mut map = domain.keyed_map::<u64, u64>().unwrap();
            let mut array = domain.keyed_vec::<u64>().unwrap();
            assert!(map.write().unwrap().try_reserve(1 << 26).is_err());
            assert!(array.write().unwrap().try_reserve(1 << 26).is_err());
            map.write().unwrap().insert(1, 2);
            assert_eq!(map.read().unwrap()[&1], 2);
        },
    );
}

/// A hasher of 8 KiB, which makes the header of its collection as large.
struct Wide([u64; 1024]);

impl BuildHasher for Wide {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0[1023]);
        hasher
    }
}

type Large<V> = HashMap<u64, V, Wide>;

/// Inside one heap, whose mappings would hide it: what goes makes room, also where something panics on the way.
#[test]
fn collections_give_their_memory_back_to_the_heap() {
    let domain = domain("room");
    let heap = domain.heap().unwrap();
    let mapped = heap.mapped_bytes();
    for _ in 0..1_000 {
        let whole =
            domain.keyed::<Large<u64>>(|alloc| HashMap::with_hasher_in(Wide([0; 1024]), alloc));
        drop(whole.unwrap());
        let failed = catch_unwind(|| domain.keyed::<Large<u64>>(|_| panic_quietly()));
        assert!(failed.is_err());
        let grenades = domain.keyed::<Large<Grenade>>(|alloc| {
            let mut grenades = HashMap::with_hasher_in(Wide([0; 1024]), alloc);
            grenades.insert(1, Grenade);
            grenades
        });
        assert!(catch_unwind(AssertUnwindSafe(|| drop(grenades))).is_err());
    }
    assert_eq!(heap.mapped_bytes(), mapped);
}

#[test]
fn collections_leave_nothing_behind() {
    alone(
        "collections_leave_nothing_behind",
        |_| {},
        || {
            leaves_nothing_behind(|| {
                let (left, right) = (domain("left"), domain("right"));
                let (mut a, mut b) = (left.keyed_vec().unwrap(), right.keyed_vec().unwrap());
                a.write().unwrap().extend(0..100_000_u64);
                b.write().unwrap().extend(0..100_000_u64);
                core::mem::swap(&mut *a.write().unwrap(), &mut *b.write().unwrap());
                let failed = catch_unwind(AssertUnwindSafe(|| {
                    left.keyed::<keyed::Vec<u64>>(|_| panic_quietly())
                }));
                assert!(failed.is_err());
                let mut grenades = left.keyed_vec().unwrap();
                grenades.write().unwrap().push(Grenade);
                assert!(catch_unwind(AssertUnwindSafe(|| drop(grenades))).is_err());
            });
        },
    );
}
