//! `mmap(2)`: anonymous memory, private and shared, of small and of huge pages.
//!
//! The order of checks is Linux's, and decides which error a program sees when several things are wrong. Two places
//! surprise: a mapping that is exactly `PROT_EXEC` takes the execute-only key, and allocates it if there is none, before its
//! address is looked at, so that a call that fails may have allocated it; and unknown bits in `prot` and `flags` are
//! ignored.
//!
//! There are no files: a mapping that is not anonymous fails with `EBADF`, whatever the descriptor. `MAP_LOCKED` and
//! `MAP_32BIT` count among the unknown bits.
//!
//! Source: Linux 6.12 `mm/mmap.c` (`ksys_mmap_pgoff`, `do_mmap`, `__get_unmapped_area`, `mmap_region`), `mm/hugetlb.c`.

use lock_api::RawMutex;
use pkeys_core::{Access, LeafSize};

use crate::abi::{Errno, MapFlags, Prot};
use crate::hardware::{Cpu, PhysMemory};
use crate::keys::fault;
use crate::memory::bring_in::Want;
use crate::memory::caller::Caller;
use crate::memory::layout::{
    Addresses, MAX_MAP_COUNT, MMAP_MIN_ADDR, PAGE_SIZE, TASK_SIZE, align_down, align_up, is_aligned,
};
use crate::memory::object::Object;
use crate::memory::space::{Inner, Space};
use crate::memory::tables::Tables;
use crate::memory::vma::{Attrs, Vma, VmaFlags};
use crate::memory::vmas::Vmas;

/// `MAP_TYPE`: the four bits that say whose the writes are.
const TYPE: u64 = 0xF;
/// `MAP_SHARED`, `MAP_PRIVATE`.
const SHARED: u64 = 1;
const PRIVATE: u64 = 2;
/// `MAP_SHARED_VALIDATE`.
const SHARED_VALIDATE: u64 = 3;
/// `MAP_DROPPABLE`, since Linux 6.11.
const DROPPABLE: u64 = 8;
/// `MAP_NONBLOCK`: with it, `MAP_POPULATE` does nothing.
const NONBLOCK: u64 = 0x1_0000;
/// `MAP_SYNC`.
const SYNC: u64 = 0x8_0000;
/// `LEGACY_MAP_MASK`: what `MAP_SHARED_VALIDATE` lets through.
const LEGACY: u64 = 0x7C07_F9F3;
/// `MAP_HUGE_SHIFT`, `MAP_HUGE_MASK`: the logarithm of the page size.
const HUGE_SHIFT: u32 = 26;
const HUGE_MASK: u64 = 0x3F;

/// The arguments of a call.
struct Wish {
    addr: u64,
    len: u64,
    prot: u64,
    flags: u64,
    page: LeafSize,
}

impl Wish {
    const fn has(&self, flags: MapFlags) -> bool {
        self.flags & flags.bits() == flags.bits()
    }

    const fn is_huge(&self) -> bool {
        !matches!(self.page, LeafSize::Size4K)
    }

    const fn is_fixed(&self) -> bool {
        self.has(MapFlags::FIXED) || self.has(MapFlags::FIXED_NOREPLACE)
    }

