//! The protection key in an entry of the page tables.
//!
//! A leaf entry, the one that maps a page, has its page's key in bits 62:59. This is so for pages of all three sizes.
//! In an entry that points to another table the processor ignores these bits, and while CR4.PKE and CR4.PKS are
//! clear it ignores them everywhere. A kernel that kept notes of its own there turns them into keys on the day it
//! sets one of the two.
//!
//! Whether an entry is a leaf depends on its level. Bit 7 says so in the two middle levels (PS); in the lowest level
//! the same bit is a part of the memory type (PAT) and every entry is a leaf; in the upper levels no entry is.
//!
//! Neighbours: [`crate::access`] has the rule that uses the key. Source: SDM Vol. 3A, 4.5 and 4.6.2; Linux
//! `arch/x86/include/asm/pgtable_types.h`.

use core::fmt;

use crate::pkey::Pkey;

/// The lowest of the four bits of the key.
pub const PKEY_SHIFT: u32 = 59;

/// The four bits of the key, 62:59.
pub const PKEY_MASK: u64 = 0xF << PKEY_SHIFT;

/// P, bit 0: the entry maps something. In an entry without it all other bits are the kernel's own.
pub const PRESENT: u64 = 1 << 0;

/// U/S, bit 2: user pages. A page is a user page if the bit is set in the entries of all levels; this decides
/// whether PKRU or PKRS rules it.
pub const USER: u64 = 1 << 2;

/// PS, bit 7: in the two middle levels, the entry is a leaf.
pub const PAGE_SIZE: u64 = 1 << 7;

/// The key in the entry. It has a meaning only in a leaf that is present.
#[must_use]
#[inline]
pub const fn get(entry: u64) -> Pkey {
    Pkey::truncate(((entry & PKEY_MASK) >> PKEY_SHIFT) as u32)
}

/// The entry with its key replaced and all other bits as they were. The TLB may keep the old key until it is flushed.
#[must_use]
#[inline]
pub const fn set(entry: u64, pkey: Pkey) -> u64 {
    entry & !PKEY_MASK | (pkey.get() as u64) << PKEY_SHIFT
}

/// How large a page a present entry of a level maps, or `None` when it points to another table.
///
/// Whether it is present is the caller's question. In the upper two levels bit 7 is reserved: the processor raises a
/// page fault where it is set, and this function says `None`.
#[must_use]
#[inline]
pub const fn leaf(level: Level, entry: u64) -> Option<LeafSize> {
    match level {
        Level::PageTable => Some(LeafSize::Size4K),
        Level::PageDirectory if entry & PAGE_SIZE != 0 => Some(LeafSize::Size2M),
        Level::DirectoryPointer if entry & PAGE_SIZE != 0 => Some(LeafSize::Size1G),
        _ => None,
    }
}

/// The levels of the page tables, from the leaves up. As a number: how many tables lie on the way to the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Entries are PTEs.
    PageTable = 1,
    /// Entries are PDEs.
    PageDirectory = 2,
    /// Entries are PDPTEs.
    DirectoryPointer = 3,
    /// Entries are PML4Es; the root of 4-level paging.
    Pml4 = 4,
    /// Entries are PML5Es; the root of 5-level paging.
    Pml5 = 5,
}

impl Level {
    /// The level that an entry of this one points to, or `None` at the lowest.
    #[must_use]
    #[inline]
    pub const fn lower(self) -> Option<Self> {
        match self {
            Self::PageTable => None,
            Self::PageDirectory => Some(Self::PageTable),
            Self::DirectoryPointer => Some(Self::PageDirectory),
            Self::Pml4 => Some(Self::DirectoryPointer),
            Self::Pml5 => Some(Self::Pml4),
        }
    }
}

/// The size of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeafSize {
    /// 4 KiB, mapped by a PTE.
    Size4K,
    /// 2 MiB, mapped by a PDE.
    Size2M,
    /// 1 GiB, mapped by a PDPTE.
    Size1G,
}

impl LeafSize {
    /// The size in bytes, which is also the alignment.
    #[must_use]
    #[inline]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size4K => 1 << 12,
            Self::Size2M => 1 << 21,
            Self::Size1G => 1 << 30,
        }
    }
}

impl fmt::Display for LeafSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Size4K => "4 KiB",
            Self::Size2M => "2 MiB",
            Self::Size1G => "1 GiB",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    /// Entries to work on: every single bit, its complement, and mixed ones.
    fn entries() -> impl Iterator<Item = u64> {
        let single = (0..64).map(|bit| 1_u64 << bit);
        let others = [0, u64::MAX, 0x8000_0000_1234_50E7, 0x7FFF_FFFF_FFFF_FFFF];
        single.clone().chain(single.map(|bit| !bit)).chain(others)
    }

    /// The entry's bits, written out from 63 down to 0.
    fn digits(entry: u64) -> std::string::String {
        std::format!("{entry:064b}")
    }

    #[test]
    fn the_key_is_the_four_bits_below_the_highest() {
        for entry in entries() {
            // Bit 63 is the first digit, so 62:59 are the digits 1 to 4.
            let expected = u8::from_str_radix(&digits(entry)[1..5], 2).unwrap();
            assert_eq!(get(entry).get(), expected, "{entry:#x}");
        }
    }

    #[test]
    fn setting_a_key_replaces_the_old_one_and_nothing_else() {
        for entry in entries() {
            for pkey in Pkey::all() {
                let text = digits(entry);
                let expected = std::format!("{}{:04b}{}", &text[..1], pkey.get(), &text[5..]);
                assert_eq!(digits(set(entry, pkey)), expected, "{entry:#x} {pkey}");
                assert_eq!(get(set(entry, pkey)), pkey);
            }
        }
    }

    #[test]
    fn bit_7_makes_leaves_of_the_middle_levels_only() {
        use LeafSize::{Size1G, Size2M, Size4K};
        // Level, what it is without bit 7, what with it.
        let table = [
            (Level::PageTable, Some(Size4K), Some(Size4K)),
            (Level::PageDirectory, None, Some(Size2M)),
            (Level::DirectoryPointer, None, Some(Size1G)),
            (Level::Pml4, None, None),
            (Level::Pml5, None, None),
        ];
        for (level, without, with) in table {
            for entry in entries() {
                assert_eq!(leaf(level, entry & !0x80), without, "{level:?} {entry:#x}");
                assert_eq!(leaf(level, entry | 0x80), with, "{level:?} {entry:#x}");
            }
        }
    }

    #[test]
    fn each_level_maps_512_times_the_one_below() {
        let levels = [
            Level::Pml5,
            Level::Pml4,
            Level::DirectoryPointer,
            Level::PageDirectory,
            Level::PageTable,
        ];
        for (upper, lower) in levels.iter().zip(&levels[1..]) {
            assert_eq!(upper.lower(), Some(*lower));
            assert!(upper > lower);
        }
        assert_eq!(Level::PageTable.lower(), None);
        assert_eq!(LeafSize::Size4K.bytes(), 4096);
        assert_eq!(LeafSize::Size2M.bytes(), 4096 * 512);
        assert_eq!(LeafSize::Size1G.bytes(), 4096 * 512 * 512);
        let sizes = [LeafSize::Size4K, LeafSize::Size2M, LeafSize::Size1G];
        assert_eq!(sizes.map(|s| s.to_string()), ["4 KiB", "2 MiB", "1 GiB"]);
    }
}
