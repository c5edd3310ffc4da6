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
