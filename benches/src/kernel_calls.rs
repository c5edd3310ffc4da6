//! The kernel library's `pkey_get` and `pkey_set`, which take no lock, against the same calls with the allocation map under
//! one, while another thread allocates and frees keys.
//!
//! What differs is the way to the map, so that the register is a word of the thread's own memory and no protection keys
//! are needed. On both sides keys are allocated and freed under the lock, as a kernel does. A kernel's own lock of an
//! address space is held for longer things than these; here nothing but the map is under it, which is the least it can cost.
//! Each of three locks is measured, and the fastest is the one that counts.

use core::cell::Cell;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;

use pkeys_core::{AllocationMap, KeyRegister, Pkey};
use pkeys_kernel::keys::{InitPkru, PkruRegister, ThreadKeys, get_set};

use crate::figure::Figure;
use crate::sample::{Effort, Rounds, Spread, compare_joint, this_cpu, unpin_away_from};

pub(crate) const NAMES: &[&str] = &["kernel-get-set-1", "kernel-get-set-2"];

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    vec![
        figure(
            "kernel-get-set-1",
            "the kernel's pkey_get and pkey_set: throughput without a lock against one, 1 thread (PKRU is a word in memory)",
            1.25,
            with_callers(1, effort),
        ),
        figure(
            "kernel-get-set-2",
            "the same with 2 threads",
            2.5,
            with_callers(2, effort),
        ),
    ]
}

/// The ratio to the fastest of the locks.
fn figure(name: &'static str, what: &'static str, bar: f64, rounds: Rounds) -> Figure {
    let cycles = |lock: &usize| rounds.cycles(*lock).median;
    let fastest = (1..=NR_LOCKS)
        .min_by(|a, b| cycles(a).total_cmp(&cycles(b)))
        .unwrap_or(1);
    let sides: (Spread, Spread) = (rounds.cycles(fastest), rounds.cycles(0));
    Figure::at_least(name, what, bar, rounds.ratio(fastest, 0), sides)
}

/// How many locks there are to choose from.
const NR_LOCKS: usize = 3;

/// A register in memory.
#[derive(Debug)]
struct Memory(Cell<KeyRegister>);

impl PkruRegister for Memory {
    fn read(&self) -> KeyRegister {
        self.0.get()
    }

    fn write(&self, pkru: KeyRegister) {
        self.0.set(pkru);
    }
}

/// A thread of the kernel that makes calls.
#[derive(Debug)]
struct Caller {
    keys: ThreadKeys,
    register: Memory,
    nr_calls: Cell<u32>,
}

impl Caller {
    fn new() -> Self {
        let init = InitPkru::DEFAULT;
        Self {
            keys: ThreadKeys::new(init),
            register: Memory(Cell::new(init.register())),
            nr_calls: Cell::new(0),
        }
    }

    /// Both calls on key 1, with rights that change.
    fn call(&self, space: &dyn Space) {
        let rights = self.nr_calls.get();
        self.nr_calls.set(rights.wrapping_add(1));
        space.with_map(&mut |map| {
            let rights = get_set::pkey_get(map, Some(&self.register), black_box(1), 0);
            black_box(rights).expect("an allocated key");
        });
        space.with_map(&mut |map| {
            let register = Some(&self.register as &dyn PkruRegister);
            get_set::pkey_set(map, &self.keys, register, 1, u64::from(rights % 4), 0)
                .expect("an allocated key");
        });
    }
}

/// An address space: a map, and how one comes to it.
trait Space: Sync {
    /// For a look.
    fn with_map(&self, look: &mut dyn FnMut(&AllocationMap));

    /// For a change.
    fn with_lock(&self, change: &mut dyn FnMut(&AllocationMap)) {
        self.with_map(change);
    }
}

/// Looks take no lock.
#[derive(Debug, Default)]
struct LockFree {
    map: AllocationMap,
    lock: Mutex<()>,
}

impl Space for LockFree {
    fn with_map(&self, look: &mut dyn FnMut(&AllocationMap)) {
        look(&self.map);
    }

    fn with_lock(&self, change: &mut dyn FnMut(&AllocationMap)) {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        change(&self.map);
    }
}

