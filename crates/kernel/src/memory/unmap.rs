//! `munmap(2)`, and the same for whoever puts something else in the place.
//!
//! The mappings go first, then the leaves and the tables that only they used, then TLBs are told, then frames and objects
//! go back.
//!
//! Source: Linux 6.12 `mm/vma.c` (`do_vmi_munmap`, `vms_gather_munmap_vmas`).

use alloc::vec::Vec;

use lock_api::RawMutex;

use crate::abi::Errno;
use crate::hardware::{Cpu, PhysMemory};
use crate::memory::caller::Caller;
use crate::memory::layout::{Addresses, MAX_MAP_COUNT, PAGE_SIZE, TASK_SIZE, align_up, is_aligned};
use crate::memory::object::Object;
use crate::memory::pool::Pool;
use crate::memory::space::{Inner, Space};
use crate::memory::tables::{Flush, Tables};
use crate::memory::vma::{Vma, VmaFlags};

/// The end of what the tables of a program can map, a multiple of all page sizes.
const USER_END: u64 = 1 << 47;

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// `int munmap(void *addr, size_t length);`
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] for an address that is not aligned, a range that leaves the user's part or is empty, and for a
    /// part of a huge page; [`Errno::Perm`] for a sealed mapping; [`Errno::NoMemory`] if there would be too many mappings.
    pub fn munmap<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        addr: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        let mut inner = self.inner.lock();
        self.unmap(&mut inner, caller.cpu, addr, len)?;
        Ok(0)
    }

    /// Linux's `do_vmi_munmap`.
    pub(super) fn unmap<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        cpu: &C,
        addr: u64,
        len: u64,
    ) -> Result<(), Errno> {
        if !is_aligned(addr, PAGE_SIZE) || addr > TASK_SIZE || len > TASK_SIZE - addr {
            return Err(Errno::Invalid);
        }
        let range = addr..addr + align_up(len, PAGE_SIZE);
        if range.is_empty() {
            return Err(Errno::Invalid);
        }
        self.cut_out(inner, &range)?;
        drop(self.clear_out(inner, cpu, &range));
        Ok(())
    }

    /// Cuts mappings at the borders of a range, and sees that all in it may be taken out. A cut that was made stays.
    pub(super) fn cut_out(
        &self,
        inner: &mut Inner<M, L, T>,
        range: &Addresses,
    ) -> Result<(), Errno> {
        let vmas = &mut inner.vmas;
        let Some(first) = vmas.first_in(range) else {
            return Ok(());
        };
        if first.start < range.start {
            if range.end < first.end && vmas.len() >= MAX_MAP_COUNT {
                return Err(Errno::NoMemory);
            }
            if first.has(VmaFlags::SEALED) {
                return Err(Errno::Perm);
            }
            let start = first.start;
            vmas.split_beyond_limit(start, range.start)?;
        }
        let mut at = range.start;
        while let Some(vma) = vmas.first_in(&(at..range.end)) {
            if vma.has(VmaFlags::SEALED) {
                return Err(Errno::Perm);
            }
            at = vma.end;
            if range.end < vma.end {
                let start = vma.start;
                vmas.split_beyond_limit(start, range.end)?;
            }
        }
        Ok(())
    }

    /// Takes out all mappings of a range at whose borders none goes on, with everything that belongs to them. The answer
    /// is what they were: objects go with the last mapping, once no TLB knows them.
    pub(super) fn clear_out<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        cpu: &C,
        range: &Addresses,
    ) -> Vec<Vma<Object<M, L>>> {
        let (removed, flush) = take_out(&self.pool, inner, range);
        self.settle(cpu, flush);
        removed
    }
}

/// The mappings of a range at whose borders none goes on, and what their leaves and tables leave to be done.
pub(super) fn take_out<M: PhysMemory, L: RawMutex, T: Tables>(
    pool: &Pool<M, L>,
    inner: &mut Inner<M, L, T>,
    range: &Addresses,
) -> (Vec<Vma<Object<M, L>>>, Flush) {
    let removed = inner.vmas.remove_in(range);
    if removed.is_empty() {
        return (removed, Flush::nothing());
    }
    for vma in &removed {
        unreserve_absent(pool, &inner.tables, vma);
    }
    let gap = inner.vmas.gap_around(range);
    let empty = gap.start..gap.end.min(USER_END);
    // The range ends where pages end, so that nothing is split and no table needed.
    let flush = inner.tables.unmap(range.clone(), empty);
    (removed, flush.unwrap_or_default())
}

/// Takes back the promises of huge pages that a mapping made no use of.
fn unreserve_absent<M: PhysMemory, L: RawMutex, T: Tables>(
    pool: &Pool<M, L>,
    tables: &T,
    vma: &Vma<Object<M, L>>,
) {
    if vma.has(VmaFlags::RESERVED) {
        let absent = count_absent(tables, vma.range(), vma.attrs.page.bytes());
        pool.unreserve(vma.attrs.page, absent);
    }
}

/// How many pages of a range have no leaf.
pub(super) fn count_absent<T: Tables>(tables: &T, range: Addresses, page: u64) -> u64 {
    let nr_pages = (range.end - range.start) / page;
    let mut nr_present = 0;
    let mut rest = range;
    while let Some((addr, _)) = tables.next(rest.clone()) {
        nr_present += 1;
        rest.start = addr + page;
    }
    nr_pages - nr_present
}
