//! What a read fault in a mapping of an object brings in beside its own page.
//!
//! Linux maps the pages near a fault as well, if the object has them already: those of the same block of 16 pages, as far
//! as the mapping and the page table reach. A program sees it: a later access to such a page, if its key or its protection
//! denies it, faults on a page that is present, and the error code says so. It is done first, so that the others are there
//! even if the page of the fault lies behind the object's end. A private mapping of a file gets them to read only.
//!
//! Source: Linux 6.12 `mm/memory.c` (`do_read_fault`, `do_fault_around`), `mm/filemap.c` (`filemap_map_pages`).

use core::ops::Range;

use lock_api::RawMutex;
use pkeys_core::LeafSize;

use crate::hardware::PhysMemory;
use crate::memory::layout::PAGE_SIZE;
use crate::memory::object::Object;
use crate::memory::tables::{Leaf, Tables};
use crate::memory::vma::Vma;

/// How many pages make a block: `fault_around_bytes`, 64 KiB.
const BLOCK: u64 = 16;

/// How many pages a table of the lowest level maps.
const PAGES_PER_TABLE: u64 = 512;

/// Maps what the object has around a page that is to be read, that page included.
pub(super) fn fault_around<M, L, T>(vma: &Vma<Object<M, L>>, tables: &mut T, base: u64)
where
    M: PhysMemory,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    let Some(object) = vma.object.as_ref().filter(|_| !vma.is_huge()) else {
        return;
    };
    let mut mode = vma.attrs.mode();
    mode.is_writable &= vma.is_shared();
    for addr in around(vma.start..vma.end, base).step_by(usize::try_from(PAGE_SIZE).unwrap_or(1)) {
        if tables.look_up(addr).is_some() {
            continue;
        }
        let Some(frame) = object.frame_at_hand(vma.page_at(addr)) else {
            continue;
        };
        let leaf = Leaf {
            frame,
            size: LeafSize::Size4K,
            is_shared: true,
            mode,
        };
        if tables.map(addr, leaf).is_err() {
            object.give_back(frame);
            return;
        }
    }
}

/// The addresses around a page of a mapping.
fn around(mapping: Range<u64>, base: u64) -> Range<u64> {
    let place = base / PAGE_SIZE % PAGES_PER_TABLE;
    let before = (base - mapping.start) / PAGE_SIZE;
    let behind = (mapping.end - base) / PAGE_SIZE;
    let first = (place - place % BLOCK).max(place - place.min(before));
    let end = (first + BLOCK).min(PAGES_PER_TABLE).min(place + behind);
    let table = base - place * PAGE_SIZE;
    table + first * PAGE_SIZE..table + end * PAGE_SIZE
}

#[cfg(test)]
mod tests {
    use super::around;

    const PAGE: u64 = 4096;
    const TABLE: u64 = 512 * PAGE;

    /// In pages from the start of the second table.
    fn pages(mapping: (i64, i64), page: i64) -> (i64, i64) {
        let addr = |page: i64| TABLE.checked_add_signed(page * 4096).unwrap();
        let range = around(addr(mapping.0)..addr(mapping.1), addr(page));
        let number = |addr: u64| addr.cast_signed() / 4096 - 512;
        (number(range.start), number(range.end))
    }

    #[test]
    fn a_block_is_clamped_to_mapping_and_table() {
        assert_eq!(pages((0, 100), 20), (16, 32));
        assert_eq!(pages((0, 100), 16), (16, 32));
        assert_eq!(pages((0, 100), 15), (0, 16));
        assert_eq!(pages((0, 24), 20), (16, 24));
        // A mapping that begins within the block: the block's length counts from there.
        assert_eq!(pages((18, 100), 20), (18, 34));
        assert_eq!(pages((18, 30), 20), (18, 30));
        // At the end of a table, and at the start of the next.
        assert_eq!(pages((-20, 20), -1), (-16, 0));
        assert_eq!(pages((-20, 20), 0), (0, 16));
        assert_eq!(pages((-3, 20), -1), (-3, 0));
        assert_eq!(pages((5, 6), 5), (5, 6));
    }
}
