//! Reports of accesses that were let through: kept by the fault handler, printed by a softirq.
//!
//! A fault handler prints nothing: it may have interrupted whoever holds the console. So it leaves the report in one of a
//! few places, which it claims by exchange, and the next softirq on the CPU prints what is there. What finds no place is
//! counted.

#![allow(unsafe_code, reason = "a cell whose state says who may touch it")]

use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use pkeys_kernel::pks::Report;

use crate::cpu::per_cpu;
use crate::trap::softirq::Softirq;
use crate::{say, sched};

/// How many can wait.
const NR_PLACES: usize = 16;

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const FILLED: u8 = 2;

/// A report, with what the fault handler knew beside it.
#[derive(Clone, Copy)]
struct Told {
    report: Report,
    cpu: u32,
    thread: u32,
}

struct Place {
    state: AtomicU8,
    told: UnsafeCell<Option<Told>>,
}

// SAFETY: the cell is touched by whoever has changed the state to `TAKEN`, alone, until it changes the state again.
unsafe impl Sync for Place {}

static PLACES: [Place; NR_PLACES] = [const {
    Place {
        state: AtomicU8::new(FREE),
        told: UnsafeCell::new(None),
    }
}; NR_PLACES];

/// How many reports were printed, and how many found no place.
static NR_PRINTED: AtomicU64 = AtomicU64::new(0);
static NR_LOST: AtomicU64 = AtomicU64::new(0);

/// Has reports printed.
pub(super) fn start() {
    Softirq::TELL.set(print);
}

/// Keeps a report. Called by fault handlers.
pub(super) fn add(report: Report) {
    let told = Told {
        report,
        cpu: per_cpu::id(),
        thread: sched::current().map_or(0, |thread| thread.id()),
    };
    for place in &PLACES {
        if place
            .state
            .compare_exchange(FREE, TAKEN, Acquire, Relaxed)
            .is_ok()
        {
            // SAFETY: the state was changed to `TAKEN` just now.
            unsafe { *place.told.get() = Some(told) };
            place.state.store(FILLED, Release);
            Softirq::TELL.raise();
            return;
        }
    }
    NR_LOST.fetch_add(1, Relaxed);
}

/// Prints what is kept.
pub(crate) fn print() {
    for place in &PLACES {
        if place
            .state
            .compare_exchange(FILLED, TAKEN, Acquire, Relaxed)
            .is_err()
        {
            continue;
        }
        // SAFETY: the state was changed to `TAKEN` just now.
        let told = unsafe { (*place.told.get()).take() };
        place.state.store(FREE, Release);
        if let Some(Told {
            report,
            cpu,
            thread,
        }) = told
        {
            NR_PRINTED.fetch_add(1, Relaxed);
            say!("pkeys: {report}, let through (CPU {cpu}, thread {thread})");
        }
    }
    let nr_lost = NR_LOST.swap(0, Relaxed);
    if nr_lost > 0 {
        say!("pkeys: {nr_lost} reports found no place");
    }
}

/// How many reports were printed so far.
pub(crate) fn nr_printed() -> u64 {
    print();
    NR_PRINTED.load(Relaxed)
}
