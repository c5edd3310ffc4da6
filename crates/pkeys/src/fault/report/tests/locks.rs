//! Faults under locks that the report needs: they end, with at least the raw record.
#![allow(unsafe_code, reason = "an allocator, and a callback from the loader")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::alloc::System;
use std::path::Path;
use std::thread;

use serde_json::Value;

use super::{Bench, IS_IN_HANDLER, LONG_NS, SHORT_NS, aim, names, raise};
use crate::fault::report::clock::monotonic_ns;
use crate::fault::report::{errno, outlets};

thread_local! {
    /// Whether this thread holds the allocator.
    static HOLDS_ALLOCATOR: Cell<bool> = const { Cell::new(false) };
}

/// What glibc's loader holds while it calls back; a reporter that asked the loader would wait for it.
#[test]
fn a_fault_under_the_loaders_lock_is_reported_whole() {
    extern "C" fn called_back(_: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
        raise(libc::SIGUSR1);
        1
    }
    let bench = Bench::served(LONG_NS);
    aim(&bench);
    // SAFETY: the callback has the type that is asked for, and takes no data.
    unsafe { libc::dl_iterate_phdr(Some(called_back), ptr::null_mut()) };
    let [report] = &bench.lines("report")[..] else {
        panic!("one report")
    };
    assert!(!names(report, "called_back").is_empty());
}

/// An allocator that one thread can hold, so that all others wait for it, and that tells when a handler allocates.
struct Holdable;

static IS_HELD: AtomicBool = AtomicBool::new(false);
static NR_IN_HANDLER: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Holdable = Holdable;

impl Holdable {
    fn enter() {
        if IS_IN_HANDLER.get() {
            NR_IN_HANDLER.fetch_add(1, SeqCst);
        }
        while IS_HELD.load(SeqCst) && !HOLDS_ALLOCATOR.get() {
            thread::yield_now();
        }
    }

    /// Runs `body` while no other thread can allocate.
    fn hold(body: impl FnOnce()) {
        while IS_HELD.swap(true, SeqCst) {
            thread::yield_now();
        }
        HOLDS_ALLOCATOR.set(true);
        body();
        HOLDS_ALLOCATOR.set(false);
        IS_HELD.store(false, SeqCst);
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Holdable {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::enter();
        // SAFETY: the caller's word.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::enter();
        // SAFETY: the caller's word.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::enter();
        // SAFETY: the caller's word.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

#[test]
fn a_fault_under_the_allocators_lock_is_on_record_within_the_bound() {
    let bench = Bench::served(SHORT_NS);
    aim(&bench);
    let start = monotonic_ns();
    Holdable::hold(|| raise(libc::SIGUSR1));
    let took_ns = monotonic_ns() - start;
    assert!((SHORT_NS..LONG_NS).contains(&took_ns), "{took_ns} ns");
    assert_eq!(bench.lines("raw").len(), 1);
    // The reporter, let go, still names the instruction; the stack it leaves alone.
    let start = monotonic_ns();
    while bench.lines("report").is_empty() && monotonic_ns() < start + LONG_NS {
        thread::yield_now();
    }
    let [report] = &bench.lines("report")[..] else {
        panic!("one report")
    };
    assert_eq!(report["unwound"], "not at all");
    assert_eq!(report["in_signal_handler"], Value::Null);
}

#[test]
fn a_handler_does_not_allocate_and_keeps_errno() {
    let bench = Bench::served(LONG_NS);
    aim(&bench);
    errno::set(77);
    raise(libc::SIGUSR1);
    assert_eq!(errno::get(), 77);
    bench
        .channel
        .outlets
        .set_file(outlets::open(Path::new("/dev/full")).unwrap())
        .unwrap();
    raise(libc::SIGUSR1);
    assert_eq!(errno::get(), 77);
    assert_eq!(NR_IN_HANDLER.load(SeqCst), 0);
}
