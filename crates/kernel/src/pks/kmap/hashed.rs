//! Marks in a hash: for a kernel that keeps nothing about each of its pages.
//!
//! Few pages are shared at a time, so there is a table of so many places, and a page beyond that cannot be shared. A place is
//! one word, page and mark together, so that a reader cannot take one page's mark for another's. A page stands at the
//! place that its number hashes to or, if that is taken, at one of those behind it, before the first that was never used.
//!
//! A place whose page is no longer shared cannot simply become unused: it would hide the pages that stand behind it. It keeps
//! its page, without a mark, until another page needs a place, or until the place behind it is unused.

use core::sync::atomic::{AtomicU64, Ordering};

use super::mark::{Mark, Marks, NoRoom};
use crate::pks::region::{PAGE_LEN, Page};

/// A place that was never used: no page of a kernel is at address 0.
const UNUSED: u64 = 0;

/// Marks of up to `N` pages.
#[derive(Debug)]
pub struct HashedMarks<const N: usize> {
    places: [AtomicU64; N],
}

impl<const N: usize> HashedMarks<N> {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            places: [const { AtomicU64::new(UNUSED) }; N],
        }
    }

    /// The places where a page may stand, in order.
    fn places(&self, page: u64) -> impl Iterator<Item = &AtomicU64> + Clone {
        let (before, behind) = self.places.split_at(start(page, N));
        behind.iter().chain(before)
    }

    /// Takes the mark from a page. Its place, and those before it without a mark, become unused as far as nobody is hidden
    /// by that.
    fn forget(&self, page: u64) {
        let start = start(page, N);
        let at = |place: usize| &self.places[place % N.max(1)];
        let Some(mut place) = (start..start + N).find(|place| is_of(word(at(*place)), page)) else {
            return;
        };
        at(place).store(with_mark(page, Mark::NONE), Ordering::Release);
        for _ in 0..N {
            let is_last = word(at(place + 1)) == UNUSED;
            if !is_last || mark(word(at(place))) != Mark::NONE {
                return;
            }
            at(place).store(UNUSED, Ordering::Release);
            place = (place + N - 1) % N;
        }
    }
}

impl<const N: usize> Default for HashedMarks<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Marks for HashedMarks<N> {
    fn get(&self, page: Page) -> Mark {
        let page = number(page);
        for place in self.places(page) {
            let word = place.load(Ordering::Acquire);
            if is_of(word, page) {
                return mark(word);
            }
            if word == UNUSED {
                break;
            }
        }
        Mark::NONE
    }

    fn set(&self, page: Page, mark: Mark) -> Result<(), NoRoom> {
        let page = number(page);
        if mark == Mark::NONE {
            self.forget(page);
            return Ok(());
        }
        let used = |place: &&AtomicU64| word(place) != UNUSED;
        let own = self.places(page).take_while(used);
        let place = own
            .clone()
            .find(|place| is_of(word(place), page))
            .or_else(|| self.places(page).find(|place| is_free(word(place))));
        place
            .ok_or(NoRoom)?
            .store(with_mark(page, mark), Ordering::Release);
        Ok(())
    }
}

/// The number of a page, of which addresses of 57 bits leave 45. Above them all bits are alike.
fn number(page: Page) -> u64 {
    (page.addr() / PAGE_LEN) & ((1 << NUMBER_BITS) - 1)
}

const NUMBER_BITS: u32 = 64 - Mark::BITS;

fn with_mark(page: u64, mark: Mark) -> u64 {
    page << Mark::BITS | u64::from(mark.bits())
}

fn word(place: &AtomicU64) -> u64 {
    place.load(Ordering::Relaxed)
}

fn is_of(word: u64, page: u64) -> bool {
    word >> Mark::BITS == page && word != UNUSED
}

fn mark(word: u64) -> Mark {
    let [a, b, c, d, ..] = word.to_le_bytes();
    Mark::from_bits(u32::from_le_bytes([a, b, c, d]))
}

/// Whether another page may stand here.
fn is_free(word: u64) -> bool {
    mark(word) == Mark::NONE
}

/// Where the search for a page begins.
fn start(page: u64, nr_places: usize) -> usize {
    // 2^64 divided by the golden ratio.
    let hash = page.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    usize::try_from(hash).unwrap_or(0) % nr_places.max(1)
}