impl Space for Mutex<AllocationMap> {
    fn with_map(&self, look: &mut dyn FnMut(&AllocationMap)) {
        look(&self.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Space for RwLock<AllocationMap> {
    fn with_map(&self, look: &mut dyn FnMut(&AllocationMap)) {
        look(&self.read().unwrap_or_else(PoisonError::into_inner));
    }

    fn with_lock(&self, change: &mut dyn FnMut(&AllocationMap)) {
        change(&self.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A lock that is waited for awake.
#[derive(Debug, Default)]
struct Spin {
    map: AllocationMap,
    is_held: AtomicBool,
}

impl Space for Spin {
    fn with_map(&self, look: &mut dyn FnMut(&AllocationMap)) {
        let mut nr_looks = 0_u32;
        while self.is_held.swap(true, Ordering::Acquire) {
            while self.is_held.load(Ordering::Relaxed) {
                spin_loop();
                nr_looks += 1;
                // A kernel does not preempt the holder. Here the holder may need this CPU.
                if nr_looks.is_multiple_of(1024) {
                    thread::yield_now();
                }
            }
        }
        look(&self.map);
        self.is_held.store(false, Ordering::Release);
    }
}

/// What the threads are to do, and how much a second caller has done.
#[derive(Debug, Default)]
struct Orders {
    /// The CPU of the caller that is measured, which is its own.
    callers_cpu: usize,
    space: AtomicUsize,
    is_over: AtomicBool,
    others: Others,
}

/// A line of the cache apart from what the other threads read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Others {
    nr_calls: AtomicU64,
}

/// Runs the calls in one or two threads, without a lock and with each of the locks.
fn with_callers(nr_callers: usize, effort: Effort) -> Rounds {
    let lock_free = LockFree::default();
    let mutex = Mutex::new(AllocationMap::new());
    let rw_lock = RwLock::new(AllocationMap::new());
    let spin = Spin::default();
    let spaces: [&dyn Space; 1 + NR_LOCKS] = [&lock_free, &mutex, &rw_lock, &spin];
    for space in spaces {
        space.with_lock(&mut |map| assert_eq!(map.allocate(), Pkey::new(1)));
    }
    let orders = Orders {
        callers_cpu: this_cpu(),
        ..Orders::default()
    };
    thread::scope(|scope| {
        scope.spawn(|| allocate_and_free(&orders, &spaces));
        if nr_callers == 2 {
            scope.spawn(|| call_on(&orders, &spaces));
        }
        let caller = Caller::new();
        let run = |space: usize, iterations: u32| {
            orders.space.store(space, Ordering::SeqCst);
            let before = orders.others.nr_calls.load(Ordering::SeqCst);
            for _ in 0..iterations {
                caller.call(spaces[space]);
            }
            let after = orders.others.nr_calls.load(Ordering::SeqCst);
            u64::from(iterations) + after - before
        };
        let rounds = compare_joint(
            effort.rounds(101),
            effort.iterations(200_000),
            &mut [
                &mut |iterations| run(0, iterations),
                &mut |iterations| run(1, iterations),
                &mut |iterations| run(2, iterations),
                &mut |iterations| run(3, iterations),
            ],
        );
        orders.is_over.store(true, Ordering::SeqCst);
        rounds
    })
}

/// Allocates the next key and frees it, in the space that is measured. Where there are fewer CPUs than threads it leaves
/// them to the callers after each pair.
fn allocate_and_free(orders: &Orders, spaces: &[&dyn Space]) {
    unpin_away_from(orders.callers_cpu);
    while !orders.is_over.load(Ordering::Relaxed) {
        let space = spaces[orders.space.load(Ordering::Relaxed)];
        let mut key = None;
        space.with_lock(&mut |map| key = map.allocate());
        let key = key.expect("a free key");
        space.with_lock(&mut |map| map.free(key.into()).expect("a key of its own"));
        thread::yield_now();
    }
}

/// The second caller: calls for as long as it is measured.
fn call_on(orders: &Orders, spaces: &[&dyn Space]) {
    unpin_away_from(orders.callers_cpu);
    let caller = Caller::new();
    while !orders.is_over.load(Ordering::Relaxed) {
        let space = spaces[orders.space.load(Ordering::Relaxed)];
        for _ in 0..CALLS_PER_REPORT {
            caller.call(space);
        }
        orders
            .others
            .nr_calls
            .fetch_add(CALLS_PER_REPORT, Ordering::Relaxed);
    }
}

/// How many calls the second caller makes before it counts them.
const CALLS_PER_REPORT: u64 = 50;