    /// The flags of the mapping, if the type is one.
    fn vma_flags(&self) -> Result<VmaFlags, Errno> {
        let mut flags = VmaFlags::empty();
        if self.has(MapFlags::GROWSDOWN) {
            flags |= VmaFlags::GROWSDOWN;
        }
        if self.has(MapFlags::NORESERVE) {
            flags |= VmaFlags::NORESERVE;
        }
        if self.has(MapFlags::STACK) {
            flags |= VmaFlags::NO_HUGE;
        }
        if self.flags & SYNC != 0 {
            flags |= VmaFlags::SYNC;
        }
        let grows = flags.contains(VmaFlags::GROWSDOWN);
        match self.flags & TYPE {
            SHARED_VALIDATE if self.is_huge() && self.flags & !LEGACY != 0 => {
                Err(Errno::NotSupported)
            }
            SHARED_VALIDATE if !self.is_huge() => Err(Errno::Invalid),
            SHARED | SHARED_VALIDATE if !grows => Ok(flags | VmaFlags::SHARED),
            PRIVATE if !(grows && self.is_huge()) => Ok(flags),
            DROPPABLE if !grows && !self.is_huge() => {
                Ok(flags | VmaFlags::DROPPABLE | VmaFlags::NORESERVE)
            }
            _ => Err(Errno::Invalid),
        }
    }
}

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
        let mut wish = Wish {
            addr,
            len: align_up(len, page.bytes()),
            prot,
            flags,
            page,
        };
        // A length that is not a multiple of the page becomes one before it is compared with zero, but only for
        // huge pages. For others, zero and what wraps to zero are told apart.
        if len == 0 || wish.is_huge() && wish.len == 0 {
            return Err(Errno::Invalid);
        }
        if wish.len == 0 {
            return Err(Errno::NoMemory);
        }
        if !wish.is_fixed() {
            wish.addr = round_hint(addr);
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
        wish: &Wish,
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
        self.map_region(inner, caller.cpu, range.clone(), attrs)?;
        let populate = MapFlags::POPULATE.bits();
        if wish.flags & (populate | NONBLOCK) == populate {
            self.populate(inner, caller, range);
        }
        Ok(addr)
    }

    /// Puts a new mapping in the place of whatever is there: Linux's `mmap_region`.
    fn map_region<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        cpu: &C,
        range: Addresses,
        mut attrs: Attrs,
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
        let object = match (is_huge, is_shared) {
            (true, _) => Some(self.huge_object(len, &mut attrs)?),
            (false, true) => Some(self.shared_object(len, &attrs)?),
            (false, false) => None,
        };
        inner.vmas.insert_joined(Vma {
            start: range.start,
            end: range.end,
            attrs,
            first_page: if object.is_some() {
                0
            } else {
                range.start / PAGE_SIZE
            },
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

/// The page size that the flags ask for.
fn page_size(flags: u64) -> Result<LeafSize, Errno> {
    if flags & MapFlags::HUGETLB.bits() == 0 {
        return Ok(LeafSize::Size4K);
    }
    match flags >> HUGE_SHIFT & HUGE_MASK {
        0 | 21 => Ok(LeafSize::Size2M),
        30 => Ok(LeafSize::Size1G),
        _ => Err(Errno::Invalid),
    }
}

/// A hint below the lowest address becomes the lowest address: `round_hint_to_min`.
fn round_hint(addr: u64) -> u64 {
    let addr = align_down(addr, PAGE_SIZE);
    if addr != 0 && addr < MMAP_MIN_ADDR {
        MMAP_MIN_ADDR
    } else {
        addr
    }
}

/// Where a mapping goes: `__get_unmapped_area`. `len` is a multiple of the page and not zero.
pub(super) fn place<O>(
    vmas: &Vmas<O>,
    addr: u64,
    len: u64,
    page: LeafSize,
    is_fixed: bool,
) -> Result<u64, Errno> {
    if len > TASK_SIZE {
        return Err(Errno::NoMemory);
    }
    let align = page.bytes();
    let addr = if is_fixed {
        if align > PAGE_SIZE && !is_aligned(addr, align) {
            return Err(Errno::Invalid);
        }
        addr
    } else {
        let hint = align_down(addr, align);
        let is_usable = hint != 0 && hint <= TASK_SIZE - len && vmas.is_free_for(hint, len);
        if is_usable {
            hint
        } else {
            vmas.find_gap(len, align).ok_or(Errno::NoMemory)?
        }
    };
    if addr > TASK_SIZE - len {
        Err(Errno::NoMemory)
    } else if !is_aligned(addr, PAGE_SIZE) {
        Err(Errno::Invalid)
    } else if addr < MMAP_MIN_ADDR {
        Err(Errno::Perm)
    } else {
        Ok(addr)
    }
}
