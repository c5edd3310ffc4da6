//! The allocation map under several threads: a key has one owner, the execute-only key is agreed on, and no reader
//! sees a word that cannot be.
//!
//! These tests show lost updates and changes in two steps, likely but not surely: whether the threads meet in the
//! moment that matters is chance, and on a busy machine they meet less often. They cannot show that the memory
//! orderings are strong enough, since x86 is stricter than what they ask for.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Barrier;
use std::thread;

use pkeys_core::{AllocationMap, AllocationState, KeySet, Pkey};

#[test]
fn no_key_is_given_to_two_threads() {
    const TURNS: usize = 100_000;
    let map = AllocationMap::new();
    let owned: [AtomicBool; Pkey::COUNT] = Default::default();
    let allocations = AtomicUsize::new(0);
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                barrier.wait();
                let mut held = Vec::new();
                let give_back = |pkey: Pkey| {
                    owned[pkey.index()].store(false, SeqCst);
                    map.free(pkey.into()).unwrap();
                };
                for turn in 0..TURNS {
                    // Up to five at a time each, so that there is always one free.
                    if held.len() < 1 + turn % 5 {
                        let pkey: Pkey = map.allocate().unwrap();
                        let was_owned = owned[pkey.index()].swap(true, SeqCst);
                        assert!(!was_owned, "key {pkey} has two owners");
                        assert!(map.is_allocated(pkey.into()));
                        allocations.fetch_add(1, SeqCst);
                        held.push(pkey);
                    } else if let Some(pkey) = held.pop() {
                        give_back(pkey);
                    }
                }
                held.into_iter().for_each(give_back);
            });
        }
    });
    // A lost update of `free` would leave a key taken.
    assert_eq!(map.snapshot(), AllocationState::INITIAL);
    assert!(allocations.load(SeqCst) >= TURNS / 2);
}

const ROUNDS: usize = 60_000;

/// Where two threads meet once a round. They wait awake: the moments to be caught are shorter than waking up takes.
#[derive(Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    fn meet(&self, round: usize) {
        self.0.fetch_add(1, SeqCst);
        let mut looks = 0_u32;
        while self.0.load(SeqCst) < 2 * (round + 1) {
            looks += 1;
            // Where there is one processor for both, the other needs it.
            if looks.is_multiple_of(1024) {
                thread::yield_now();
            }
        }
    }
}

fn new_maps() -> Vec<AllocationMap> {
    (0..ROUNDS).map(|_| AllocationMap::new()).collect()
}

#[test]
fn threads_agree_on_the_execute_only_key() {
    let maps = new_maps();
    let meeting = Meeting::default();
    let run = || {
        let allocate = |(round, map): (usize, &AllocationMap)| {
            meeting.meet(round);
            map.allocate_execute_only()
        };
        maps.iter().enumerate().map(allocate).collect::<Vec<_>>()
    };
    let (here, there) = thread::scope(|scope| {
        let there = scope.spawn(run);
        (run(), there.join().unwrap())
    });
    assert_eq!(here, there);
    for (map, pkey) in maps.iter().zip(here) {
        assert_eq!(pkey, Pkey::new(1));
        assert_eq!(map.execute_only(), pkey);
        assert_eq!(map.snapshot().taken(), KeySet::from_bits(0b11));
    }
}

#[test]
fn a_reader_never_sees_the_execute_only_key_as_allocated() {
    let maps = new_maps();
    let meeting = Meeting::default();
    // Judged after the threads are done: one that panicked would leave the other waiting.
    let mut wrong_states = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for (round, map) in maps.iter().enumerate() {
                meeting.meet(round);
                map.allocate_execute_only();
            }
        });
        for (round, map) in maps.iter().enumerate() {
            meeting.meet(round);
            for _ in 0..100 {
                let state = map.snapshot();
                // Key 1 goes from free to execute-only in one step, without a moment in which it may be used.
                let is_possible = AllocationState::from_bits(state.bits()) == Some(state);
                if state.is_allocated(1) || !is_possible {
                    wrong_states.push(state);
                }
            }
        }
    });
    assert_eq!(wrong_states.first(), None);
    assert!(maps.iter().all(|map| map.execute_only() == Pkey::new(1)));
}
