//! The heap's lock, which a program with one thread does without.
//!
//! The C library of the program knows whether it ever had a second thread (`__libc_single_threaded(3)`, since glibc 2.32), and its own
//! `malloc(3)` saves its locks by it. A lock that nobody wants costs two locked instructions, twice what the rest of an allocation
//! does. No thread can come while this one is in the allocator: only this one could make it. A thread that is made by clone(2) past
//! the C library is not known to it, here as there.
#![allow(
    unsafe_code,
    reason = "a variable of the program's C library by address"
)]

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

/// Always false.
static NEVER: AtomicBool = AtomicBool::new(false);

/// The C library's variable, or the program's copy of it where it has one (`R_X86_64_COPY`): then the C library keeps that.
static SAYS_SINGLE: AtomicPtr<AtomicBool> = AtomicPtr::new((&raw const NEVER).cast_mut());

/// Notes where `__libc_single_threaded` is. Until then, locks are always taken.
pub(crate) fn note_single_threaded(addr: usize) {
    SAYS_SINGLE.store(ptr::with_exposed_provenance_mut(addr), Relaxed);
}

/// Whether the program has one thread only.
#[inline]
pub(super) fn is_alone() -> bool {
    // SAFETY: a variable of one byte, 0 or 1, which stays mapped: ours, the C library's or the program's.
    unsafe { &*SAYS_SINGLE.load(Relaxed) }.load(Relaxed)
}
