//! Records that were set aside before the fault, and how one passes from a handler to the reporter and back.
//!
//! A handler may not allocate, so there is a fixed number of slots, each with a state word that is also the futex word on
//! which the handler sleeps:
//!
//! ```text
//!           handler          handler         reporter          reporter        handler
//!  FREE ---------> CLAIMED ---------> READY ----------> TAKEN ----------> DONE ---------> FREE
//! ```
//!
//! A handler that stops waiting sets the ABANDONED bit on READY or TAKEN. From then on the faulting thread may run again,
//! and its stack is not what it was; the slot is freed by the reporter. Whichever of the two comes second sees what the
//! first one did, as each changes the word in one atomic step.
#![allow(
    unsafe_code,
    reason = "a record is shared between a handler and the reporter"
)]

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::fault::report::futex::{self, Woken};
use crate::fault::report::record::{LINE_BYTES, Record};

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const READY: u32 = 2;
const TAKEN: u32 = 3;
const DONE: u32 = 4;
/// The handler has gone; set beside READY, TAKEN or, for a moment, DONE.
const ABANDONED: u32 = 8;

/// A record and the state that says whose it is. The record belongs to the handler in the states CLAIMED and DONE, in READY and
/// TAKEN it is only read.
pub(super) struct Slot {
    state: AtomicU32,
    record: UnsafeCell<Record>,
    line: UnsafeCell<[u8; LINE_BYTES]>,
}

// SAFETY: the record and the line are written by the one holder of a `Claim`, which the state word hands out once, and
// read by others only after it was handed over (READY) and before it is free again.
unsafe impl Sync for Slot {}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Slot {
    /// A free one.
    pub(super) const fn new() -> Self {
        Self {
            state: AtomicU32::new(FREE),
            record: UnsafeCell::new(Record::new()),
            line: UnsafeCell::new([0; LINE_BYTES]),
        }
    }

    /// Takes the slot for a handler, if it is free.
    pub(super) fn claim(&self) -> Option<Claim<'_>> {
        let claimed = self.state.compare_exchange(FREE, CLAIMED, SeqCst, SeqCst);
        claimed.ok().map(|_| Claim { slot: self })
    }

    /// The number of the record that waits here for the reporter.
    pub(super) fn waiting(&self) -> Option<u64> {
        if self.state.load(SeqCst) & !ABANDONED != READY {
            return None;
        }
        // SAFETY: the record was handed over. Only the reporter, which asks, takes it further.
        Some(unsafe { &*self.record.get() }.sequence)
    }

    /// Takes the record that waits here; for the reporter, of which there is one.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        let took = self.state.fetch_update(SeqCst, SeqCst, |state| {
            (state & !ABANDONED == READY).then_some(TAKEN | state & ABANDONED)
        });
        // Made only where it was taken: its drop gives it back.
        took.ok().map(|_| Taken { slot: self })
    }

    /// Frees the slot, whatever it was; for a child of `fork(2)`, where nobody else is left.
    pub(super) fn reset(&self) {
        self.state.store(FREE, SeqCst);
    }
}

/// A handler's slot.
#[derive(Debug)]
pub(super) struct Claim<'s> {
    slot: &'s Slot,
}

impl<'s> Claim<'s> {
    /// The record, and room for a line about it.
    pub(super) fn parts(&mut self) -> (&mut Record, &mut [u8]) {
        let line: &mut [u8] = {
            // SAFETY: the state is CLAIMED: the slot is this handler's alone, and borrowed from it here.
            unsafe { &mut *self.slot.line.get() }
        };
        // SAFETY: as above.
        (unsafe { &mut *self.slot.record.get() }, line)
    }

    /// Gives the slot back unseen.
    pub(super) fn release(self) {
        self.slot.state.store(FREE, SeqCst);
    }

    /// Shows the record to the reporter. The caller wakes it.
    pub(super) fn hand_over(self) -> Wait<'s> {
        self.slot.state.store(READY, SeqCst);
        Wait { slot: self.slot }
    }
}

/// A handler's slot while the reporter has it.
#[derive(Debug)]
#[must_use = "the slot is freed by `until`"]
pub(super) struct Wait<'s> {
    slot: &'s Slot,
}

