//! How many stray accesses there were: by key, and by the mode that ruled them.
//!
//! What is off is not counted, and neither is what a callback has dealt with. Reading gives each number as it is at that
//! moment; two numbers may be of two moments.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pkeys_core::{Mode, Pkey};

use super::key::PksKey;

/// The modes that count.
const NR_MODES: usize = 3;

/// Stray accesses so far.
#[derive(Debug)]
pub struct Counters {
    accesses: [[AtomicU64; NR_MODES]; Pkey::COUNT],
    nr_false: AtomicU64,
}

impl Counters {
    pub(super) const fn new() -> Self {
        Self {
            accesses: [const { [const { AtomicU64::new(0) }; NR_MODES] }; Pkey::COUNT],
            nr_false: AtomicU64::new(0),
        }
    }

    /// The accesses to pages of a key under a mode.
    #[must_use]
    pub fn of(&self, key: PksKey, mode: Mode) -> u64 {
        self.place(key, mode)
            .map_or(0, |counter| counter.load(Relaxed))
    }

    /// The accesses to all keys under a mode.
    #[must_use]
    pub fn of_mode(&self, mode: Mode) -> u64 {
        PksKey::all().map(|key| self.of(key, mode)).sum()
    }

    /// Faults of accesses that the context was allowed by the time they were judged.
    #[must_use]
    pub fn nr_false(&self) -> u64 {
        self.nr_false.load(Relaxed)
    }

    pub(super) fn count(&self, key: PksKey, mode: Mode) {
        if let Some(counter) = self.place(key, mode) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn count_false(&self) {
        self.nr_false.fetch_add(1, Relaxed);
    }

    /// Where a mode is counted; off is nowhere.
    fn place(&self, key: PksKey, mode: Mode) -> Option<&AtomicU64> {
        self.accesses[key.pkey().index()].get(usize::from(mode.as_u8()))
    }
}
