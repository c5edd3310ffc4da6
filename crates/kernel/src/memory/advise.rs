//! `madvise(2)`, as far as a program can see what it does: dropping pages and bringing them in.
//!
//! It goes mapping by mapping and, unlike `mprotect(2)`, over holes: the rest is done, and the answer is `ENOMEM`.
//! `MADV_DONTNEED` looks at neither protection nor key: whoever can call it can throw keyed pages away. A sealed mapping
//! is spared if it is private and the caller could not write to it, by protection or by key. The two that bring pages in
//! make the accesses of the calling thread, keys included, and tell a denial from a hole: `EINVAL` and `ENOMEM`.
//!
//! Of the other advice, what changes attributes cuts and joins mappings as Linux does. Advice that this library does not
//! know is `EINVAL`.
//!
//! Source: Linux 6.12 `mm/madvise.c`, `mm/gup.c` (`faultin_page_range`), `mm/mseal.c`.

use lock_api::RawMutex;
use pkeys_core::Access;

use crate::abi::{Errno, Madvice, Prot};
use crate::hardware::{Cpu, PhysMemory};
use crate::keys::fault;
use crate::memory::bring_in::Want;
use crate::memory::caller::Caller;
use crate::memory::layout::{Addresses, PAGE_SIZE, align_down, align_up, is_aligned};
use crate::memory::space::{Inner, Space};
use crate::memory::tables::Tables;
use crate::memory::unmap::count_absent;
use crate::memory::vma::{Attrs, VmaFlags};

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// `int madvise(void *addr, size_t length, int advice);`
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] for unknown advice, an address that is not aligned, a length that wraps; then mapping by mapping
    /// as at the top of this module.
    pub fn madvise<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        start: u64,
        len: u64,
        advice: i32,
    ) -> Result<u64, Errno> {
        let advice = Madvice::from_number(advice).ok_or(Errno::Invalid)?;
        let Some(range) = checked_range(start, len)? else {
            return Ok(0);
        };
        let mut inner = self.inner.lock();
        match advice {
            Madvice::PopulateRead => self.populate_for(&mut inner, caller, range, Access::Read)?,
            Madvice::PopulateWrite => {
                self.populate_for(&mut inner, caller, range, Access::Write)?
            }
            Madvice::DontNeed => {
                for_mappings(&mut inner, range, |inner, part| {
                    self.drop_pages(inner, caller, part)
                })?;
            }
            Madvice::WillNeed => for_mappings(&mut inner, range, |_, _| Ok(()))?,
            Madvice::Normal | Madvice::Random | Madvice::Sequential => {
                for_mappings(&mut inner, range, |inner, part| note(inner, part, advice))?;
            }
        }
        Ok(0)
    }

    /// `int mseal(void *addr, size_t len, unsigned long flags);`, since Linux 6.10.
    ///
    /// From then on the mappings of a range keep their place, protection and key.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] for any flag, an address that is not aligned, a length that wraps; [`Errno::NoMemory`], and
    /// nothing is sealed, if there is a hole.
    pub fn mseal<C: Cpu>(
        &self,
        _caller: &Caller<'_, C>,
        start: u64,
        len: u64,
        flags: u64,
    ) -> Result<u64, Errno> {
        if flags != 0 {
            return Err(Errno::Invalid);
        }
        let Some(range) = checked_range(start, len)? else {
            return Ok(0);
        };
        let mut inner = self.inner.lock();
        if inner.vmas.has_hole(&range) {
            return Err(Errno::NoMemory);
        }
        for_mappings(&mut inner, range, |inner, part| {
            set_flags(inner, part, |attrs| attrs.flags |= VmaFlags::SEALED)
        })?;
        Ok(0)
    }

    /// `MADV_DONTNEED` in a part of one mapping.
    fn drop_pages<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        caller: &Caller<'_, C>,
        mut part: Addresses,
    ) -> Result<(), Errno> {
        let Some(vma) = inner.vmas.at(part.start) else {
            return Ok(());
        };
        let pkru = caller.register().map(|register| register.read());
        if vma.has(VmaFlags::SEALED) && vma.is_anonymous() && !vma.is_shared() {
            let may_write =
                vma.is_writable() && fault::permits(vma.attrs.pkey, Access::Write, pkru);
            if !may_write {
                return Err(Errno::Perm);
            }
        }
        let page = vma.attrs.page;
        if vma.is_huge() {
            if !is_aligned(part.start, page.bytes()) {
                return Err(Errno::Invalid);
            }
            // Rounded down, since the caller may not know how large the pages are.
            part.end = align_down(part.end, page.bytes());
            if part.is_empty() {
                return Ok(());
            }
        }
        let is_promised = vma.has(VmaFlags::RESERVED);
        let start = vma.start;
        let absent =
            |inner: &Inner<M, L, T>| count_absent(&inner.tables, part.clone(), page.bytes());
        let nr_absent = if is_promised { absent(inner) } else { 0 };
        // Whole pages, so that nothing is split and no table needed; the tables stay.
        if let Ok(flush) = inner.tables.unmap(part.clone(), 0..0) {
            self.settle(caller.cpu, flush);
        }
        if is_promised {
            let nr_dropped = absent(inner) - nr_absent;
            if !self.pool.reserve(page, nr_dropped) {
                self.break_promise(inner, start, nr_dropped);
            }
        }
        Ok(())
    }

    /// A child process has the pages that were dropped, so that they did not come back to the reserve. The mapping goes
    /// on without promises.
    fn break_promise(&self, inner: &mut Inner<M, L, T>, start: u64, nr_dropped: u64) {
        let Some(vma) = inner.vmas.starting_at_mut(start) else {
            return;
        };
        vma.attrs.flags -= VmaFlags::RESERVED;
        let page = vma.attrs.page;
        let absent = count_absent(&inner.tables, vma.range(), page.bytes());
        self.pool.unreserve(page, absent - nr_dropped);
    }

    /// `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`.
    fn populate_for<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        caller: &Caller<'_, C>,
        range: Addresses,
        access: Access,
    ) -> Result<(), Errno> {
        let pkru = caller.register().map(|register| register.read());
        let (needed, want) = match access {
            Access::Write => (Prot::WRITE, Want::Write),
            Access::Read | Access::Fetch => (Prot::READ, Want::Read),
        };
        let mut at = range.start;
        while at < range.end {
            let vma = inner.vmas.at(at).ok_or(Errno::NoMemory)?;
            if !vma.attrs.prot.contains(needed) || !fault::permits(vma.attrs.pkey, access, pkru) {
                return Err(Errno::Invalid);
            }
            let page = vma.attrs.page.bytes();
            let end = vma.end.min(range.end);
            while at < end {
                self.ready(inner, caller.cpu, at, want)?;
                at = align_down(at, page) + page;
            }
        }
        Ok(())
    }
}

