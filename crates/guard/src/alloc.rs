//! The allocator of this library's own code: its C library's, behind a lock that `fork(2)` can take.
//!
//! A C library makes its own allocator fit for the child of a fork. The program forks with its C library, and this library's, in a
//! namespace of its own, hears nothing of it: were another thread inside its `malloc(3)` at that moment, the child would wait for
//! ever. The lock spins, as it is held shortly and seldom wanted by two.
#![allow(unsafe_code, reason = "an allocator")]

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::alloc::System;

/// The allocator.
struct Forkable;

#[global_allocator]
static ALLOCATOR: Forkable = Forkable;

static IS_LOCKED: AtomicBool = AtomicBool::new(false);

/// Keeps other threads out of the allocator. For the thread that forks, which must not allocate until [`unlock`].
pub(crate) fn lock() {
    while IS_LOCKED
        .compare_exchange_weak(false, true, Acquire, Relaxed)
        .is_err()
    {
        std::thread::yield_now();
    }
}

/// Lets them in again, in the parent and in the child.
pub(crate) fn unlock() {
    IS_LOCKED.store(false, Release);
}

fn locked<R>(body: impl FnOnce() -> R) -> R {
    lock();
    let result = body();
    unlock();
    result
}

// SAFETY: the system's allocator, one caller at a time.
unsafe impl GlobalAlloc for Forkable {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        locked(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        locked(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's block.
        locked(|| unsafe { System.dealloc(block, layout) });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, len_bytes: usize) -> *mut u8 {
        // SAFETY: the caller's block.
        locked(|| unsafe { System.realloc(block, layout, len_bytes) })
    }
}
