//! What a call of `mmap(2)` asks for: its flags, and the descriptor that it names.
//!
//! Unknown flags are ignored, but by `MAP_SHARED_VALIDATE`, which is there to refuse them. `MAP_LOCKED` and `MAP_32BIT`
//! count among the unknown ones.
//!
//! Source: Linux 6.12 `mm/mmap.c` (`ksys_mmap_pgoff`, `do_mmap`, `file_mmap_ok`).

use lock_api::RawMutex;
use pkeys_core::LeafSize;

use crate::abi::{Errno, MapFlags, Prot};
use crate::hardware::PhysMemory;
use crate::memory::layout::PAGE_SIZE;
use crate::memory::object::Object;
use crate::memory::vma::VmaFlags;

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

/// The largest file: `MAX_LFS_FILESIZE`.
const FILE_MAX: u64 = i64::MAX.cast_unsigned();

/// What a descriptor is to `mmap(2)`.
#[derive(Debug)]
pub(crate) struct Backing<M: PhysMemory, L: RawMutex> {
    /// The file, or `None` for what cannot be mapped.
    pub(crate) file: Option<Object<M, L>>,
    /// Whether the descriptor was opened for reading.
    pub(crate) is_readable: bool,
    /// Whether it was opened for writing.
    pub(crate) is_writable: bool,
}

/// The arguments of a call.
pub(super) struct Wish<'a, M: PhysMemory, L: RawMutex> {
    pub(super) addr: u64,
    /// A multiple of the page.
    pub(super) len: u64,
    pub(super) prot: u64,
    pub(super) flags: u64,
    pub(super) page: LeafSize,
    pub(super) backing: Option<&'a Backing<M, L>>,
    /// The distance from the start of the file, in pages of 4 KiB.
    pub(super) first_page: u64,
}

impl<M: PhysMemory, L: RawMutex> Wish<'_, M, L> {
    pub(super) const fn has(&self, flags: MapFlags) -> bool {
        self.flags & flags.bits() == flags.bits()
    }

    pub(super) const fn is_huge(&self) -> bool {
        !matches!(self.page, LeafSize::Size4K)
    }

    pub(super) const fn is_fixed(&self) -> bool {
        self.has(MapFlags::FIXED) || self.has(MapFlags::FIXED_NOREPLACE)
    }

    /// Whether the pages are to be brought in.
    pub(super) const fn populates(&self) -> bool {
        let populate = MapFlags::POPULATE.bits();
        self.flags & (populate | NONBLOCK) == populate
    }

    /// The flags of the mapping, if the type is one and the descriptor allows it.
    pub(super) fn vma_flags(&self) -> Result<VmaFlags, Errno> {
        match self.backing {
            Some(backing) => self.file_flags(backing),
            None => self.anonymous_flags(),
        }
    }

    /// What does not depend on the type.
    fn common_flags(&self) -> VmaFlags {
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
        flags
    }

    fn anonymous_flags(&self) -> Result<VmaFlags, Errno> {
        let flags = self.common_flags();
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

    /// A descriptor that was opened for reading only gives shared mappings that can never be written to.
    fn file_flags(&self, backing: &Backing<M, L>) -> Result<VmaFlags, Errno> {
        let mut flags = self.common_flags();
        let is_too_far = self.first_page > FILE_MAX.saturating_sub(self.len) / PAGE_SIZE;
        if is_too_far && backing.file.is_some() {
            return Err(Errno::Overflow);
        }
        match self.flags & TYPE {
            SHARED_VALIDATE if self.flags & !LEGACY != 0 => return Err(Errno::NotSupported),
            SHARED | SHARED_VALIDATE => {
                flags |= VmaFlags::SHARED;
                if !backing.is_writable {
                    if self.prot & Prot::WRITE.bits() != 0 {
                        return Err(Errno::Access);
                    }
                    flags |= VmaFlags::NO_WRITE;
                }
            }
            PRIVATE => {}
            _ => return Err(Errno::Invalid),
        }
        if !backing.is_readable {
            Err(Errno::Access)
        } else if backing.file.is_none() {
            Err(Errno::NoDevice)
        } else if flags.contains(VmaFlags::GROWSDOWN) {
            Err(Errno::Invalid)
        } else {
            Ok(flags)
        }
    }
}

/// The page size that the flags ask for.
pub(super) fn page_size(flags: u64) -> Result<LeafSize, Errno> {
    if flags & MapFlags::HUGETLB.bits() == 0 {
        return Ok(LeafSize::Size4K);
    }
    match flags >> HUGE_SHIFT & HUGE_MASK {
        0 | 21 => Ok(LeafSize::Size2M),
        30 => Ok(LeafSize::Size1G),
        _ => Err(Errno::Invalid),
    }
}
