//! The watchdog: on a timer tick, rights that the kernel did not give are taken back.
//!
//! User space can execute WRPKRU itself, and that is what keys are for. Some programs want it otherwise: every change by
//! `pkey_set`, and a stray WRPKRU (a jump into the middle of a gate, a corrupted saved register) found and undone. With
//! the watchdog on, a tick compares the register of the thread it interrupts with what the kernel last put there:
//!
//! * rights on a key that is not allocated go back to their initial value: a freed key's rights are nobody's;
//! * rights on an allocated key go back to what the kernel last set for that thread.
//!
//! Both are counted apart. A key's rights end for good with the tick that finds it free: when its number is allocated
//! again, no other thread has rights on it that the kernel gave for the old one, and the watchdog gives none back.
//!
//! What the kernel gave includes what it loaded when a signal handler returned: the frame is the program's own, and so a
//! right that a stray WRPKRU gave just before a signal is taken for given once the handler is done. A thread inherits from
//! its creator what the kernel gave that one, and the register as it is; so there the next tick finds it.
//!
//! It is off by default, since Linux lets programs write the register as they like, and a
//! program written for Linux does. Between two ticks a thread has what it wrote: this finds mistakes, it does not stop
//! an attacker.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pkeys_core::{AllocationMap, KeySet, Pkey};

use crate::keys::{InitPkru, PkruRegister, ThreadKeys};

/// What the watchdog has found, for one process or the whole system, as the kernel keeps it.
#[derive(Debug, Default)]
pub struct Findings {
    /// Ticks at which the register was looked at.
    pub ticks: AtomicU64,
    /// Keys that were not allocated, and were found with other rights than the initial ones.
    pub unallocated: AtomicU64,
    /// Allocated keys that were found with other rights than the kernel last set.
    pub changed: AtomicU64,
}

/// What one tick put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repair {
    /// The keys that were not allocated.
    pub unallocated: KeySet,
    /// The allocated keys.
    pub changed: KeySet,
}

/// Looks at the register of the thread that the tick interrupted, puts it right, and counts. Called with interrupts off, on
/// the CPU of the register. A thread that the kernel is just changing itself is left to the next tick, uncounted.
pub fn tick(
    map: &AllocationMap,
    thread: &ThreadKeys,
    register: &dyn PkruRegister,
    init: InitPkru,
    findings: &Findings,
) -> Repair {
    if thread.is_changing() {
        return Repair::default();
    }
    findings.ticks.fetch_add(1, Relaxed);
    let live = register.read();
    let allocated = map.snapshot().taken();
    let wanted = init.register().merge(thread.granted(), allocated);
    let wrong: KeySet = Pkey::all()
        .filter(|pkey| live.get(*pkey) != wanted.get(*pkey))
        .collect();
    let repair = Repair {
        unallocated: wrong.difference(allocated),
        changed: wrong.intersection(allocated),
    };
    thread.set_granted(wanted);
    if !wrong.is_empty() {
        register.write(wanted);
        let count = |keys: KeySet| u64::try_from(keys.len()).unwrap_or(u64::MAX);
        findings
            .unallocated
            .fetch_add(count(repair.unallocated), Relaxed);
        findings.changed.fetch_add(count(repair.changed), Relaxed);
    }
    repair
}
