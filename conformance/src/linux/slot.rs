//! A thread's own memory: scratch for system calls, and an alternate signal stack.
//!
//! Slots lie at fixed addresses, a MiB each, so that two runs of one program see the same numbers. The parts are apart
//! from each other by pages that nothing is mapped to.
#![allow(
    unsafe_code,
    reason = "mapping and unmapping of memory that nobody else knows"
)]

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use std::io;

/// Where the first slot begins, far above the arena and below everything that the kernel places itself.
const BASE: u64 = 0x2000_0000_0000;
/// From one slot to the next, in bytes.
const STRIDE: u64 = 1 << 20;
/// How many slots there are: each bit of this word that is set is one that is taken.
const COUNT: u32 = u64::BITS;

/// Where the scratch memory lies in a slot.
const SCRATCH: Range<u64> = 0x1_0000..0x3_0000;
/// Where the alternate signal stack lies in a slot. It holds several frames, each with a state of up to 11 KiB.
const ALTSTACK: Range<u64> = 0x4_0000..0xC_0000;

static TAKEN: AtomicU64 = AtomicU64::new(0);

/// One thread's slot; unmapped when it goes.
#[derive(Debug)]
pub(super) struct Slot {
    index: u32,
}

impl Slot {
    /// The lowest free slot, its two parts mapped and zero.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` said; or that there are as many threads as there are slots.
    pub(super) fn take() -> io::Result<Self> {
        let free = |taken: u64| (taken != u64::MAX).then_some(taken | (taken + 1));
        let before = TAKEN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, free)
            .map_err(|_| io::Error::other("a thread more than there are slots"))?;
        let slot = Self {
            index: before.trailing_ones(),
        };
        slot.map(slot.scratch())?;
        slot.map(slot.altstack())?;
        Ok(slot)
    }

    /// The scratch memory.
    pub(super) fn scratch(&self) -> Range<u64> {
        self.part(SCRATCH)
    }

    /// The alternate signal stack.
    pub(super) fn altstack(&self) -> Range<u64> {
        self.part(ALTSTACK)
    }

    fn part(&self, part: Range<u64>) -> Range<u64> {
        let start = BASE + u64::from(self.index % COUNT) * STRIDE;
        start + part.start..start + part.end
    }

    fn map(&self, part: Range<u64>) -> io::Result<()> {
        let len = usize::try_from(part.end - part.start).map_err(io::Error::other)?;
        let addr = usize::try_from(part.start).map_err(io::Error::other)?;
        // SAFETY: new memory, at addresses that are this slot's alone.
        let mapped = unsafe {
            libc::mmap(
                core::ptr::without_provenance_mut(addr),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
        if mapped.addr() == addr {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let whole = self.part(0..STRIDE);
        if let (Ok(addr), Ok(len)) = (whole.start.try_into(), STRIDE.try_into()) {
            // SAFETY: the slot's own addresses; its thread is at its end, with its alternate stack turned off.
            unsafe { libc::munmap(core::ptr::without_provenance_mut(addr), len) };
        }
        TAKEN.fetch_and(!(1 << self.index), Ordering::Relaxed);
    }
}
