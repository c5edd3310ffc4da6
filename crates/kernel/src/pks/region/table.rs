//! Where the regions are: asked for every page that is mapped, and by fault handlers.
//!
//! There are few regions, so they stand in a list, and a list of so many places is read through. A reader takes no lock.
//! Each place has a number that is odd while a region is in it; a reader looks at it before and after it reads the rest.
//! If it has changed, the region has just come or gone. Then the reader has not found it, which is true of one of the two.
//! Writers come one at a time.
//!
//! The number of regions stands beside the list. While it is 0, that is all that is ever read.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use pkeys_core::Pkey;

use super::page::Pages;
use crate::pks::PksKey;

/// How many regions there can be.
pub const NR_REGIONS: usize = 32;

/// Who may open the pages of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Openers {
    /// Whoever maps them by [`crate::pks::kmap`]: memory that the kernel at large works on.
    Anybody,
    /// The owner of the region, and nobody by `kmap`.
    Owner,
}

/// A region that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pks) struct Found {
    /// Its place in the list.
    pub(in crate::pks) place: usize,
    /// The key that is its own.
    pub(in crate::pks) key: PksKey,
    /// Who may open it.
    pub(in crate::pks) openers: Openers,
}

/// The list.
#[derive(Debug)]
pub(super) struct Table {
    nr: AtomicUsize,
    places: [Place; NR_REGIONS],
}

#[derive(Debug)]
struct Place {
    /// Odd while there is a region here.
    version: AtomicU32,
    start: AtomicU64,
    last: AtomicU64,
    /// The key; above it, whether only the owner may open the region.
    key: AtomicU8,
}

/// What `key` has for a region that is its owner's only.
const OWNER: u8 = 1 << 4;

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            nr: AtomicUsize::new(0),
            places: [const { Place::empty() }; NR_REGIONS],
        }
    }

    /// Whether there is any region.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.nr.load(Ordering::Relaxed) == 0
    }

    /// The region of the page at an address.
    #[inline]
    pub(super) fn find(&self, addr: u64) -> Option<Found> {
        if self.is_empty() {
            return None;
        }
        let mut places = self.places.iter().enumerate();
        places.find_map(|(place, at)| {
            let (pages, key, openers) = at.get()?;
            let found = Found {
                place,
                key,
                openers,
            };
            pages.contain(addr).then_some(found)
        })
    }

    /// Puts a region into the list: one writer at a time.
    pub(super) fn add(
        &self,
        pages: Pages,
        key: PksKey,
        openers: Openers,
    ) -> Result<usize, NoPlace> {
        let known = |at: &Place| at.get().map(|(pages, ..)| pages);
        if let Some(other) = self
            .places
            .iter()
            .filter_map(known)
            .find(|other| other.overlap(pages))
        {
            return Err(NoPlace::Overlap(other));
        }
        let free = self.places.iter().position(|at| known(at).is_none());
        let place = free.ok_or(NoPlace::Full)?;
        self.places[place].fill(pages, key, openers);
        self.nr.fetch_add(1, Ordering::Relaxed);
        Ok(place)
    }

    /// Takes a region out: one writer at a time.
    pub(super) fn remove(&self, place: usize) {
        if let Some(at) = self.places.get(place) {
            at.clear();
            self.nr.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Why there is no place for a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// These pages are a region already, in part.
    Overlap(Pages),
    /// There are [`NR_REGIONS`].
    Full,
}

impl Place {
    const fn empty() -> Self {
        Self {
            version: AtomicU32::new(0),
            start: AtomicU64::new(0),
            last: AtomicU64::new(0),
            key: AtomicU8::new(0),
        }
    }

    fn get(&self) -> Option<(Pages, PksKey, Openers)> {
        let before = self.version.load(Ordering::Acquire);
        if before.is_multiple_of(2) {
            return None;
        }
        let start = self.start.load(Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed);
        let key = self.key.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if self.version.load(Ordering::Relaxed) != before {
            return None;
        }
        let openers = if key & OWNER == 0 {
            Openers::Anybody
        } else {
            Openers::Owner
        };
        let key = PksKey::new(Pkey::truncate((key & !OWNER).into())).ok()?;
        Some((Pages::new(start, last - start + 1).ok()?, key, openers))
    }

    fn fill(&self, pages: Pages, key: PksKey, openers: Openers) {
        // A reader that sees one of the stores below sees that the place was left before.
        fence(Ordering::Release);
        self.start.store(pages.start(), Ordering::Relaxed);
        self.last.store(pages.last(), Ordering::Relaxed);
        let owner = match openers {
            Openers::Anybody => 0,
            Openers::Owner => OWNER,
        };
        self.key.store(key.pkey().get() | owner, Ordering::Relaxed);
        self.step(Ordering::Release);
    }

    fn clear(&self) {
        self.step(Ordering::Relaxed);
    }

    fn step(&self, order: Ordering) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> PksKey {
        PksKey::try_from(number).unwrap()
    }

    fn pages(number: u64, nr: u64) -> Pages {
        Pages::new(number << 12, nr << 12).unwrap()
    }

    #[test]
    fn every_address_is_found_in_its_region_and_no_other() {
        let table = Table::new();
        assert!(table.is_empty());
        assert_eq!(table.find(0x3000), None);
        let low = table.add(pages(3, 2), key(1), Openers::Anybody).unwrap();
        let high = table.add(pages(5, 1), key(2), Openers::Owner).unwrap();
        for (number, expected) in [
            (2, None),
            (3, Some((low, 1, Openers::Anybody))),
            (4, Some((low, 1, Openers::Anybody))),
            (5, Some((high, 2, Openers::Owner))),
            (6, None),
        ] {
            for addr in [number << 12, (number << 12) + 0xFFF] {
                let expected = expected.map(|(place, number, openers)| Found {
                    place,
                    key: key(number),
                    openers,
                });
                assert_eq!(table.find(addr), expected, "{addr:#x}");
            }
        }
        table.remove(low);
        assert_eq!(table.find(0x3000), None);
        assert!(table.find(0x5000).is_some());
        table.remove(high);
        assert!(table.is_empty());
    }

    #[test]
    fn pages_have_one_region_and_there_are_so_many() {
        let table = Table::new();
        for number in 0..NR_REGIONS as u64 {
            let place = table.add(pages(number, 1), key(1), Openers::Anybody);
            assert!(place.is_ok(), "{number}");
            let again = table.add(pages(number, 1), key(2), Openers::Anybody);
            assert_eq!(again, Err(NoPlace::Overlap(pages(number, 1))));
        }
        let more = table.add(pages(NR_REGIONS as u64, 1), key(1), Openers::Anybody);
        assert_eq!(more, Err(NoPlace::Full));
        table.remove(7);
        let again = table.add(pages(77, 1), key(1), Openers::Anybody);
        assert_eq!(again, Ok(7));
        assert_eq!(table.find(7 << 12), None);
    }

    #[test]
    fn a_place_that_changes_is_not_read() {
        let table = Table::new();
        let place = table.add(pages(3, 1), key(1), Openers::Anybody).unwrap();
        // Left, and not filled again: as in the middle of a change.
        table.places[place].clear();
        assert_eq!(table.find(0x3000), None);
    }
}
