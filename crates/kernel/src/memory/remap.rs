//! `mremap(2)`: a mapping grows, shrinks, moves, or is doubled. Its key goes with it.
//!
//! The order of checks is Linux's. Beyond the arguments, which are looked at first, it works within one mapping: a range
//! that goes beyond its mapping is `EFAULT`, but for one that shrinks, which only unmaps. A mapping grows in place if the
//! range ends where the mapping does and there is room behind; else it has to be allowed to move.
//!
//! Source: Linux 6.12 `mm/mremap.c`.

use lock_api::RawMutex;
use pkeys_core::{LeafSize, Pkey};

use crate::abi::{Errno, MremapFlags};
use crate::hardware::{Cpu, PhysMemory};
use crate::memory::caller::Caller;
use crate::memory::layout::{Addresses, MAX_MAP_COUNT, PAGE_SIZE, TASK_SIZE, align_up, is_aligned};
use crate::memory::object::Object;
use crate::memory::place::place;
use crate::memory::space::{Inner, Space};
use crate::memory::tables::{Flush, NoTable, Tables};
use crate::memory::vma::{Vma, VmaFlags};
use crate::mutant::{self, Mutant};

/// The arguments of a call, lengths rounded up to pages.
#[derive(Clone, Copy)]
struct Move {
    addr: u64,
    old_len: u64,
    new_len: u64,
    flags: MremapFlags,
    new_addr: u64,
}

impl Move {
    const fn has(&self, flags: MremapFlags) -> bool {
        self.flags.contains(flags)
    }

    /// What can be said without a look at the mappings.
    fn checked(self) -> Result<Self, Errno> {
        let is_known = self.flags.bits() & !MremapFlags::all().bits() == 0;
        let may_move = self.has(MremapFlags::MAYMOVE);
        if !is_known
            || self.has(MremapFlags::FIXED) && !may_move
            || self.has(MremapFlags::DONTUNMAP) && (!may_move || self.old_len != self.new_len)
            || !is_aligned(self.addr, PAGE_SIZE)
        {
            return Err(Errno::Invalid);
        }
        let rounded = Self {
            old_len: align_up(self.old_len, PAGE_SIZE),
            new_len: align_up(self.new_len, PAGE_SIZE),
            ..self
        };
        // An old length of zero doubles shared memory; a new one means nothing.
        if rounded.new_len == 0 {
            return Err(Errno::Invalid);
        }
        Ok(rounded)
    }

