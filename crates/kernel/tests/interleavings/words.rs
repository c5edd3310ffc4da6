//! Words for the allocation map that loom watches.
//!
//! One access is kept from loom: the relaxed load with which a change begins. It is only the guess that the exchange is
//! tried with, and any value will do. If loom saw it, it would leave interleavings out, since of several accesses to an
//! atomic it remembers the last only (0.7.2: a thread's own load, then its exchange, hide what another thread read before
//! both). So the guess is the last value that was put there; between it and the exchange, loom may let others run.

use core::sync::atomic::AtomicU32 as Unwatched;
use core::sync::atomic::Ordering::{self, Acquire, Relaxed, Release};

use loom::sync::atomic::{AtomicU16, AtomicU32};
use pkeys_core::AllocationState;
use pkeys_core::alloc_map::Word;

/// A word that a scene can be played with.
pub(crate) trait Watched: Word + Send + Sync + 'static {
    /// A word that holds this.
    fn new(word: u32) -> Self;

    /// The kernel's copy of its map to the page that user space reads.
    fn mirror(&self, state: AllocationState);
}

/// What the library has, all in one: with the memory orders that it asks for, or with none.
#[derive(Debug)]
pub(crate) struct Whole<const IS_ORDERED: bool = true> {
    word: AtomicU32,
    guess: Unwatched,
}

/// The order that is asked for, or none.
const fn order(is_ordered: bool, wanted: Ordering) -> Ordering {
    if is_ordered { wanted } else { Relaxed }
}

impl<const IS_ORDERED: bool> Word for Whole<IS_ORDERED> {
    fn load(&self, wanted: Ordering) -> u32 {
        match wanted {
            Relaxed => self.guess.load(Relaxed),
            wanted => self.word.load(order(IS_ORDERED, wanted)),
        }
    }

    fn compare_exchange_weak(
        &self,
        current: u32,
        next: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        let success = order(IS_ORDERED, success);
        let result = self.word.compare_exchange(current, next, success, failure);
        if result.is_ok() {
            self.guess.store(next, Relaxed);
        }
        result
    }
}

impl<const IS_ORDERED: bool> Watched for Whole<IS_ORDERED> {
    fn new(word: u32) -> Self {
        Self {
            word: AtomicU32::new(word),
            guess: Unwatched::new(word),
        }
    }

    fn mirror(&self, state: AllocationState) {
        self.word.store(state.bits(), order(IS_ORDERED, Release));
    }
}

/// What Linux's draft had: which keys are taken and which one is execute-only in two places, written one after the other
/// under the lock and read without it.
#[derive(Debug)]
pub(crate) struct Halves {
    taken: AtomicU16,
    execute_only: AtomicU16,
    guess: Unwatched,
}

fn halves(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

impl Word for Halves {
    fn load(&self, order: Ordering) -> u32 {
        if order == Relaxed {
            return self.guess.load(Relaxed);
        }
        // Linux asks for the execute-only key first.
        let execute_only = u32::from(self.execute_only.load(Acquire));
        execute_only << 16 | u32::from(self.taken.load(Acquire))
    }

    /// Under the lock, where the guess is right.
    fn compare_exchange_weak(
        &self,
        current: u32,
        next: u32,
        _: Ordering,
        _: Ordering,
    ) -> Result<u32, u32> {
        let (taken, execute_only) = halves(next);
        self.taken.store(taken, Release);
        self.execute_only.store(execute_only, Release);
        self.guess.store(next, Relaxed);
        Ok(current)
    }
}

impl Watched for Halves {
    fn new(word: u32) -> Self {
        let (taken, execute_only) = halves(word);
        Self {
            taken: AtomicU16::new(taken),
            execute_only: AtomicU16::new(execute_only),
            guess: Unwatched::new(word),
        }
    }

    fn mirror(&self, state: AllocationState) {
        let (taken, execute_only) = halves(state.bits());
        self.taken.store(taken, Release);
        self.execute_only.store(execute_only, Release);
    }
}