/// The range of a call, `None` if it is empty.
fn checked_range(start: u64, len: u64) -> Result<Option<Addresses>, Errno> {
    let rounded = align_up(len, PAGE_SIZE);
    if !is_aligned(start, PAGE_SIZE) || len != 0 && rounded == 0 {
        return Err(Errno::Invalid);
    }
    let end = start.checked_add(rounded).ok_or(Errno::Invalid)?;
    Ok((start < end).then_some(start..end))
}

/// Goes over the mappings of a range, a part of each, until one fails. Holes are told at the end.
fn for_mappings<M: PhysMemory, L: RawMutex, T>(
    inner: &mut Inner<M, L, T>,
    range: Addresses,
    mut visit: impl FnMut(&mut Inner<M, L, T>, Addresses) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut has_hole = false;
    let mut at = range.start;
    while at < range.end {
        let Some(vma) = inner.vmas.first_in(&(at..range.end)) else {
            has_hole = true;
            break;
        };
        has_hole |= at < vma.start;
        let part = at.max(vma.start)..vma.end.min(range.end);
        at = part.end;
        visit(inner, part)?;
    }
    if has_hole {
        Err(Errno::NoMemory)
    } else {
        Ok(())
    }
}

/// The advice about the order of accesses.
fn note<M: PhysMemory, L: RawMutex, T>(
    inner: &mut Inner<M, L, T>,
    part: Addresses,
    advice: Madvice,
) -> Result<(), Errno> {
    let flags = match advice {
        Madvice::Random => VmaFlags::RANDOM,
        Madvice::Sequential => VmaFlags::SEQUENTIAL,
        _ => VmaFlags::empty(),
    };
    let result = set_flags(inner, part, |attrs| {
        attrs.flags -= VmaFlags::RANDOM | VmaFlags::SEQUENTIAL;
        attrs.flags |= flags;
    });
    match result {
        Err(Errno::NoMemory) => Err(Errno::Again),
        result => result,
    }
}

/// Changes the attributes of a part of one mapping.
fn set_flags<M: PhysMemory, L: RawMutex, T>(
    inner: &mut Inner<M, L, T>,
    part: Addresses,
    change: impl FnOnce(&mut Attrs),
) -> Result<(), Errno> {
    let Some(vma) = inner.vmas.at(part.start) else {
        return Ok(());
    };
    let mut attrs = vma.attrs;
    change(&mut attrs);
    if attrs == vma.attrs {
        return Ok(());
    }
    let start = vma.start;
    inner.vmas.modify(start, part, attrs)
}
