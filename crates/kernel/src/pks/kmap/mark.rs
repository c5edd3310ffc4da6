//! The mark of a shared page, and where it is kept.
//!
//! A fault handler asks for it ("is this page shared?"), at any moment and without a lock, so a mark is one word that is read
//! whole. Writers hold the lock of [`crate::pks::region::Regions`].
//!
//! A mark has three parts: how many shared mappings there are; whether the page carries the shared key in the page tables, or
//! is about to; and whether it is shared as a fault handler sees it. The last is set when the page has arrived at the
//! shared key on all CPUs, and cleared before it leaves. So between the two a fault is a stray access, which it is: nobody
//! has the page's address by right before the first mapping is made, or after the last has gone.

use core::fmt;

use crate::pks::region::Page;

/// The mark of a page: 19 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Mark(u32);

const SHARED: u32 = 1 << 18;
const MOVED: u32 = 1 << 17;

impl Mark {
    /// Of a page that nobody shares.
    pub const NONE: Self = Self(0);

    /// How many bits a mark has, the lowest of its word.
    pub const BITS: u32 = 19;

    /// The most shared mappings of one page.
    pub const MAX_COUNT: u32 = MOVED - 1;

    /// The mark in a word, as [`Mark::bits`] gives it; higher bits are ignored.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    /// The word.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// How many shared mappings there are.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0 & Self::MAX_COUNT
    }

    /// Whether a fault handler is to take the page for a shared one.
    #[must_use]
    #[inline]
    pub const fn is_shared(self) -> bool {
        self.0 & SHARED != 0
    }

    /// Whether the page has the shared key, or is on its way there or back.
    #[must_use]
    pub const fn is_moved(self) -> bool {
        self.0 & MOVED != 0
    }

    /// On the way.
    pub(super) const fn moved(count: u32) -> Self {
        Self(MOVED | count & Self::MAX_COUNT)
    }

    /// Arrived.
    pub(super) const fn shared(count: u32) -> Self {
        Self(SHARED | Self::moved(count).0)
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mark")
            .field("count", &self.count())
            .field("is_moved", &self.is_moved())
            .field("is_shared", &self.is_shared())
            .finish()
    }
}

/// Where the marks of pages are kept.
pub trait Marks {
    /// The mark of a page: [`Mark::NONE`] for a page that has none. Without a lock, at any moment.
    fn get(&self, page: Page) -> Mark;

    /// Changes the mark of a page. One writer at a time.
    ///
    /// # Errors
    ///
    /// [`NoRoom`], for a page that has no mark and is to get one.
    fn set(&self, page: Page, mark: Mark) -> Result<(), NoRoom>;
}

/// There is no place for the mark of one more page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for the mark of one more shared page")
    }
}

impl core::error::Error for NoRoom {}
