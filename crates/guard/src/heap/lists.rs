//! Lists: by size class, the blocks that were freed and the rest of the span that is being cut up.
//!
//! They lie at the start of the heap's range, behind the key, after the table of spans, and start as zeroes. A block that was freed
//! holds the address of the next in its first word. Whoever changes a list has the heap's lock, or is the only thread.
#![allow(unsafe_code, reason = "lists in raw memory")]

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::heap::classes::Class;

/// The lists of a heap.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Lists {
    /// The first freed block; 0 for none.
    freed: [AtomicUsize; Class::COUNT],
    /// Where the next block of the span begins that was not used up yet.
    fresh: [AtomicUsize; Class::COUNT],
    /// Where that span ends.
    end: [AtomicUsize; Class::COUNT],
}

impl Lists {
    /// The lists of a heap, at an address in its range.
    ///
    /// # Safety
    ///
    /// 1. So many bytes are mapped there for good, were zero at first, and hold nothing else.
    /// 2. The address is a multiple of 64.
    pub(super) unsafe fn at(addr: usize) -> &'static Self {
        let place = core::ptr::with_exposed_provenance::<Self>(addr);
        // SAFETY: mapped and zero (1), aligned (2); zeroes are lists, and atomics may be shared.
        unsafe { &*place }
    }

    /// Takes the block that was freed last.
    #[inline]
    pub(super) fn pop(&self, class: Class) -> Option<usize> {
        let first = &self.freed[class.index()];
        let block = first.load(Relaxed);
        if block == 0 {
            return None;
        }
        let slot = core::ptr::with_exposed_provenance::<usize>(block);
        // SAFETY: a freed block, which holds the address of the next.
        first.store(unsafe { slot.read() }, Relaxed);
        Some(block)
    }

    /// Adds a block that was freed.
    #[inline]
    pub(super) fn push(&self, class: Class, block: usize) {
        let first = &self.freed[class.index()];
        let slot = core::ptr::with_exposed_provenance_mut::<usize>(block);
        // SAFETY: a freed block of at least 16 bytes, aligned to 16; its owner gave it up.
        unsafe { slot.write(first.load(Relaxed)) };
        first.store(block, Relaxed);
    }

    /// Cuts a block, header included, off the span that is being cut up.
    pub(super) fn cut(&self, class: Class) -> Option<usize> {
        let fresh = &self.fresh[class.index()];
        let start = fresh.load(Relaxed);
        let next = start + class.bytes();
        if next > self.end[class.index()].load(Relaxed) {
            return None;
        }
        fresh.store(next, Relaxed);
        Some(start)
    }

    /// The next span to be cut up.
    pub(super) fn set_fresh(&self, class: Class, start: usize, end: usize) {
        self.fresh[class.index()].store(start, Relaxed);
        self.end[class.index()].store(end, Relaxed);
    }
}
