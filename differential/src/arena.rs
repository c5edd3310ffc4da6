//! Where random programs live: a window of sixteen pages, and a place for alternate stacks.
//!
//! The window is small, so that steps meet what earlier steps left. It lies across a boundary of 2 MiB, so that its two
//! halves have page tables of their own. Nothing is mapped around it: a step that reaches over its end finds a hole.

use core::ops::Range;

use crate::op::Place;

/// A page, in bytes.
pub const PAGE: u64 = 4096;

/// How many pages random steps are about.
pub const NR_PAGES: u8 = 16;

/// Where in a page a RET is planted. No other step writes there.
pub const RET_OFFSET: u64 = 0xF00;

/// Where a stack in a page begins: what a call pushes lies below, where no step reads.
pub const STACK_OFFSET: u64 = 0xE80;

/// The instruction.
pub const RET: u8 = 0xC3;

const HALF: u64 = NR_PAGES as u64 / 2;
const ALTSTACKS: u64 = 16 << 20;
const ALTSTACK_STRIDE: u64 = 1 << 20;
const ALTSTACK_LEN: u64 = 512 << 10;

/// The addresses of one side. They are the same on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arena {
    start: u64,
}

impl Arena {
    /// Within what a back end offers.
    #[must_use]
    pub const fn new(offered: &Range<u64>) -> Self {
        Self {
            start: offered.start,
        }
    }

    /// The address of a page; beyond the window as well.
    #[must_use]
    #[inline]
    pub const fn page(self, page: u8) -> u64 {
        self.start + (2 << 20) - HALF * PAGE + page as u64 * PAGE
    }

    /// Everything in which a step may leave a mapping.
    #[must_use]
    pub const fn everything(self) -> Range<u64> {
        self.page(0)..self.page(0) + 64 * PAGE
    }

    /// The alternate stack of a place.
    #[must_use]
    pub const fn altstack(self, place: Place) -> Range<u64> {
        let start = self.start + ALTSTACKS + place as u64 * ALTSTACK_STRIDE;
        start..start + ALTSTACK_LEN
    }

    /// All alternate stacks.
    #[must_use]
    pub const fn altstacks(self) -> Range<u64> {
        let start = self.start + ALTSTACKS;
        start..start + Place::ALL.len() as u64 * ALTSTACK_STRIDE
    }

    /// An address in words, with what lies around the window by its distance.
    #[must_use]
    pub fn name(self, addr: u64) -> String {
        let distance = addr.wrapping_sub(self.page(0));
        if distance < 64 * PAGE {
            format!("page {} + {:#x}", distance / PAGE, distance % PAGE)
        } else {
            format!("{addr:#x}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arena, NR_PAGES};

    #[test]
    fn the_window_lies_across_two_page_tables() {
        let arena = Arena::new(&(1 << 40..(1 << 40) + (1 << 30)));
        assert_ne!(arena.page(0) >> 21, arena.page(NR_PAGES - 1) >> 21);
        assert_eq!(arena.page(NR_PAGES / 2) % (2 << 20), 0);
        assert!(arena.everything().end < arena.altstacks().start);
        assert_eq!(arena.name(arena.page(3) + 8), "page 3 + 0x8");
        assert_eq!(arena.name(16), "0x10");
    }
}
