//! Physical memory, as `pkeys-kernel` sees it: frames behind the direct map.
//!
//! A program may ask for all memory there is. What the kernel needs for itself, the library's records above all, comes from
//! the same frames, and a kernel that finds none ends. So frames for programs end before the memory does; and when the
//! kernel's records have taken a good part of what is left, by many small mappings, say, who makes the next system call is
//! killed ([`is_low`]). What one call needs is less than the rest.

#![allow(
    unsafe_code,
    reason = "reads and writes programs' frames and page tables through the direct map"
)]

use core::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use pkeys_core::LeafSize;
use pkeys_kernel::hardware::{PhysAddr, PhysMemory};

use crate::memory::frames;
use crate::memory::layout::{PAGE, direct, to_usize};

/// One frame in so many is left to the kernel, and so many at least: 2 MiB.
const RESERVED_SHARE: usize = 32;
const MIN_RESERVED: usize = 512;

/// How many frames are left to the kernel.
static RESERVED: AtomicUsize = AtomicUsize::new(MIN_RESERVED);

/// Sets frames aside for the kernel, once.
pub(super) fn reserve() {
    RESERVED.store(
        (frames::nr_free() / RESERVED_SHARE).max(MIN_RESERVED),
        Relaxed,
    );
}

/// Whether the kernel has begun to live on what is set aside for it.
pub(super) fn is_low() -> bool {
    frames::nr_free() < RESERVED.load(Relaxed) / 2
}

/// All physical memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DirectMap;

/// How many frames a block has.
const fn nr_frames(size: LeafSize) -> usize {
    to_usize(size.bytes() / PAGE)
}

/// An entry of a page table, in which processors read at any moment.
fn entry(at: PhysAddr) -> &'static AtomicU64 {
    let at: *mut AtomicU64 = direct(at.0);
    // SAFETY: an aligned word of a frame, by the trait's contract, in the direct map; frames are never unmapped there.
    unsafe { &*at }
}

impl PhysMemory for DirectMap {
    fn allocate(&self, size: LeafSize) -> Option<PhysAddr> {
        let nr = nr_frames(size);
        if frames::nr_free() < RESERVED.load(Relaxed) + nr {
            return None;
        }
        frames::allocate(nr, nr).map(PhysAddr)
    }

    fn free(&self, at: PhysAddr, size: LeafSize) {
        frames::free(at.0, nr_frames(size));
    }

    fn read_entry(&self, at: PhysAddr) -> u64 {
        entry(at).load(Acquire)
    }

    fn write_entry(&self, at: PhysAddr, value: u64) {
        entry(at).store(value, Release);
    }

    fn copy(&self, from: PhysAddr, to: PhysAddr, size: LeafSize) {
        let (from, to) = (direct::<u8>(from.0), direct::<u8>(to.0));
        // SAFETY: two blocks, by the trait's contract, in the direct map. Programs may write to them meanwhile, and nothing in
        // the kernel has references to them.
        unsafe { to.copy_from(from, to_usize(size.bytes())) };
    }

    fn read(&self, at: PhysAddr, into: &mut [u8]) {
        let from = direct::<u8>(at.0);
        // SAFETY: bytes of a block, by the trait's contract, as in `copy`; the buffer is the caller's.
        unsafe { into.as_mut_ptr().copy_from(from, into.len()) };
    }

    fn write(&self, at: PhysAddr, bytes: &[u8]) {
        let to = direct::<u8>(at.0);
        // SAFETY: as in `read`.
        unsafe { to.copy_from(bytes.as_ptr(), bytes.len()) };
    }
}
