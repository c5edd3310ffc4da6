//! Which places in the code have strayed already: mode relaxed reports each once.
//!
//! A fixed table of addresses with open addressing, filled by compare-and-swap: no lock, no allocation, a bounded number
//! of probes. A place is an instruction and a domain. When the table is full, further places are counted and not
//! reported.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many places are remembered.
const CAPACITY: usize = 1024;

/// How far a place may be from where it belongs.
const MAX_PROBES: usize = 64;

/// A set of places.
pub(super) struct Sites {
    /// 0 for free.
    table: [AtomicU64; CAPACITY],
}

/// The places of this process.
pub(super) static SITES: Sites = Sites::new();

impl Sites {
    const fn new() -> Self {
        Self {
            table: [const { AtomicU64::new(0) }; CAPACITY],
        }
    }

    /// Whether this is the first time that the place is seen. Of several threads one is told so.
    pub(super) fn is_first(&self, pc: usize, domain_serial: u32) -> bool {
        // User addresses have 47 bits (56 with five levels); the serial number goes above and into the mix.
        let key = (pc as u64 ^ (u64::from(domain_serial) << 40)).max(1);
        let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
        for probe in 0..MAX_PROBES {
            let slot = &self.table[(hash as usize + probe) % CAPACITY];
            match slot.compare_exchange(0, key, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(found) if found == key => return false,
                Err(_) => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;
    use std::collections::HashSet;

    /// Against a set of the standard library, up to half full.
    #[test]
    fn a_place_is_first_once() {
        let sites = Sites::new();
        let mut model = HashSet::new();
        for round in 0..4 {
            for place in 0..CAPACITY / 2 {
                let (pc, serial) = (0x5555_0000 + place * 7, [1, 2, 3][place % 3]);
                let expected = model.insert((pc, serial));
                assert_eq!(sites.is_first(pc, serial), expected, "round {round}");
            }
        }
    }

    #[test]
    fn one_of_several_threads_is_told() {
        let sites = Sites::new();
        let firsts = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for pc in 1..200 {
                        if sites.is_first(pc, 1) {
                            firsts.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(firsts.into_inner(), 199);
    }

    #[test]
    fn a_full_table_ends_the_search() {
        let sites = Sites::new();
        let firsts = (1..10_000).filter(|&pc| sites.is_first(pc, 1)).count();
        assert!(firsts <= CAPACITY, "{firsts}");
        assert!(!sites.is_first(1_000_000, 1));
    }
}
