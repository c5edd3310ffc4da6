//! What a CPU remembers of its walks, until it is told to forget.
//!
//! An entry is what the manual lets a processor keep for a page: where it is and how large, U/S, R/W and XD of all levels
//! together, the key, and whether the leaf was dirty (SDM Vol. 3A, 4.10.2.2). It is used for every access to the page,
//! whatever the page tables say by then. What is *not* kept is what the CPU's registers say: PKRU, PKRS, CR0.WP, CR4 and
//! EFLAGS.AC are looked at anew for each access, which is why a change of PKRU needs no flush.
//!
//! There is room for any number of entries, and none is dropped but by
//!
//! * MOV to CR3, which drops all: there are no PCIDs, and no global pages;
//! * INVLPG, which drops the page that holds the address, in all of its size (4.10.4.1);
//! * a page fault, which drops the entries for its address (4.10.4.1). So a right that was widened without a flush costs
//!   one fault at most for each page, and the access then goes through.
//!
//! Nothing is kept of walks that ended in a fault: an entry that is not present is never remembered (4.10.2.3).
//!
//! A write through an entry whose leaf was clean walks again, to set D; it then sees the tables as they are now. With an
//! entry whose leaf was dirty it does not, and D stays clear if the kernel cleared it in between (4.10.4.2).
//!
//! One address can have several entries, of different sizes, if tables were replaced by a large page or the reverse
//! without a flush; a processor may then use any (4.10.2.3), and this one uses that of the smallest page.
//!
//! Caches of the tables above the leaves (4.10.3) are left out. Whatever they could hold after an access is dropped by
//! the INVLPG that the access's page needs as well.

use core::hash::{BuildHasher, Hasher};
use std::collections::HashMap;

use pkeys_core::LeafSize;

use crate::paging::Mapping;

/// Entries by the number of their page, for one size of pages.
type Entries = HashMap<u64, Mapping, PageHash>;

/// The TLB of one CPU.
#[derive(Debug, Default)]
pub(crate) struct Tlb {
    small: Entries,
    large: Entries,
    huge: Entries,
}

impl Tlb {
    /// What is known of the page that holds an address.
    #[inline]
    pub(crate) fn get(&self, addr: u64) -> Option<Mapping> {
        if let Some(mapping) = self.small.get(&number(addr, LeafSize::Size4K)) {
            return Some(*mapping);
        }
        if let Some(mapping) = self.large.get(&number(addr, LeafSize::Size2M)) {
            return Some(*mapping);
        }
        self.huge.get(&number(addr, LeafSize::Size1G)).copied()
    }

    /// Remembers the page that holds an address.
    #[inline]
    pub(crate) fn insert(&mut self, addr: u64, mapping: Mapping) {
        let entries = match mapping.size {
            LeafSize::Size4K => &mut self.small,
            LeafSize::Size2M => &mut self.large,
            LeafSize::Size1G => &mut self.huge,
        };
        entries.insert(number(addr, mapping.size), mapping);
    }

    /// INVLPG: forgets the pages of every size that hold an address.
    #[inline]
    pub(crate) fn invalidate(&mut self, addr: u64) {
        for (size, entries) in self.sizes() {
            entries.remove(&number(addr, size));
        }
    }

    /// INVLPG for each page from `start` to `end`.
    pub(crate) fn invalidate_range(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        for (size, entries) in self.sizes() {
            let pages = number(start, size)..=number(end - 1, size);
            let nr_pages = pages.end() - pages.start() + 1;
            if nr_pages <= entries.len() as u64 {
                for page in pages {
                    entries.remove(&page);
                }
            } else {
                entries.retain(|page, _| !pages.contains(page));
            }
        }
    }

    /// MOV to CR3: forgets everything.
    pub(crate) fn clear(&mut self) {
        for (_, entries) in self.sizes() {
            entries.clear();
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.small.len() + self.large.len() + self.huge.len()
    }

    fn sizes(&mut self) -> [(LeafSize, &mut Entries); 3] {
        [
            (LeafSize::Size4K, &mut self.small),
            (LeafSize::Size2M, &mut self.large),
            (LeafSize::Size1G, &mut self.huge),
        ]
    }
}

/// The number of the page of a size that holds an address.
#[inline]
const fn number(addr: u64, size: LeafSize) -> u64 {
    addr / size.bytes()
}

/// A hash for page numbers: one multiplication. The standard library's own resists attackers, of whom there are none
/// here, and takes longer than everything else about a hit.
#[derive(Debug, Default, Clone, Copy)]
struct PageHash(u64);

impl BuildHasher for PageHash {
    type Hasher = Self;

    #[inline]
    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for PageHash {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio spreads neighbours over the upper bits; the table takes both ends.
        let product = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 << 8 | u64::from(*byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
