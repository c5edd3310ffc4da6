//! The frames that address spaces share: who owns one, and the reserve of huge frames.
//!
//! A frame of 4 KiB comes from physical memory when it is needed and goes back with its last owner. Owners are the
//! leaves that map it and the object it belongs to. Most frames have one owner all their life, and those are not
//! counted anywhere: an owner that has to look is told so by [`OldFrame::is_shared`]. The others stand in one table.
//!
//! Huge frames are set aside when the pool is made, as `vm.nr_hugepages` does it, and come back to the pool. A mapping
//! can reserve them beforehand, so that its faults do not fail.
//!
//! One frame, full of zeros, stands for private memory that was read and never written.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lock_api::{Mutex, RawMutex};
use pkeys_core::LeafSize;

use crate::abi::Errno;
use crate::hardware::{PhysAddr, PhysMemory};
use crate::memory::tables::OldFrame;

/// What a pool starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// How many huge pages of 2 MiB are set aside.
    pub nr_2m: usize,
    /// How many huge pages of 1 GiB are set aside.
    pub nr_1g: usize,
    /// No single mapping may promise more than this: the sum of memory and swap, by Linux's heuristic overcommit.
    pub commit_limit_bytes: u64,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            nr_2m: 0,
            nr_1g: 0,
            commit_limit_bytes: u64::MAX,
        }
    }
}

/// Frames for address spaces. A clone is the same pool.
pub struct Pool<M: PhysMemory, L: RawMutex>(Arc<Inner<M, L>>);

struct Inner<M: PhysMemory, L: RawMutex> {
    memory: M,
    zeros: PhysAddr,
    commit_limit_bytes: u64,
    /// Frames with more than one owner, and how many.
    owners: Mutex<L, BTreeMap<PhysAddr, u32>>,
    huge: Mutex<L, [Reserve; 2]>,
    last_id: AtomicU64,
}

/// The huge frames of one size.
#[derive(Default)]
struct Reserve {
    free: Vec<PhysAddr>,
    /// How many of those are promised to mappings.
    nr_reserved: u64,
}

impl Reserve {
    fn nr_available(&self) -> u64 {
        (self.free.len() as u64).saturating_sub(self.nr_reserved)
    }
}

impl<M: PhysMemory, L: RawMutex> Pool<M, L> {
    /// A pool over physical memory.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMemory`], if the huge pages, or the page of zeros, cannot be had.
    pub fn new(memory: M, settings: PoolSettings) -> Result<Self, Errno> {
        let zeros = memory.allocate(LeafSize::Size4K).ok_or(Errno::NoMemory)?;
        // From here on dropping it gives everything back.
        let pool = Self(Arc::new(Inner {
            memory,
            zeros,
            commit_limit_bytes: settings.commit_limit_bytes,
            owners: Mutex::new(BTreeMap::new()),
            huge: Mutex::new([Reserve::default(), Reserve::default()]),
            last_id: AtomicU64::new(0),
        }));
        let sizes = [
            (LeafSize::Size2M, settings.nr_2m),
            (LeafSize::Size1G, settings.nr_1g),
        ];
        for (size, count) in sizes {
            for _ in 0..count {
                let at = pool.memory().allocate(size).ok_or(Errno::NoMemory)?;
                pool.with_reserve(size, |reserve| reserve.free.push(at));
            }
        }
        Ok(pool)
    }

    /// The memory under it.
    #[must_use]
    pub fn memory(&self) -> &M {
        &self.0.memory
    }

    /// How many huge pages of a size nobody uses, and how many of those are promised.
    #[must_use]
    pub fn nr_huge_free(&self, size: LeafSize) -> (u64, u64) {
        self.with_reserve(size, |reserve| {
            (reserve.free.len() as u64, reserve.nr_reserved)
        })
        .unwrap_or_default()
    }

    /// Whether one mapping may promise so much.
    pub(super) fn may_commit(&self, len: u64) -> bool {
        len <= self.0.commit_limit_bytes
    }

    /// The frame of zeros, which nobody writes to and nobody gives back.
    pub(super) fn zeros(&self) -> PhysAddr {
        self.0.zeros
    }

    /// A number that was not given before.
    pub(crate) fn new_id(&self) -> u64 {
        self.0.last_id.fetch_add(1, Relaxed) + 1
    }

    /// A frame of 4 KiB, full of zeros, with one owner.
    pub(super) fn allocate(&self) -> Option<PhysAddr> {
        self.0.memory.allocate(LeafSize::Size4K)
    }

