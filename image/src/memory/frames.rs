//! The free frames of physical memory.
//!
//! The bits stand in a static array, so that nothing has to be allocated to begin with: enough for 4 GiB, more is left
//! unused. Frames that are given out are filled with zeros.

#![allow(unsafe_code, reason = "fills frames through the direct map")]

use pkeys_image::frames::Frames;

use super::layout::{PAGE, direct, to_usize};
use crate::sync::Spin;

/// How much physical memory there are bits for.
pub(crate) const MAX_MEMORY: u64 = 4 << 30;

const WORDS: usize = to_usize(MAX_MEMORY / PAGE / 64);

static FREE: Spin<Option<Frames<'static>>> = Spin::new(None);

/// Takes over the ranges of physical memory that nobody uses, given in bytes.
pub(crate) fn start(free: impl Iterator<Item = (u64, u64)>) {
    static mut BITS: [u64; WORDS] = [0; WORDS];
    let mut slot = FREE.lock();
    assert!(slot.is_none(), "memory is taken over once");
    let bits = &raw mut BITS;
    // SAFETY: once, by the assertion above, so that it is the only reference.
    let mut frames = Frames::new(unsafe { &mut *bits });
    for (start, end) in free {
        let first = start.div_ceil(PAGE);
        frames.free(
            to_usize(first),
            to_usize((end / PAGE).saturating_sub(first)),
        );
    }
    *slot = Some(frames);
}

/// A run of frames, the first of them a multiple of `align` frames: the physical address, and zeros behind it.
pub(crate) fn allocate(nr: usize, align: usize) -> Option<u64> {
    let first = FREE.lock().as_mut()?.allocate(nr, align)?;
    let phys = first as u64 * PAGE;
    // SAFETY: the frames were free, so nobody has a reference to them; the direct map has all memory that was taken over.
    unsafe { direct::<u8>(phys).write_bytes(0, nr * to_usize(PAGE)) };
    Some(phys)
}

/// One frame.
pub(crate) fn allocate_one() -> Option<u64> {
    allocate(1, 1)
}

/// Gives a run of frames back. Nothing may use them any more.
pub(crate) fn free(phys: u64, nr: usize) {
    if let Some(frames) = FREE.lock().as_mut() {
        frames.free(to_usize(phys / PAGE), nr);
    }
}

/// How many frames are free.
pub(crate) fn nr_free() -> usize {
    FREE.lock().as_ref().map_or(0, Frames::nr_free)
}
