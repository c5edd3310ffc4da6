//! Protections and the flags of the memory calls.

use bitflags::bitflags;

bitflags! {
    /// `PROT_*`: what a mapping lets its program do, keys apart.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Prot: u64 {
        /// `PROT_READ`.
        const READ = 1;
        /// `PROT_WRITE`. On x86 such pages can be read as well.
        const WRITE = 2;
        /// `PROT_EXEC`.
        const EXEC = 4;
        /// `PROT_SEM`: accepted, without meaning.
        const SEM = 8;
        /// `PROT_GROWSDOWN`: the change extends to the start of a mapping that grows downwards.
        const GROWSDOWN = 0x0100_0000;
        /// `PROT_GROWSUP`: the change extends to the end of a mapping that grows upwards.
        const GROWSUP = 0x0200_0000;
    }
}

impl Prot {
    /// The three that a mapping keeps.
    pub const ACCESS: Self = Self::READ.union(Self::WRITE).union(Self::EXEC);
}

bitflags! {
    /// `MAP_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MapFlags: u64 {
        /// `MAP_SHARED`.
        const SHARED = 1;
        /// `MAP_PRIVATE`.
        const PRIVATE = 2;
        /// `MAP_FIXED`.
        const FIXED = 0x10;
        /// `MAP_ANONYMOUS`.
        const ANONYMOUS = 0x20;
        /// `MAP_GROWSDOWN`.
        const GROWSDOWN = 0x100;
        /// `MAP_POPULATE`.
        const POPULATE = 0x8000;
        /// `MAP_STACK`: without meaning.
        const STACK = 0x2_0000;
        /// `MAP_NORESERVE`.
        const NORESERVE = 0x4000;
        /// `MAP_HUGETLB`: the mapping consists of huge pages.
        const HUGETLB = 0x4_0000;
        /// `MAP_FIXED_NOREPLACE`.
        const FIXED_NOREPLACE = 0x10_0000;
        /// `MAP_HUGE_2MB`, in the six bits 31:26.
        const HUGE_2MB = 21 << 26;
        /// `MAP_HUGE_1GB`, in the six bits 31:26.
        const HUGE_1GB = 30 << 26;
    }
}

bitflags! {
    /// `MREMAP_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MremapFlags: u64 {
        /// `MREMAP_MAYMOVE`.
        const MAYMOVE = 1;
        /// `MREMAP_FIXED`.
        const FIXED = 2;
        /// `MREMAP_DONTUNMAP`.
        const DONTUNMAP = 4;
    }
}

/// The advice of `madvise(2)` that this library follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Madvice {
    /// `MADV_NORMAL`: without an effect here.
    Normal = 0,
    /// `MADV_RANDOM`: without an effect here.
    Random = 1,
    /// `MADV_SEQUENTIAL`: without an effect here.
    Sequential = 2,
    /// `MADV_WILLNEED`: without an effect here.
    WillNeed = 3,
    /// `MADV_DONTNEED`: the pages are dropped; private memory reads as zeros afterwards.
    DontNeed = 4,
    /// `MADV_POPULATE_READ`, since Linux 5.14: faults pages in for reading.
    PopulateRead = 22,
    /// `MADV_POPULATE_WRITE`, since Linux 5.14: faults pages in for writing.
    PopulateWrite = 23,
}

impl Madvice {
    /// The advice with this number.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Normal,
            1 => Self::Random,
            2 => Self::Sequential,
            3 => Self::WillNeed,
            4 => Self::DontNeed,
            22 => Self::PopulateRead,
            23 => Self::PopulateWrite,
            _ => return None,
        })
    }
}
