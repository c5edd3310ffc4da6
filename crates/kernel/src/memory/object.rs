//! Memory that is shared by name and not by descent: what `MAP_SHARED` mappings map, and huge pages.
//!
//! An object is Linux's file behind a mapping: a nameless one in shmem, or in hugetlbfs. Mappings of one object see the
//! same frames, in one address space or in several. It is as long as the mapping that made it, and a mapping that grew
//! by `mremap(2)` reaches beyond it: SIGBUS there. A private mapping of huge pages has an object of its own, too, of
//! which it maps nothing; that two mappings have the same one decides whether they are parts of one.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;

use lock_api::{Mutex, RawMutex};
use pkeys_core::LeafSize;

use crate::hardware::{PhysAddr, PhysMemory};
use crate::memory::layout::PAGE_SIZE;
use crate::memory::pool::Pool;
use crate::memory::tables::OldFrame;

/// A reference to an object. Equal are references to the same one.
pub(super) struct Object<M: PhysMemory, L: RawMutex>(Arc<Inner<M, L>>);

struct Inner<M: PhysMemory, L: RawMutex> {
    pool: Pool<M, L>,
    size: LeafSize,
    /// Its length in pages of its own size.
    nr_pages: u64,
    /// Whether huge pages are promised to the pages that have no frame yet.
    is_reserved: bool,
    pages: Mutex<L, BTreeMap<u64, PhysAddr>>,
}

/// Why an object has no frame for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoFrame {
    /// The page lies behind its end.
    Behind,
    /// There is no memory.
    NoMemory,
}

impl<M: PhysMemory, L: RawMutex> Object<M, L> {
    /// An object without frames. With `is_reserved`, a huge page is promised for each of its pages.
    pub(super) fn new(pool: &Pool<M, L>, size: LeafSize, nr_pages: u64, is_reserved: bool) -> Self {
        Self(Arc::new(Inner {
            pool: pool.clone(),
            size,
            nr_pages,
            is_reserved,
            pages: Mutex::new(BTreeMap::new()),
        }))
    }

    /// The frame of the page at a distance from the start, given in pages of 4 KiB. A leaf that maps it owns one share
    /// of it from here on.
    pub(super) fn frame(&self, first_page: u64) -> Result<PhysAddr, NoFrame> {
        let inner = &*self.0;
        let index = first_page / (inner.size.bytes() / PAGE_SIZE);
        if index >= inner.nr_pages {
            return Err(NoFrame::Behind);
        }
        let mut pages = inner.pages.lock();
        let frame = match pages.get(&index) {
            Some(frame) => *frame,
            None => {
                let frame = match inner.size {
                    LeafSize::Size4K => inner.pool.allocate(),
                    size => inner.pool.allocate_huge(size, inner.is_reserved),
                };
                let frame = frame.ok_or(NoFrame::NoMemory)?;
                pages.insert(index, frame);
                frame
            }
        };
        inner.pool.share(frame);
        Ok(frame)
    }

    /// The same, but only if there is one already.
    pub(super) fn frame_at_hand(&self, first_page: u64) -> Option<PhysAddr> {
        let inner = &*self.0;
        let index = first_page / (inner.size.bytes() / PAGE_SIZE);
        let frame = *inner.pages.lock().get(&index)?;
        inner.pool.share(frame);
        Some(frame)
    }

    /// Gives back the share that a leaf was to own.
    pub(super) fn give_back(&self, at: PhysAddr) {
        self.0.pool.release(OldFrame {
            at,
            size: self.0.size,
            is_shared: true,
        });
    }
}

impl<M: PhysMemory, L: RawMutex> Drop for Inner<M, L> {
    fn drop(&mut self) {
        let pages = core::mem::take(self.pages.get_mut());
        if self.is_reserved {
            let nr_absent = self.nr_pages.saturating_sub(pages.len() as u64);
            self.pool.unreserve(self.size, nr_absent);
        }
        for at in pages.into_values() {
            self.pool.release(OldFrame {
                at,
                size: self.size,
                is_shared: true,
            });
        }
    }
}

impl<M: PhysMemory, L: RawMutex> Clone for Object<M, L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: PhysMemory, L: RawMutex> PartialEq for Object<M, L> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<M: PhysMemory, L: RawMutex> fmt::Debug for Object<M, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("size", &self.0.size)
            .field("nr_pages", &self.0.nr_pages)
            .finish_non_exhaustive()
    }
}
