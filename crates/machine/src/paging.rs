//! The walk through the page tables: from a linear address to a page and its rights.
//!
//! Four levels, PML4, directory pointers, directory and table, with 9 bits of the address each. An entry without P ends
//! the walk, an entry with a reserved bit does, and a leaf does, which `pkeys_core::pte::leaf` knows by level and
//! bit 7. U/S and R/W count if they are set at every level, XD if it is set at any; the key is the leaf's.
//!
//! The accessed flag is set in each entry as it is used, also on the way to a fault; in the leaf, only by an access that
//! goes through (what a processor does there on a fault is model specific). The dirty flag is set in the leaf by a
//! write.
//!
//! Reserved in an entry are the bits of the physical address above [`MAXPHYADDR`], bit 7 of a PML4E, and in the leaf of
//! a large page the bits of the address below its size, but for bit 12 (PAT). Bits 62:59 are ignored in an entry that is
//! not a leaf. Nothing is reserved in an entry without P.
//!
//! Source: SDM Vol. 3A, 4.5 (4-level paging), 4.6.1 (rights), 4.7 (RSVD), 4.8 (accessed and dirty).

use pkeys_core::{Access, LeafSize, Level, PageFaultErrorCode, pte};
use pkeys_kernel::hardware::{PhysAddr, PhysMemory};

use crate::memory::Memory;
use crate::permission::{PageRights, Request};

/// How many bits a physical address has.
pub const MAXPHYADDR: u32 = 46;

/// R/W, bit 1.
const WRITABLE: u64 = 1 << 1;
/// A, bit 5.
const ACCESSED: u64 = 1 << 5;
/// D, bit 6, in a leaf.
const DIRTY: u64 = 1 << 6;
/// PAT, bit 12 in the leaf of a large page.
const LARGE_PAT: u64 = 1 << 12;
/// XD, bit 63.
const EXECUTE_DISABLE: u64 = 1 << 63;
/// The physical address in an entry, and the bits above it that are reserved.
const ADDRESS: u64 = bits(12, MAXPHYADDR);
const RESERVED_ADDRESS: u64 = bits(MAXPHYADDR, 52);

/// The levels in the order of the walk.
const LEVELS: [Level; 4] = [
    Level::Pml4,
    Level::DirectoryPointer,
    Level::PageDirectory,
    Level::PageTable,
];

/// A translation: what a TLB keeps of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// Where the page begins.
    pub page: PhysAddr,
    /// Its size.
    pub size: LeafSize,
    /// What may be done with it.
    pub rights: PageRights,
    /// Whether D is set in the leaf.
    pub is_dirty: bool,
}

impl Mapping {
    /// The physical address of an address in the page.
    #[must_use]
    #[inline]
    pub const fn at(&self, addr: u64) -> PhysAddr {
        PhysAddr(self.page.0 | addr & (self.size.bytes() - 1))
    }
}

/// Whether bits 63:47 of an address are all the same. An access to any other address is no page fault but #GP.
#[must_use]
#[inline]
pub(crate) const fn is_canonical(addr: u64) -> bool {
    matches!(addr >> 47, 0 | 0x1_FFFF)
}

/// Walks, checks the rights, and sets the flags as the access needs it. Gives the translation, or the page fault's
/// error code.
pub(crate) fn translate(
    memory: &Memory,
    root: PhysAddr,
    addr: u64,
    request: &Request,
) -> Result<Mapping, PageFaultErrorCode> {
    let leaf = walk(memory, root, addr, request)?;
    request.check(leaf.mapping.rights)?;
    let is_write = request.access == Access::Write;
    let flags = ACCESSED | if is_write { DIRTY } else { 0 };
    set_flags(memory, leaf.at, leaf.entry, flags);
    Ok(Mapping {
        is_dirty: leaf.mapping.is_dirty || is_write,
        ..leaf.mapping
    })
}

/// The end of a walk.
struct Leaf {
    /// Where the entry is.
    at: PhysAddr,
    entry: u64,
    mapping: Mapping,
}

fn walk(
    memory: &Memory,
    root: PhysAddr,
    addr: u64,
    request: &Request,
) -> Result<Leaf, PageFaultErrorCode> {
    let mut table = root;
    let (mut anded, mut ored) = (u64::MAX, 0);
    for level in LEVELS {
        let at = PhysAddr(table.0 + 8 * number_at(addr, level));
        let entry = memory.read_entry(at);
        if entry & pte::PRESENT == 0 {
            return Err(request.code(0));
        }
        let size = pte::leaf(level, entry);
        if entry & reserved(level, size) != 0 {
            return Err(request.code(PageFaultErrorCode::P | PageFaultErrorCode::RSVD));
        }
        anded &= entry;
        ored |= entry;
        if let Some(size) = size {
            let mapping = Mapping {
                page: PhysAddr(entry & ADDRESS & !(size.bytes() - 1)),
                size,
                rights: PageRights {
                    is_user: anded & pte::USER != 0,
                    is_writable: anded & WRITABLE != 0,
                    is_executable: ored & EXECUTE_DISABLE == 0,
                    pkey: pte::get(entry),
                },
                is_dirty: entry & DIRTY != 0,
            };
            return Ok(Leaf { at, entry, mapping });
        }
        set_flags(memory, at, entry, ACCESSED);
        table = PhysAddr(entry & ADDRESS);
    }
    unreachable!("entries of the lowest level are leaves")
}

/// Which entry of a level's table an address is about.
#[inline]
const fn number_at(addr: u64, level: Level) -> u64 {
    let shift = 12 + 9 * (level as u32 - Level::PageTable as u32);
    (addr >> shift) & 0x1FF
}

/// The reserved bits of an entry that is present.
#[inline]
const fn reserved(level: Level, leaf: Option<LeafSize>) -> u64 {
    RESERVED_ADDRESS
        | match (level, leaf) {
            (Level::Pml4 | Level::Pml5, _) => pte::PAGE_SIZE,
            (_, Some(size)) => (size.bytes() - 1) & ADDRESS & !LARGE_PAT,
            (_, None) => 0,
        }
}

/// Sets flags of an entry that are not set yet.
#[inline]
fn set_flags(memory: &Memory, at: PhysAddr, entry: u64, flags: u64) {
    if entry & flags != flags {
        memory.write_entry(at, entry | flags);
    }
}

/// The bits from `low` to below `high`.
const fn bits(low: u32, high: u32) -> u64 {
    (1 << high) - (1 << low)
}