    /// One more owner of a frame. All of its leaves have to note it.
    pub(super) fn share(&self, at: PhysAddr) {
        if at != self.0.zeros {
            *self.0.owners.lock().entry(at).or_insert(1) += 1;
        }
    }

    /// Whether a frame, noted as shared, has one owner only by now.
    pub(super) fn has_one_owner(&self, at: PhysAddr) -> bool {
        !self.0.owners.lock().contains_key(&at)
    }

    /// Gives up one share of a frame, and the frame with the last one. No TLB may know it any more from that owner.
    pub(super) fn release(&self, old: OldFrame) {
        if old.at == self.0.zeros || old.is_shared && !self.drop_owner(old.at) {
            return;
        }
        match old.size {
            LeafSize::Size4K => self.0.memory.free(old.at, old.size),
            LeafSize::Size2M | LeafSize::Size1G => {
                self.clear(old.at, old.size);
                self.with_reserve(old.size, |reserve| reserve.free.push(old.at));
            }
        }
    }

    /// Whether the owner that went was the last one.
    fn drop_owner(&self, at: PhysAddr) -> bool {
        let mut owners = self.0.owners.lock();
        match owners.get_mut(&at) {
            None => true,
            Some(2) => {
                owners.remove(&at);
                false
            }
            Some(count) => {
                *count -= 1;
                false
            }
        }
    }

    /// Promises huge pages. `false`, and nothing, if there are not that many.
    pub(super) fn reserve(&self, size: LeafSize, count: u64) -> bool {
        self.with_reserve(size, |reserve| {
            let is_enough = count <= reserve.nr_available();
            if is_enough {
                reserve.nr_reserved += count;
            }
            is_enough
        })
        .unwrap_or(false)
    }

    /// Takes promises back.
    pub(super) fn unreserve(&self, size: LeafSize, count: u64) {
        self.with_reserve(size, |reserve| {
            reserve.nr_reserved = reserve.nr_reserved.saturating_sub(count);
        });
    }

    /// A huge frame, full of zeros: a promised one, or one that is not promised to anybody.
    pub(super) fn allocate_huge(&self, size: LeafSize, is_promised: bool) -> Option<PhysAddr> {
        self.with_reserve(size, |reserve| {
            if is_promised {
                reserve.nr_reserved = reserve.nr_reserved.saturating_sub(1);
            } else if reserve.nr_available() == 0 {
                return None;
            }
            reserve.free.pop()
        })
        .flatten()
    }

    /// Takes a promised huge frame back that nobody has seen, and renews the promise.
    pub(super) fn take_back(&self, at: PhysAddr, size: LeafSize) {
        self.with_reserve(size, |reserve| {
            reserve.free.push(at);
            reserve.nr_reserved += 1;
        });
    }

    fn with_reserve<R>(&self, size: LeafSize, f: impl FnOnce(&mut Reserve) -> R) -> Option<R> {
        let mut huge = self.0.huge.lock();
        let [two, one] = &mut *huge;
        match size {
            LeafSize::Size4K => None,
            LeafSize::Size2M => Some(f(two)),
            LeafSize::Size1G => Some(f(one)),
        }
    }

    /// Fills a frame with zeros, and leaves the parts alone that have none but zeros: a huge page is mostly untouched.
    fn clear(&self, at: PhysAddr, size: LeafSize) {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut piece = ZEROS;
        for offset in (0..size.bytes()).step_by(ZEROS.len()) {
            let at = PhysAddr(at.0 + offset);
            self.0.memory.read(at, &mut piece);
            if piece != ZEROS {
                self.0.memory.write(at, &ZEROS);
            }
        }
    }
}

impl<M: PhysMemory, L: RawMutex> Drop for Inner<M, L> {
    fn drop(&mut self) {
        self.memory.free(self.zeros, LeafSize::Size4K);
        let [two, one] = self.huge.get_mut();
        for at in two.free.drain(..) {
            self.memory.free(at, LeafSize::Size2M);
        }
        for at in one.free.drain(..) {
            self.memory.free(at, LeafSize::Size1G);
        }
    }
}

impl<M: PhysMemory, L: RawMutex> Clone for Pool<M, L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: PhysMemory, L: RawMutex> fmt::Debug for Pool<M, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("nr_2m", &self.nr_huge_free(LeafSize::Size2M))
            .field("nr_1g", &self.nr_huge_free(LeafSize::Size1G))
            .finish_non_exhaustive()
    }
}
