//! `mmap(2)`: files in memory, and anonymous memory of small and of huge pages, private and shared.
//!
//! The order of checks is Linux's, and decides which error a program sees when several things are wrong. Two places
//! surprise: a mapping that is exactly `PROT_EXEC` takes the execute-only key, and allocates it if there is none, before its
//! address is looked at, so that a call that fails may have allocated it; and unknown bits in `prot` and `flags` are
//! ignored. What the descriptor does not allow is found after an address was found.
//!
//! Source: Linux 6.12 `mm/mmap.c` (`ksys_mmap_pgoff`, `do_mmap`, `mmap_region`), `mm/hugetlb.c`.

use lock_api::RawMutex;
use pkeys_core::{Access, LeafSize};

use crate::abi::{Errno, MapFlags, Prot};
use crate::hardware::{Cpu, PhysMemory};
use crate::keys::fault;
use crate::memory::bring_in::Want;
use crate::memory::caller::Caller;
use crate::memory::layout::{
    Addresses, MAX_MAP_COUNT, PAGE_SIZE, align_down, align_up, is_aligned,
};
use crate::memory::object::Object;
use crate::memory::place::{place, round_hint};
use crate::memory::space::{Inner, Space};
use crate::memory::tables::Tables;
use crate::memory::vma::{Attrs, Vma, VmaFlags};
use crate::memory::wish::{Backing, Wish, page_size};

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// `void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset);`
    ///
    /// # Errors
    ///
    /// In this order: [`Errno::Invalid`] for an offset that is not aligned; [`Errno::BadDescriptor`] without
    /// `MAP_ANONYMOUS`; [`Errno::Invalid`] for a huge page size that there is not, and for a length of zero;
    /// [`Errno::NoMemory`] for a length that wraps, for too many mappings, and for a range that leaves the user's part or
    /// finds no room; [`Errno::Invalid`] for a fixed address that is not aligned; [`Errno::Perm`] for one that is too
    /// low; [`Errno::Exists`] for one that is taken, with `MAP_FIXED_NOREPLACE`; [`Errno::Invalid`] or
    /// [`Errno::NotSupported`] for a bad type; [`Errno::Perm`] if a sealed mapping would be replaced;
    /// [`Errno::NoMemory`] if more is promised than there is.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the call")]
    pub fn mmap<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        addr: u64,
        len: u64,
        prot: u64,
        flags: u64,
        _fd: u64,
        offset: u64,
    ) -> Result<u64, Errno> {
        if !is_aligned(offset, PAGE_SIZE) {
            return Err(Errno::Invalid);
        }
        if flags & MapFlags::ANONYMOUS.bits() == 0 {
            return Err(Errno::BadDescriptor);
        }
        let page = page_size(flags)?;
        let wish = Wish {
            addr,
            len: align_up(len, page.bytes()),
            prot,
            flags,
            page,
            backing: None,
            first_page: 0,
        };
        self.map_wished(caller, len, wish)
    }

    /// The same with a descriptor and without `MAP_ANONYMOUS`. The offset is aligned.
    ///
    /// # Errors
    ///
    /// As [`Space::mmap`], but: [`Errno::Invalid`] for huge pages, first of all; where the type is looked at,
    /// [`Errno::Overflow`] for a range that no file reaches, [`Errno::NotSupported`] and [`Errno::Invalid`] for a bad
    /// type, [`Errno::Access`] for shared writes that the descriptor was not opened for, and for one that was not opened
    /// for reading, [`Errno::NoDevice`] for what cannot be mapped, [`Errno::Invalid`] for a mapping that grows.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the call")]
    pub(crate) fn mmap_file<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        addr: u64,
        len: u64,
        prot: u64,
        flags: u64,
        backing: &Backing<M, L>,
        offset: u64,
    ) -> Result<u64, Errno> {
        if flags & MapFlags::HUGETLB.bits() != 0 {
            return Err(Errno::Invalid);
        }
        let wish = Wish {
            addr,
            len: align_up(len, PAGE_SIZE),
            prot,
            flags,
            page: LeafSize::Size4K,
            backing: Some(backing),
            first_page: offset / PAGE_SIZE,
        };
        self.map_wished(caller, len, wish)
    }

    fn map_wished<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        len: u64,
        mut wish: Wish<'_, M, L>,
    ) -> Result<u64, Errno> {
        // A length that is not a multiple of the page becomes one before it is compared with zero, but only for
        // huge pages. For others, zero and what wraps to zero are told apart.
        if len == 0 || wish.is_huge() && wish.len == 0 {
            return Err(Errno::Invalid);
        }
        if wish.len == 0 {
            return Err(Errno::NoMemory);
        }
        if !wish.is_fixed() {
            wish.addr = round_hint(wish.addr);
        }
        let mut inner = self.inner.lock();
        let result = self.map(&mut inner, caller, &wish);
        // The execute-only key may have been allocated, whatever came of the rest.
        self.update_mirror(&inner);
        result
    }

    fn map<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        caller: &Caller<'_, C>,
        wish: &Wish<'_, M, L>,
    ) -> Result<u64, Errno> {
        if inner.vmas.len() > MAX_MAP_COUNT {
            return Err(Errno::NoMemory);
        }
        // The protection counts with all its bits: PROT_EXEC and nothing else.
        let asked = Prot::from_bits_retain(wish.prot);
        let pkey = self.keys.key_for_map(asked, caller.keys, caller.register());
        let addr = place(&inner.vmas, wish.addr, wish.len, wish.page, wish.is_fixed())?;
        let range = addr..addr + wish.len;
        if wish.has(MapFlags::FIXED_NOREPLACE) && inner.vmas.first_in(&range).is_some() {
            return Err(Errno::Exists);
        }
        let attrs = Attrs {
            prot: asked & Prot::ACCESS,
            pkey,
            flags: wish.vma_flags()?,
            page: wish.page,
        };
        let file = wish.backing.and_then(|backing| backing.file.clone());
        let file = file.map(|file| (file, wish.first_page));
        self.map_region(inner, caller.cpu, range.clone(), attrs, file)?;
        if wish.populates() {
            self.populate(inner, caller, range);
        }
        Ok(addr)
    }

    /// Puts a new mapping in the place of whatever is there: Linux's `mmap_region`.
    pub(super) fn map_region<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        cpu: &C,
        range: Addresses,
        mut attrs: Attrs,
        file: Option<(Object<M, L>, u64)>,
    ) -> Result<(), Errno> {
        let len = range.end - range.start;
        self.cut_out(inner, &range)?;
        let is_huge = attrs.page != LeafSize::Size4K;
        if !is_huge && is_accountable(&attrs) {
            if !self.pool.may_commit(len) {
                return Err(Errno::NoMemory);
            }
            attrs.flags |= VmaFlags::ACCOUNT;
        }
        // Objects of old mappings go when the new one is there: until then they keep their huge pages.
        let replaced = self.clear_out(inner, cpu, &range);
        let is_shared = attrs.flags.contains(VmaFlags::SHARED);
        let (object, first_page) = match file {
            Some((file, first_page)) => (Some(file), first_page),
            None if is_huge => (Some(self.huge_object(len, &mut attrs)?), 0),
            None if is_shared => (Some(self.shared_object(len, &attrs)?), 0),
            None => (None, range.start / PAGE_SIZE),
        };
        inner.vmas.insert_joined(Vma {
            start: range.start,
            end: range.end,
            attrs,
            first_page,
            object,
            anon: None,
        });
        drop(replaced);
        Ok(())
    }

    fn shared_object(&self, len: u64, attrs: &Attrs) -> Result<Object<M, L>, Errno> {
        if !attrs.flags.contains(VmaFlags::NORESERVE) && !self.pool.may_commit(len) {
            return Err(Errno::NoMemory);
        }
        Ok(Object::new(
            &self.pool,
            LeafSize::Size4K,
            len / PAGE_SIZE,
            false,
        ))
    }

    fn huge_object(&self, len: u64, attrs: &mut Attrs) -> Result<Object<M, L>, Errno> {
        let nr_pages = len / attrs.page.bytes();
        let is_reserved = !attrs.flags.contains(VmaFlags::NORESERVE);
        if is_reserved && !self.pool.reserve(attrs.page, nr_pages) {
            return Err(Errno::NoMemory);
        }
        let is_shared = attrs.flags.contains(VmaFlags::SHARED);
        if is_reserved && !is_shared {
            // The promise is the mapping's, not the object's: a child process has none.
            attrs.flags |= VmaFlags::RESERVED;
        }
        Ok(Object::new(
            &self.pool,
            attrs.page,
            nr_pages,
            is_reserved && is_shared,
        ))
    }

    /// `MAP_POPULATE`: brings pages in as far as that is possible. Nobody is told what was not.
    pub(super) fn populate<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        caller: &Caller<'_, C>,
        range: Addresses,
    ) {
        let pkru = caller.register().map(|register| register.read());
        let mut at = range.start;
        while let Some(vma) = inner.vmas.first_in(&(at..range.end)) {
            let end = vma.end.min(range.end);
            let page = vma.attrs.page.bytes();
            let is_write = vma.is_writable() && !vma.is_shared();
            let access = if is_write {
                Access::Write
            } else {
                Access::Read
            };
            let is_accessible = vma.attrs.prot.intersects(Prot::ACCESS);
            if is_accessible && fault::permits(vma.attrs.pkey, access, pkru) {
                let want = if is_write { Want::Write } else { Want::Read };
                let start = align_down(vma.start.max(at), page);
                for addr in (start..end).step_by(usize::try_from(page).unwrap_or(usize::MAX)) {
                    if self.bring_in(inner, caller.cpu, addr, want).is_err() {
                        break;
                    }
                }
            }
            at = end;
        }
    }
}

/// Whether a mapping promises its pages: `accountable_mapping`.
pub(super) fn is_accountable(attrs: &Attrs) -> bool {
    attrs.prot.contains(Prot::WRITE)
        && !attrs
            .flags
            .intersects(VmaFlags::NORESERVE | VmaFlags::SHARED)
}