    /// Lengths rounded up to huge pages, which do not grow.
    fn checked_huge(self, page: LeafSize) -> Result<Self, Errno> {
        let page = page.bytes();
        let rounded = Self {
            old_len: align_up(self.old_len, page),
            new_len: align_up(self.new_len, page),
            ..self
        };
        if !is_aligned(self.addr, page)
            || !is_aligned(self.new_addr, page)
            || rounded.new_len > rounded.old_len
        {
            return Err(Errno::Invalid);
        }
        Ok(rounded)
    }
}

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// `void *mremap(void *old_address, size_t old_size, size_t new_size, int flags, void *new_address);`
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] for bad flags, addresses and lengths, for old and new ranges that overlap, and for an old
    /// length of zero of private memory; [`Errno::Fault`] where nothing is mapped and for a range beyond its mapping;
    /// [`Errno::Perm`] for a sealed mapping; [`Errno::NoMemory`] for want of room, of memory, or of the right to move.
    pub fn mremap<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        addr: u64,
        old_len: u64,
        new_len: u64,
        flags: u64,
        new_addr: u64,
    ) -> Result<u64, Errno> {
        let mut job = Move {
            addr,
            old_len,
            new_len,
            flags: MremapFlags::from_bits_retain(flags),
            new_addr,
        }
        .checked()?;
        let mut inner = self.inner.lock();
        let vma = inner.vmas.at(addr).ok_or(Errno::Fault)?;
        if vma.has(VmaFlags::SEALED) {
            return Err(Errno::Perm);
        }
        if vma.is_huge() {
            job = job.checked_huge(vma.attrs.page)?;
        }
        if job
            .flags
            .intersects(MremapFlags::FIXED | MremapFlags::DONTUNMAP)
        {
            return self.remap_to(&mut inner, caller.cpu, job);
        }
        if job.old_len >= job.new_len {
            let rest = job.old_len - job.new_len;
            if rest > 0 {
                let end = addr.wrapping_add(job.new_len);
                self.unmap(&mut inner, caller.cpu, end, rest)?;
            }
            return Ok(addr);
        }
        let vma = resizable(&inner, &job)?.clone();
        if self.grow_in_place(&mut inner, &vma, &job)? {
            return Ok(addr);
        }
        if !job.has(MremapFlags::MAYMOVE) {
            return Err(Errno::NoMemory);
        }
        job.new_addr = place(&inner.vmas, 0, job.new_len, vma.attrs.page, false)?;
        self.move_mapping(&mut inner, caller.cpu, &vma, &job)
    }

    /// To an address that is given, or near one.
    fn remap_to<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        cpu: &C,
        mut job: Move,
    ) -> Result<u64, Errno> {
        let overlaps = job.addr.wrapping_add(job.old_len) > job.new_addr
            && job.new_addr.wrapping_add(job.new_len) > job.addr;
        if !is_aligned(job.new_addr, PAGE_SIZE)
            || job.new_len > TASK_SIZE
            || job.new_addr > TASK_SIZE - job.new_len
            || overlaps
        {
            return Err(Errno::Invalid);
        }
        if inner.vmas.len() + 2 >= MAX_MAP_COUNT - 3 {
            return Err(Errno::NoMemory);
        }
        if job.has(MremapFlags::FIXED) {
            self.unmap(inner, cpu, job.new_addr, job.new_len)?;
        }
        if job.old_len > job.new_len {
            let end = job.addr.wrapping_add(job.new_len);
            self.unmap(inner, cpu, end, job.old_len - job.new_len)?;
            job.old_len = job.new_len;
        }
        let vma = resizable(inner, &job)?.clone();
        job.new_addr = place(
            &inner.vmas,
            job.new_addr,
            job.new_len,
            vma.attrs.page,
            job.has(MremapFlags::FIXED),
        )?;
        self.move_mapping(inner, cpu, &vma, &job)
    }

    /// Grows a mapping at its end, if the range ends there and there is room.
    fn grow_in_place(
        &self,
        inner: &mut Inner<M, L, T>,
        vma: &Vma<Object<M, L>>,
        job: &Move,
    ) -> Result<bool, Errno> {
        let delta = job.new_len - job.old_len;
        let is_at_end = job.old_len == vma.end - job.addr;
        let end = match vma.end.checked_add(delta) {
            Some(end) if is_at_end && end <= TASK_SIZE => end,
            _ => return Ok(false),
        };
        if inner.vmas.first_in(&(vma.end..end)).is_some() {
            return Ok(false);
        }
        if vma.has(VmaFlags::ACCOUNT) && !self.pool.may_commit(delta) {
            return Err(Errno::NoMemory);
        }
        inner.vmas.insert_joined(Vma {
            start: vma.end,
            end,
            first_page: vma.page_at(vma.end),
            ..vma.clone()
        });
        Ok(true)
    }

    /// Linux's `move_vma`. Nothing is mapped in the new range.
    fn move_mapping<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        cpu: &C,
        vma: &Vma<Object<M, L>>,
        job: &Move,
    ) -> Result<u64, Errno> {
        let stays = job.has(MremapFlags::DONTUNMAP);
        let promised = if stays {
            job.new_len
        } else {
            job.new_len - job.old_len
        };
        let is_refused = vma.has(VmaFlags::ACCOUNT) && !self.pool.may_commit(promised);
        if inner.vmas.len() >= MAX_MAP_COUNT - 3 || is_refused {
            return Err(Errno::NoMemory);
        }
        let old = job.addr..job.addr + job.old_len;
        let new = job.new_addr..job.new_addr + job.new_len;
        inner.vmas.insert_joined(copy(vma, job.addr, &new));
        let mut flush = Flush::nothing();
        let moved = move_leaves(&mut inner.tables, &old, new.start, &mut flush);
        if moved.is_err() {
            // The tables of the old range are there, so that every leaf finds its place again.
            let back = new.start..new.start + job.old_len;
            let result = move_leaves(&mut inner.tables, &back, old.start, &mut flush);
            debug_assert_eq!(result, Ok(()), "a leaf that was taken can be put back");
        }
        self.settle(cpu, flush);
        if moved.is_err() {
            self.drop_range(inner, cpu, &new)?;
            return Err(Errno::NoMemory);
        }
        if stays {
            forget_family(inner, &old);
        } else if !old.is_empty() {
            self.drop_range(inner, cpu, &old)?;
        }
        Ok(job.new_addr)
    }

    /// Unmaps one of the two ranges of a move. The promises of huge pages are the other one's.
    fn drop_range<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        cpu: &C,
        range: &Addresses,
    ) -> Result<(), Errno> {
        self.cut_out(inner, range)?;
        let mut at = range.start;
        while let Some(vma) = inner.vmas.first_in(&(at..range.end)) {
            at = vma.end;
            let start = vma.start;
            if let Some(vma) = inner.vmas.starting_at_mut(start) {
                vma.attrs.flags -= VmaFlags::RESERVED;
            }
        }
        drop(self.clear_out(inner, cpu, range));
        Ok(())
    }
}

