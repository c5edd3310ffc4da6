//! Memory that is shared by name and not by descent: what `MAP_SHARED` mappings map, files, and huge pages.
//!
//! An object is Linux's file behind a mapping: one in shmem, nameless or from `memfd_create(2)`, or one in hugetlbfs.
//! Mappings of one object see the same frames, in one address space or in several. A nameless one is as long as the
//! mapping that made it; a file is as long as `ftruncate(2)` and writes made it. Whatever of a mapping reaches beyond
//! that is SIGBUS. A private mapping of huge pages has an object of its own, too, of which it maps nothing; that two
//! mappings have the same one decides whether they are parts of one.
//!
//! What a file is to `read(2)` and `write(2)` stands in the module `contents`.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;

use lock_api::{Mutex, MutexGuard, RawMutex};
use pkeys_core::LeafSize;

use crate::hardware::{PhysAddr, PhysMemory};
use crate::memory::layout::PAGE_SIZE;
use crate::memory::pool::Pool;
use crate::memory::tables::OldFrame;

/// A reference to an object. Equal are references to the same one by the same opening: mappings of a file that was
/// opened twice are never parts of one.
pub(crate) struct Object<M: PhysMemory, L: RawMutex> {
    inner: Arc<Inner<M, L>>,
    opening: u64,
}

struct Inner<M: PhysMemory, L: RawMutex> {
    /// What it is known by.
    id: u64,
    pool: Pool<M, L>,
    size: LeafSize,
    /// Whether huge pages are promised to the pages that have no frame yet.
    is_reserved: bool,
    state: Mutex<L, State>,
}

/// What there is of an object.
pub(super) struct State {
    /// Its length in bytes.
    pub(super) len: u64,
    /// The frames of the pages that were touched, by their number, which counts pages of the object's size. None lies
    /// behind the end.
    pub(super) pages: BTreeMap<u64, PhysAddr>,
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
        let inner = Inner {
            id: pool.new_id(),
            pool: pool.clone(),
            size,
            is_reserved,
            state: Mutex::new(State {
                len: nr_pages * size.bytes(),
                pages: BTreeMap::new(),
            }),
        };
        Self {
            inner: Arc::new(inner),
            opening: 0,
        }
    }

    /// The same object, opened once more.
    pub(crate) fn reopen(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            opening: self.inner.pool.new_id(),
        }
    }

    /// A number that no other object has.
    pub(crate) fn id(&self) -> u64 {
        self.inner.id
    }

    /// Whether it is the same object, by whatever opening.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(super) fn pool(&self) -> &Pool<M, L> {
        &self.inner.pool
    }

    pub(super) fn state(&self) -> MutexGuard<'_, L, State> {
        self.inner.state.lock()
    }

    /// The frame of the page at a distance from the start, given in pages of 4 KiB. A leaf that maps it owns one share
    /// of it from here on.
    pub(super) fn frame(&self, first_page: u64) -> Result<PhysAddr, NoFrame> {
        let inner = &*self.inner;
        let index = inner.index(first_page);
        let mut state = inner.state.lock();
        if index >= state.nr_pages(inner.size) {
            return Err(NoFrame::Behind);
        }
        let frame = match state.pages.get(&index) {
            Some(frame) => *frame,
            None => {
                let frame = match inner.size {
                    LeafSize::Size4K => inner.pool.allocate(),
                    size => inner.pool.allocate_huge(size, inner.is_reserved),
                };
                let frame = frame.ok_or(NoFrame::NoMemory)?;
                state.pages.insert(index, frame);
                frame
            }
        };
        inner.pool.share(frame);
        Ok(frame)
    }

    /// The same, but only if there is one already.
    pub(super) fn frame_at_hand(&self, first_page: u64) -> Option<PhysAddr> {
        let inner = &*self.inner;
        let frame = *inner.state.lock().pages.get(&inner.index(first_page))?;
        inner.pool.share(frame);
        Some(frame)
    }

    /// Gives back the share that a leaf was to own, or that was needed for a moment.
    pub(super) fn give_back(&self, at: PhysAddr) {
        self.inner.give_back(at);
    }
}

impl State {
    fn nr_pages(&self, size: LeafSize) -> u64 {
        self.len.div_ceil(size.bytes())
    }
}

impl<M: PhysMemory, L: RawMutex> Inner<M, L> {
    const fn index(&self, first_page: u64) -> u64 {
        first_page / (self.size.bytes() / PAGE_SIZE)
    }

    fn give_back(&self, at: PhysAddr) {
        self.pool.release(OldFrame {
            at,
            size: self.size,
            is_shared: true,
        });
    }
}

impl<M: PhysMemory, L: RawMutex> Drop for Inner<M, L> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let nr_pages = state.nr_pages(self.size);
        let pages = core::mem::take(&mut state.pages);
        if self.is_reserved {
            let nr_absent = nr_pages.saturating_sub(pages.len() as u64);
            self.pool.unreserve(self.size, nr_absent);
        }
        for at in pages.into_values() {
            self.give_back(at);
        }
    }
}

impl<M: PhysMemory, L: RawMutex> Clone for Object<M, L> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            opening: self.opening,
        }
    }
}

impl<M: PhysMemory, L: RawMutex> PartialEq for Object<M, L> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) && self.opening == other.opening
    }
}

impl<M: PhysMemory, L: RawMutex> fmt::Debug for Object<M, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("size", &self.inner.size)
            .field("opening", &self.opening)
            .finish_non_exhaustive()
    }
}
