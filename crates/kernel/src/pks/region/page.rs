//! Pages of the kernel's memory, by their addresses.

use core::fmt;

use pkeys_core::LeafSize;

/// The size of a page in bytes.
pub const PAGE_LEN: u64 = LeafSize::Size4K.bytes();

/// A page of 4 KiB, by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Page(u64);

impl Page {
    /// The page that holds the byte at an address.
    #[must_use]
    #[inline]
    pub const fn containing(addr: u64) -> Self {
        Self(addr & !(PAGE_LEN - 1))
    }

    /// The address of its first byte.
    #[must_use]
    #[inline]
    pub const fn addr(self) -> u64 {
        self.0
    }
}

/// Consecutive pages, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    start: u64,
    /// The address of the last byte, so that the end of the address space has one.
    last: u64,
}

impl Pages {
    /// The pages from an address to behind `len_bytes`.
    ///
    /// # Errors
    ///
    /// [`NoPages`] where these are not whole pages, at least one, in the address space.
    pub const fn new(start: u64, len_bytes: u64) -> Result<Self, NoPages> {
        let refused = NoPages { start, len_bytes };
        let is_whole = start.is_multiple_of(PAGE_LEN) && len_bytes.is_multiple_of(PAGE_LEN);
        if len_bytes == 0 || !is_whole {
            return Err(refused);
        }
        match start.checked_add(len_bytes - 1) {
            Some(last) => Ok(Self { start, last }),
            None => Err(refused),
        }
    }

    /// The address of the first byte.
    #[must_use]
    #[inline]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The address of the last byte.
    #[must_use]
    #[inline]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// The size in bytes.
    #[must_use]
    #[inline]
    pub const fn len_bytes(self) -> u64 {
        // Not all of the address space: a range that begins at 0 and has no end is refused above by its length.
        self.last - self.start + 1
    }

    /// How many pages.
    #[must_use]
    pub const fn nr_pages(self) -> u64 {
        self.len_bytes() / PAGE_LEN
    }

    /// Whether the byte at an address is in them.
    #[must_use]
    #[inline]
    pub const fn contain(self, addr: u64) -> bool {
        self.start <= addr && addr <= self.last
    }

    /// Whether there is a page in both.
    #[must_use]
    pub const fn overlap(self, other: Self) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    /// Page by page.
    pub fn iter(self) -> impl Iterator<Item = Page> {
        (0..self.nr_pages()).map(move |number| Page(self.start + number * PAGE_LEN))
    }
}

impl From<Page> for Pages {
    fn from(page: Page) -> Self {
        Self {
            start: page.addr(),
            last: page.addr() + (PAGE_LEN - 1),
        }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.start, self.last)
    }
}

/// These are not whole pages, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPages {
    /// Where they were to begin.
    pub start: u64,
    /// How long they were to be.
    pub len_bytes: u64,
}

impl fmt::Display for NoPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, len_bytes } = self;
        write!(f, "{len_bytes} bytes at {start:#x} are not whole pages")
    }
}

impl core::error::Error for NoPages {}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn only_whole_pages_in_the_address_space_are_pages() {
        for (start, len_bytes) in [
            (0x1000, 0),
            (0x1000, 1),
            (0x1000, 0x1FFF),
            (0x1001, 0x1000),
            (0xFFFF_FFFF_FFFF_F000, 0x2000),
            (u64::MAX, 0x1000),
        ] {
            let refused = Pages::new(start, len_bytes).unwrap_err();
            assert_eq!(refused, NoPages { start, len_bytes });
        }
        let last = Pages::new(0xFFFF_FFFF_FFFF_F000, 0x1000).unwrap();
        assert_eq!((last.last(), last.nr_pages()), (u64::MAX, 1));
        assert_eq!(last, Page::containing(u64::MAX).into());
    }

    #[test]
    fn pages_begin_and_end_where_they_do() {
        let pages = Pages::new(0x3000, 0x2000).unwrap();
        let addrs: Vec<_> = pages.iter().map(Page::addr).collect();
        assert_eq!(addrs, [0x3000, 0x4000]);
        assert_eq!((pages.nr_pages(), pages.len_bytes()), (2, 0x2000));
        for (addr, is_inside) in [
            (0x2FFF, false),
            (0x3000, true),
            (0x4FFF, true),
            (0x5000, false),
        ] {
            assert_eq!(pages.contain(addr), is_inside, "{addr:#x}");
            let page = Page::containing(addr).into();
            assert_eq!(pages.overlap(page), is_inside, "{addr:#x}");
        }
    }
}
