//! Entries of x86-64 page tables: leaves to words and back.
//!
//! | bits | in a leaf |
//! |---|---|
//! | 0 P, 1 R/W, 2 U/S, 5 A, 6 D | as the processor has them; A and D are set from the start, nobody here asks for them |
//! | 7 PS | a leaf of 2 MiB or 1 GiB |
//! | 9 | the frame may have other owners |
//! | 10 | this is a leaf, even with P clear: it keeps its frame, and everything else, under `PROT_NONE` |
//! | 51:12 | the frame |
//! | 62:59 | the key |
//! | 63 XD | no instruction can be fetched |
//!
//! Source: SDM Vol. 3A, 4.5.

use pkeys_core::{LeafSize, Level, pte};

use crate::hardware::PhysAddr;
use crate::memory::tables::{Leaf, LeafMode};

/// R/W, bit 1.
const WRITABLE: u64 = 1 << 1;
/// A and D, bits 5 and 6.
const TOUCHED: u64 = 0b11 << 5;
/// Bit 9, which the processor ignores.
const SHARED: u64 = 1 << 9;
/// Bit 10, which the processor ignores.
const LEAF: u64 = 1 << 10;
/// XD, bit 63.
const NO_EXECUTE: u64 = 1 << 63;
/// The address of a frame or a table.
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// What an entry is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    Empty,
    Table(PhysAddr),
    Leaf(Leaf),
}

/// The entry of a table.
pub(super) const fn table(at: PhysAddr) -> u64 {
    at.0 | pte::PRESENT | WRITABLE | pte::USER
}

/// The entry of a leaf.
pub(super) const fn encode(leaf: &Leaf) -> u64 {
    let mode = leaf.mode;
    let mut entry = leaf.frame.0 | pte::USER | TOUCHED | LEAF;
    if mode.is_present {
        entry |= pte::PRESENT;
    }
    if mode.is_writable {
        entry |= WRITABLE;
    }
    if !mode.is_executable {
        entry |= NO_EXECUTE;
    }
    if leaf.is_shared {
        entry |= SHARED;
    }
    if !matches!(leaf.size, LeafSize::Size4K) {
        entry |= pte::PAGE_SIZE;
    }
    pte::set(entry, mode.pkey)
}

/// What an entry of this level is.
#[inline]
pub(super) const fn decode(level: Level, entry: u64) -> Entry {
    if entry & LEAF == 0 {
        if entry & pte::PRESENT == 0 {
            return Entry::Empty;
        }
        return Entry::Table(PhysAddr(entry & ADDRESS));
    }
    let size = match pte::leaf(level, entry) {
        Some(size) => size,
        // No leaf is ever put there.
        None => return Entry::Empty,
    };
    Entry::Leaf(Leaf {
        frame: PhysAddr(entry & ADDRESS & !(size.bytes() - 1)),
        size,
        is_shared: entry & SHARED != 0,
        mode: LeafMode {
            is_present: entry & pte::PRESENT != 0,
            is_writable: entry & WRITABLE != 0,
            is_executable: entry & NO_EXECUTE == 0,
            pkey: pte::get(entry),
        },
    })
}

/// How many bytes an entry of this level maps.
pub(super) const fn span(level: Level) -> u64 {
    1 << (12 + 9 * (level as u32 - 1))
}

/// The level whose entries map pages of a size.
pub(super) const fn level_of(size: LeafSize) -> Level {
    match size {
        LeafSize::Size4K => Level::PageTable,
        LeafSize::Size2M => Level::PageDirectory,
        LeafSize::Size1G => Level::DirectoryPointer,
    }
}

/// The size of pages one level down, which a leaf is split into.
pub(super) const fn smaller(size: LeafSize) -> Option<LeafSize> {
    match size {
        LeafSize::Size4K => None,
        LeafSize::Size2M => Some(LeafSize::Size4K),
        LeafSize::Size1G => Some(LeafSize::Size2M),
    }
}

/// Where the entry for an address stands in a table of this level.
#[inline]
pub(super) const fn slot(table: PhysAddr, level: Level, addr: u64) -> PhysAddr {
    let index = addr / span(level) % 512;
    PhysAddr(table.0 + index * 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkeys_core::Pkey;

    #[test]
    fn a_leaf_comes_back_from_its_entry() {
        for size in [LeafSize::Size4K, LeafSize::Size2M, LeafSize::Size1G] {
            for bits in 0..16_u32 {
                for pkey in Pkey::all() {
                    let leaf = Leaf {
                        frame: PhysAddr(0x000F_FFFF_C000_0000),
                        size,
                        is_shared: bits & 8 != 0,
                        mode: LeafMode {
                            is_present: bits & 1 != 0,
                            is_writable: bits & 2 != 0,
                            is_executable: bits & 4 != 0,
                            pkey,
                        },
                    };
                    let entry = encode(&leaf);
                    let Entry::Leaf(back) = decode(level_of(size), entry) else {
                        panic!("{entry:#x} is no leaf");
                    };
                    assert_eq!(back, leaf);
                    // What the processor looks at.
                    assert_eq!(entry & 1, u64::from(bits & 1));
                    assert_eq!(entry >> 1 & 1, u64::from(bits >> 1 & 1));
                    assert_eq!(entry >> 63, u64::from(bits & 4 == 0));
                    assert_eq!(entry >> 59 & 0xF, u64::from(pkey.get()));
                    assert_eq!(entry >> 7 & 1, u64::from(size != LeafSize::Size4K));
                }
            }
        }
    }

    #[test]
    fn an_empty_entry_and_a_table_are_told_from_leaves() {
        for level in [Level::PageDirectory, Level::DirectoryPointer, Level::Pml4] {
            assert!(matches!(decode(level, 0), Entry::Empty));
            let Entry::Table(at) = decode(level, table(PhysAddr(0x5000))) else {
                panic!("no table at {level:?}");
            };
            assert_eq!(at, PhysAddr(0x5000));
        }
        assert!(matches!(decode(Level::PageTable, 0), Entry::Empty));
    }

    #[test]
    fn slots_are_those_of_the_processor() {
        let table = PhysAddr(0x7000);
        let addr = 3 << 39 | 5 << 30 | 7 << 21 | 9 << 12 | 0xFFF;
        for (level, index) in [
            (Level::Pml4, 3),
            (Level::DirectoryPointer, 5),
            (Level::PageDirectory, 7),
            (Level::PageTable, 9),
        ] {
            assert_eq!(slot(table, level, addr), PhysAddr(0x7000 + index * 8));
        }
    }
}
