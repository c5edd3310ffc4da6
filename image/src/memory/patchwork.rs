//! Large pieces of memory that are made of single frames.
//!
//! When memory is nearly full, there are no runs of frames any more, and a request for a few of them would fail although
//! there is enough. So frames from anywhere are mapped one behind the other, in one of a number of places as large as
//! the largest request.

use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::frames;
use super::kernel_tables::{self, DATA};
use super::layout::{PAGE, PATCHWORK, to_usize};
use crate::sync::Spin;

/// How many places there are, a bit each.
const PLACES: u32 = u64::BITS;
/// The bytes of a place: 32 MiB.
const PLACE: u64 = 32 << 20;

/// The places that are in use.
static TAKEN: Spin<u64> = Spin::new(0);

/// How many pages are mapped in each.
static LENGTHS: [AtomicUsize; PLACES as usize] = [const { AtomicUsize::new(0) }; PLACES as usize];

/// So many pages, with zeros in them.
pub(super) fn allocate(nr: usize) -> Option<*mut u8> {
    if nr > to_usize(PLACE / PAGE) {
        return None;
    }
    let place = {
        let mut taken = TAKEN.lock();
        let place = (!*taken).trailing_zeros();
        if place == PLACES {
            return None;
        }
        *taken |= 1 << place;
        place
    };
    let start = PATCHWORK + u64::from(place) * PLACE;
    for index in 0..nr {
        let at = start + index as u64 * PAGE;
        let mapped =
            frames::allocate_one().map(|frame| (frame, kernel_tables::map(at, frame, DATA)));
        if let Some((_, Ok(()))) = mapped {
            continue;
        }
        if let Some((frame, Err(_))) = mapped {
            frames::free(frame, 1);
        }
        give_back(place, index);
        return None;
    }
    LENGTHS.get(place as usize)?.store(nr, Relaxed);
    Some(ptr::with_exposed_provenance_mut(to_usize(start)))
}

/// Whether something is one of these.
pub(super) fn has(at: *mut u8) -> bool {
    (PATCHWORK..PATCHWORK + u64::from(PLACES) * PLACE).contains(&(at.addr() as u64))
}

/// Gives one back.
pub(super) fn free(at: *mut u8) {
    let place = (at.addr() as u64 - PATCHWORK) / PLACE;
    let Ok(place) = u32::try_from(place) else {
        return;
    };
    let nr = LENGTHS
        .get(place as usize)
        .map_or(0, |length| length.swap(0, Relaxed));
    give_back(place, nr);
}

/// Unmaps the pages of a place, and gives back frames and place.
fn give_back(place: u32, nr: usize) {
    kernel_tables::unmap_and_free(PATCHWORK + u64::from(place) * PLACE, nr);
    *TAKEN.lock() &= !(1 << place);
}
