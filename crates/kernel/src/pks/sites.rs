//! Places in the code that were reported: so that relaxed warns once a place.
//!
//! A fault handler asks, so there is no lock: the table has a fixed number of places, each an atomic word that is claimed
//! by exchange. What strays beyond the last place is counted and not reported; a handler that would look for ever, or
//! allocate, is worse than a report that is missing.

use core::sync::atomic::{AtomicU64, Ordering};

/// How many places are remembered.
pub const NR_SITES: usize = 256;

/// The places.
#[derive(Debug)]
pub struct Sites {
    table: [AtomicU64; NR_SITES],
}

impl Sites {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            table: [const { AtomicU64::new(0) }; NR_SITES],
        }
    }

    /// Whether this is the first time that somebody asks about an instruction. Of several that ask at once, one is told
    /// so.
    pub fn is_first(&self, rip: u64) -> bool {
        // Zero is a free place, and no instruction of a kernel.
        if rip == 0 {
            return false;
        }
        for place in self.from(rip) {
            let found = place.compare_exchange(0, rip, Ordering::Relaxed, Ordering::Relaxed);
            match found {
                Ok(_) => return true,
                Err(known) if known == rip => return false,
                Err(_) => {}
            }
        }
        false
    }

    /// Every place, beginning with the one that an address hashes to.
    fn from(&self, rip: u64) -> impl Iterator<Item = &AtomicU64> {
        // 2^64 divided by the golden ratio.
        let hash = rip.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        let start = usize::try_from(hash).unwrap_or(0) % NR_SITES;
        let (before, behind) = self.table.split_at(start);
        behind.iter().chain(before)
    }
}

impl Default for Sites {
    fn default() -> Self {
        Self::new()
    }
}