impl Wait<'_> {
    /// Sleeps until the reporter is done, or until the monotonic clock shows `until_ns`. Gives whether it is done.
    pub(super) fn until(self, until_ns: u64) -> bool {
        let state = &self.slot.state;
        loop {
            let seen = state.load(SeqCst);
            if seen == DONE {
                state.store(FREE, SeqCst);
                return true;
            }
            if futex::wait(state, seen, Some(until_ns)) == Woken::TimedOut {
                break;
            }
        }
        let is_done = state.fetch_or(ABANDONED, SeqCst) == DONE;
        if is_done {
            state.store(FREE, SeqCst);
        }
        is_done
    }
}

/// The reporter's slot; given back on drop.
#[derive(Debug)]
pub(super) struct Taken<'s> {
    slot: &'s Slot,
}

impl Taken<'_> {
    /// The record.
    pub(super) fn record(&self) -> &Record {
        // SAFETY: the state is TAKEN: nobody writes to the record.
        unsafe { &*self.slot.record.get() }
    }

    /// Whether the handler has gone, so that the thread's stack may have changed.
    pub(super) fn is_abandoned(&self) -> bool {
        self.slot.state.load(SeqCst) & ABANDONED != 0
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let state = &self.slot.state;
        if state.swap(DONE, SeqCst) & ABANDONED != 0 {
            state.store(FREE, SeqCst);
        } else {
            futex::wake(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::report::clock;
    use std::thread;

    fn soon() -> u64 {
        clock::monotonic_ns() + 20_000_000
    }

    fn far() -> u64 {
        clock::monotonic_ns() + 60 * clock::SECOND_NS
    }

    #[test]
    fn a_slot_has_one_holder() {
        let slot = Slot::new();
        let claim = slot.claim().unwrap();
        assert!(slot.claim().is_none());
        assert!(slot.take().is_none(), "not handed over");
        claim.release();
        assert!(slot.claim().is_some());
    }

    #[test]
    fn a_record_goes_to_the_reporter_and_back() {
        let slot = Slot::new();
        let mut claim = slot.claim().unwrap();
        claim.parts().0.sequence = 5;
        thread::scope(|scope| {
            let wait = claim.hand_over();
            assert_eq!(slot.waiting(), Some(5));
            let handler = scope.spawn(|| wait.until(far()));
            let taken = slot.take().unwrap();
            assert!(slot.take().is_none());
            assert_eq!(slot.waiting(), None);
            assert_eq!(taken.record().sequence, 5);
            assert!(!taken.is_abandoned());
            drop(taken);
            assert!(handler.join().unwrap());
        });
        assert!(slot.claim().is_some(), "free again");
    }

    #[test]
    fn a_handler_that_is_not_served_goes() {
        let slot = Slot::new();
        let until = soon();
        assert!(!slot.claim().unwrap().hand_over().until(until));
        assert!(clock::monotonic_ns() >= until);
        assert!(slot.claim().is_none(), "the reporter has not seen it yet");
        let taken = slot.take().unwrap();
        assert!(taken.is_abandoned());
        drop(taken);
        assert!(slot.claim().is_some());
    }

    #[test]
    fn a_handler_may_go_while_its_report_is_made() {
        let slot = Slot::new();
        let wait = slot.claim().unwrap().hand_over();
        let taken = slot.take().unwrap();
        assert!(!taken.is_abandoned());
        assert!(!wait.until(soon()));
        assert!(taken.is_abandoned());
        drop(taken);
        assert!(slot.claim().is_some());
    }

    #[test]
    fn a_report_that_is_done_beats_the_bound() {
        let slot = Slot::new();
        let wait = slot.claim().unwrap().hand_over();
        drop(slot.take().unwrap());
        assert!(wait.until(0), "done already, however late");
        assert!(slot.claim().is_some());
    }

    /// Handler and reporter end at the same time, again and again: whoever comes second frees the slot.
    #[test]
    fn the_slot_is_freed_whoever_ends_first() {
        let slot = Slot::new();
        thread::scope(|scope| {
            let reporter = scope.spawn(|| {
                let mut nr_taken = 0;
                while nr_taken < 2_000 {
                    match slot.take() {
                        Some(_taken) => nr_taken += 1,
                        None => thread::yield_now(),
                    }
                }
            });
            let mut nr_handed = 0;
            while nr_handed < 2_000 {
                let Some(claim) = slot.claim() else {
                    thread::yield_now();
                    continue;
                };
                nr_handed += 1;
                claim
                    .hand_over()
                    .until(clock::monotonic_ns() + nr_handed % 64 * 1_000);
            }
            reporter.join().unwrap();
        });
        assert!(slot.claim().is_some());
    }
}
