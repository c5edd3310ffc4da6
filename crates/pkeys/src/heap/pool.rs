//! What a heap's lock guards: the allocator's table in keyed pages, and the mappings that it hands out.
//!
//! The allocator is TLSF: constant time, a header of 16 bytes in front of every block, and no state but the table and
//! the blocks themselves. The table of free lists stands at the start of the first mapping, the rest of which is the
//! first memory to hand out. A pool grows by whole mappings of doubled size, each a region named "heap": few of them, so
//! that a fault handler's index stays short, and multiples of 2 MiB, so that huge pages fit. Address space that is not
//! touched costs nothing; where the kernel refuses the doubled size, the least that serves is tried.
//!
//! Whoever comes here has opened a window: the table and the blocks are keyed, and the references to them that the
//! allocator's methods take exist only during the call.
#![allow(unsafe_code, reason = "the allocator's table, by address")]

use core::alloc::Layout;
use core::ptr::NonNull;
use std::sync::Arc;

use pkeys_core::Rights;

use crate::domain::inner::DomainInner;
use crate::heap::HeapError;
use crate::region::MapError;
use crate::region::mapping::{Mapping, Secrecy};
use crate::sys::{HUGE_PAGE_BYTES, PAGE_BYTES};
use crate::window::{OpenError, Window};

/// 32 size classes of powers of two, each in 32 steps: blocks up to 128 GiB, at most 1/32 lost to rounding.
type Table = rlsf::Tlsf<'static, u32, u32, 32, 32>;

/// The size of the first mapping in bytes.
const FIRST_BYTES: usize = HUGE_PAGE_BYTES;

/// The size at which mappings stop doubling, in bytes.
const LARGEST_STEP_BYTES: usize = 1 << 30;

/// The largest sum of size and alignment that is served, in bytes. With its padding it stays below what the table's
/// largest class holds.
const LARGEST_BLOCK_BYTES: usize = 1 << 36;

/// What every mapping of a heap is called in a report.
const LABEL: &str = "heap";

/// A heap's table and mappings.
pub(super) struct Pool {
    /// In the first mapping. Nothing but this pool has its address.
    table: NonNull<Table>,
    mappings: Vec<Mapping>,
    /// The size of the next mapping in bytes, unless more is asked for.
    next_bytes: usize,
}

// SAFETY: the table is this pool's own and is reached through a window of the thread that calls.
unsafe impl Send for Pool {}

impl Pool {
    /// Maps the first pages and writes an empty table into them.
    pub(super) fn new(domain: &Arc<DomainInner>) -> Result<Self, MapError> {
        let mapping = Mapping::anonymous(domain, FIRST_BYTES, LABEL, Secrecy::Plain)?;
        let mut pool = Self {
            table: mapping.base().cast(),
            mappings: Vec::new(),
            next_bytes: FIRST_BYTES,
        };
        let _window = Window::open(domain, Rights::ReadWrite).map_err(not_opened)?;
        // SAFETY: the mapping is longer and better aligned than a table, open, and nobody else's.
        unsafe { pool.table.write(Table::new()) };
        // SAFETY: the mapping is fresh, the table is written, the window is open (1).
        unsafe { pool.adopt(mapping, size_of::<Table>()) };
        Ok(pool)
    }

