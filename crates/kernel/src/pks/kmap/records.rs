//! Marks in the pages' own records: for a kernel that keeps something about each of its pages anyway.

use core::sync::atomic::{AtomicU32, Ordering};

use super::mark::{Mark, Marks, NoRoom};
use crate::pks::region::{PAGE_LEN, Page};

/// A word for a mark.
#[derive(Debug)]
#[repr(transparent)]
pub struct MarkWord(AtomicU32);

impl MarkWord {
    /// Without a mark.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }
}

impl Default for MarkWord {
    fn default() -> Self {
        Self::new()
    }
}

/// What a kernel keeps about a page.
pub trait PageRecord {
    /// The word for the page's mark.
    fn mark(&self) -> &MarkWord;
}

/// A record that is nothing but the mark.
impl PageRecord for MarkWord {
    fn mark(&self) -> &MarkWord {
        self
    }
}

/// The records of consecutive pages, in the order of their addresses.
#[derive(Debug)]
pub struct Records<'r, R> {
    first: Page,
    records: &'r [R],
}

impl<'r, R: PageRecord> Records<'r, R> {
    /// The records of the pages from `first` on.
    #[must_use]
    pub const fn new(first: Page, records: &'r [R]) -> Self {
        Self { first, records }
    }

    fn word(&self, page: Page) -> Option<&AtomicU32> {
        let number = page.addr().checked_sub(self.first.addr())? / PAGE_LEN;
        let record = self.records.get(usize::try_from(number).ok()?)?;
        Some(&record.mark().0)
    }
}

impl<R: PageRecord> Marks for Records<'_, R> {
    fn get(&self, page: Page) -> Mark {
        let word = self.word(page);
        word.map_or(Mark::NONE, |word| {
            Mark::from_bits(word.load(Ordering::Acquire))
        })
    }

    fn set(&self, page: Page, mark: Mark) -> Result<(), NoRoom> {
        match self.word(page) {
            Some(word) => word.store(mark.bits(), Ordering::Release),
            None if mark == Mark::NONE => {}
            None => return Err(NoRoom),
        }
        Ok(())
    }
}