/// The mapping of a range that is to have another length: `vma_to_resize`.
fn resizable<'a, M: PhysMemory, L: RawMutex, T>(
    inner: &'a Inner<M, L, T>,
    job: &Move,
) -> Result<&'a Vma<Object<M, L>>, Errno> {
    let vma = inner.vmas.at(job.addr).ok_or(Errno::Fault)?;
    if job.old_len == 0 && !vma.is_shared() {
        return Err(Errno::Invalid);
    }
    let is_fixed_size = vma.is_huge() || vma.has(VmaFlags::READ_ONLY);
    if job.has(MremapFlags::DONTUNMAP) && is_fixed_size {
        return Err(Errno::Invalid);
    }
    if job.old_len > vma.end - job.addr {
        return Err(Errno::Fault);
    }
    if job.new_len != job.old_len && is_fixed_size {
        return Err(Errno::Fault);
    }
    Ok(vma)
}

/// The mapping in its new place. One without private pages counts as first mapped there.
fn copy<O: Clone>(vma: &Vma<O>, addr: u64, new: &Addresses) -> Vma<O> {
    let mut copy = vma.clone();
    copy.start = new.start;
    copy.end = new.end;
    copy.first_page = if vma.is_anonymous() && vma.anon.is_none() {
        new.start / PAGE_SIZE
    } else {
        vma.page_at(addr)
    };
    if mutant::is(Mutant::MremapDropsKey) {
        copy.attrs.pkey = Pkey::DEFAULT;
    }
    copy
}

/// Moves all leaves of a range to another one.
fn move_leaves<T: Tables>(
    tables: &mut T,
    from: &Addresses,
    to: u64,
    flush: &mut Flush,
) -> Result<(), NoTable> {
    let mut rest = from.clone();
    while let Some((addr, _)) = tables.next(rest.clone()) {
        let Some((mut leaf, taken)) = tables.take(addr) else {
            break;
        };
        *flush = core::mem::take(flush).and(taken);
        if mutant::is(Mutant::MremapDropsKey) {
            leaf.mode.pkey = Pkey::DEFAULT;
        }
        if let Err(error) = tables.map(to + (addr - from.start), leaf) {
            // Back to where its table is.
            return tables.map(addr, leaf).and(Err(error));
        }
        rest.start = addr + leaf.size.bytes();
    }
    Ok(())
}

/// A mapping all of whose pages went away has no family any more.
fn forget_family<M: PhysMemory, L: RawMutex, T>(inner: &mut Inner<M, L, T>, old: &Addresses) {
    if let Some(vma) = inner.vmas.starting_at_mut(old.start)
        && vma.end == old.end
    {
        vma.anon = None;
    }
}