    /// Takes a block out of the pool, which grows where it must.
    ///
    /// # Safety
    ///
    /// 1. A window for reading and writing on the pool's domain is open on this thread.
    #[inline]
    pub(super) unsafe fn allocate(
        &mut self,
        domain: &Arc<DomainInner>,
        layout: Layout,
    ) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the window is open (1).
        if let Some(memory) = unsafe { self.table() }.allocate(layout) {
            return Ok(memory);
        }
        // SAFETY: the window is open (1).
        unsafe { self.grow(domain, layout) }?;
        // SAFETY: the window is open (1).
        let memory = unsafe { self.table() }.allocate(layout);
        memory.ok_or_else(|| too_large(layout))
    }

    /// Puts a block back.
    ///
    /// # Safety
    ///
    /// 1. As for [`allocate`](Self::allocate).
    /// 2. The block is one of this pool's with that alignment, not put back before, and used by nobody.
    #[inline]
    pub(super) unsafe fn deallocate(&mut self, memory: NonNull<u8>, layout: Layout) {
        // SAFETY: the window is open (1).
        let table = unsafe { self.table() };
        // SAFETY: the block is the table's and was allocated with that alignment (2).
        unsafe { table.deallocate(memory, layout.align()) };
    }

    /// Gives a block another size, in place or elsewhere.
    ///
    /// # Safety
    ///
    /// 1. As for [`allocate`](Self::allocate).
    /// 2. The block is one of this pool's with that alignment, and its old address is not used when this succeeds.
    pub(super) unsafe fn reallocate(
        &mut self,
        domain: &Arc<DomainInner>,
        memory: NonNull<u8>,
        layout: Layout,
    ) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the window is open (1).
        let table = unsafe { self.table() };
        // SAFETY: the block is the table's and was allocated with that alignment (2).
        if let Some(moved) = unsafe { table.reallocate(memory, layout) } {
            return Ok(moved);
        }
        // SAFETY: the window is open (1).
        unsafe { self.grow(domain, layout) }?;
        // SAFETY: the window is open (1).
        let table = unsafe { self.table() };
        // SAFETY: the attempt that failed left the block as it was (2).
        let moved = unsafe { table.reallocate(memory, layout) };
        moved.ok_or_else(|| too_large(layout))
    }

    /// The bytes that may be used at a block's address.
    ///
    /// # Safety
    ///
    /// 1. As for [`allocate`](Self::allocate); reading is enough.
    /// 2. The block is one of this pool's and in use.
    pub(super) unsafe fn usable_size(&self, memory: NonNull<u8>) -> usize {
        // SAFETY: the block is the table's and in use (2); its header, and that of the block before it, can be read (1)
        // and do not change while the lock is held, through which alone this pool is reached.
        unsafe { Table::allocation_usable_size(memory) }
    }

    /// The size of all mappings in bytes.
    pub(super) fn mapped_bytes(&self) -> usize {
        self.mappings.iter().map(Mapping::len_bytes).sum()
    }

    /// # Safety
    ///
    /// 1. As for [`allocate`](Self::allocate), for as long as the reference is used.
    #[inline(always)]
    unsafe fn table(&mut self) -> &mut Table {
        // SAFETY: `new` wrote the table; its mapping lives as long as the pool, whose exclusive borrow this is; the
        // window is open (1).
        unsafe { self.table.as_mut() }
    }

    /// Adds a mapping from which this layout can be served.
    ///
    /// # Safety
    ///
    /// 1. As for [`allocate`](Self::allocate).
    #[cold]
    unsafe fn grow(&mut self, domain: &Arc<DomainInner>, layout: Layout) -> Result<(), HeapError> {
        let least = pool_bytes(layout).ok_or_else(|| too_large(layout))?;
        let doubled = self.next_bytes.max(least.next_multiple_of(HUGE_PAGE_BYTES));
        let map = |len_bytes| Mapping::anonymous(domain, len_bytes, LABEL, Secrecy::Plain);
        let mapping = map(doubled).or_else(|_| map(least))?;
        // SAFETY: the mapping is fresh and the window is open (1).
        unsafe { self.adopt(mapping, 0) };
        self.next_bytes = (doubled * 2).min(LARGEST_STEP_BYTES);
        Ok(())
    }

    /// Hands a mapping to the table, less the first `used_bytes` bytes.
    ///
    /// # Safety
    ///
    /// 1. As for [`allocate`](Self::allocate); the table is written and the mapping holds nothing of the pool's behind
    ///    these bytes.
    unsafe fn adopt(&mut self, mapping: Mapping, used_bytes: usize) {
        let len_bytes = mapping.len_bytes() - used_bytes;
        // SAFETY: the callers' bytes in use are fewer than the mapping has.
        let start = unsafe { mapping.base().add(used_bytes) };
        self.mappings.push(mapping);
        // SAFETY: the window is open and the table written (1).
        let table = unsafe { self.table() };
        // SAFETY: the bytes are mapped, open and used by nobody (1), and the mapping lives as long as the table.
        let adopted =
            unsafe { table.insert_free_block_ptr(NonNull::slice_from_raw_parts(start, len_bytes)) };
        debug_assert!(adopted.is_some(), "a mapping is larger than a block");
    }
}

/// How large a fresh mapping must be for this layout to fit for certain: whole pages.
fn pool_bytes(layout: Layout) -> Option<usize> {
    let block = layout.size().checked_add(layout.align())?;
    if block > LARGEST_BLOCK_BYTES {
        return None;
    }
    // A block's header and the pool's last one, rounding to 32 bytes, and up to 1/32 more because the search starts in
    // the class above.
    let bytes = block + 4 * rlsf::GRANULARITY;
    (bytes + bytes / 16).checked_next_multiple_of(PAGE_BYTES)
}

fn too_large(layout: Layout) -> HeapError {
    HeapError::TooLarge {
        size_bytes: layout.size(),
        align_bytes: layout.align(),
    }
}

/// A window that did not open, for callers who only know how to fail at mapping.
fn not_opened(error: OpenError) -> MapError {
    let (call, source) = match error {
        OpenError::Os { call, source } => (call, source),
        other => ("mprotect", std::io::Error::other(other)),
    };
    MapError::Os {
        call,
        len_bytes: FIRST_BYTES,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C, align(4096))]
    struct Page([u8; PAGE_BYTES]);

    /// Every size class and its neighbours, at alignments from 1 to 2 MiB: one attempt at growing is enough.
    #[test]
    fn a_fresh_mapping_of_the_computed_size_holds_the_block() {
        let aligns = [1, 16, 32, 64, 4096, HUGE_PAGE_BYTES];
        for shift in 0..22 {
            for size in [
                (1 << shift) - 1,
                1 << shift,
                (1 << shift) + 1,
                (33 << shift) >> 5,
            ] {
                for align in aligns {
                    let layout = Layout::from_size_align(size, align).unwrap();
                    let nr_pages = pool_bytes(layout).unwrap() / PAGE_BYTES;
                    let mut pages: Vec<Page> = Vec::with_capacity(nr_pages);
                    let mut table = Table::new();
                    let bytes = NonNull::slice_from_raw_parts(
                        NonNull::new(pages.as_mut_ptr().cast()).unwrap(),
                        nr_pages * PAGE_BYTES,
                    );
                    // SAFETY: the pages are the table's alone, and outlive it.
                    unsafe { table.insert_free_block_ptr(bytes) };
                    assert!(table.allocate(layout).is_some(), "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn sizes_beyond_the_table_are_refused_before_anything_is_mapped() {
        let layout = |size, align| Layout::from_size_align(size, align).unwrap();
        assert!(pool_bytes(layout(LARGEST_BLOCK_BYTES, 1)).is_none());
        assert!(pool_bytes(layout(isize::MAX as usize, 1)).is_none());
        assert!(pool_bytes(layout(1, 1 << 62)).is_none());
        assert!(pool_bytes(layout(LARGEST_BLOCK_BYTES - 1, 1)).is_some());
    }
}
