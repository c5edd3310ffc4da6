//! Heaps that `mprotect(2)` closes in place of keys, for the figure that keys are held against.
//!
//! The used part of each heap is made read-only when the last gate ends, and writable when the first is entered, and around the
//! allocator where the program frees a library's block. `mprotect(2)` is about the whole process: one thread's end of a
//! gate closes under another, so that this is for programs with one thread and for nothing but measuring. Callbacks run with
//! the heap open.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::domain;
use crate::map;

static IS_ON: AtomicBool = AtomicBool::new(false);

/// How many gates and calls of the allocator the one thread is in.
static DEPTH: AtomicUsize = AtomicUsize::new(0);

/// Heaps are closed by `mprotect(2)` from now on.
pub(crate) fn start() {
    IS_ON.store(true, Relaxed);
}

/// Whether they are.
pub(crate) fn is_on() -> bool {
    IS_ON.load(Relaxed)
}

/// A gate is entered.
pub(crate) extern "C" fn open() {
    if DEPTH.fetch_add(1, Relaxed) == 0 {
        protect(libc::PROT_READ | libc::PROT_WRITE);
    }
}

/// A gate ends.
pub(crate) extern "C" fn close() {
    if DEPTH.fetch_sub(1, Relaxed) == 1 {
        protect(libc::PROT_READ);
    }
}

/// Runs `body` with heaps open.
#[inline]
pub(crate) fn opened<R>(body: impl FnOnce() -> R) -> R {
    if is_on() { open_around(body) } else { body() }
}

#[cold]
#[inline(never)]
fn open_around<R>(body: impl FnOnce() -> R) -> R {
    open();
    let result = body();
    close();
    result
}

fn protect(protection: i32) {
    for guarded in domain::all() {
        let (start, len_bytes) = guarded.heap.used();
        if !map::protect(start, len_bytes, protection) {
            crate::refuse::die("mprotect(2) on the heap failed");
        }
    }
}
