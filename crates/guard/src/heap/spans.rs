//! Spans: what each piece of 64 KiB of a heap's range is used for, and which of them are free.
//!
//! The table of uses lies at the start of the range itself, behind the key: a word a span. It is read without the lock by fault
//! handlers, which at worst find a use that is just changing.
#![allow(unsafe_code, reason = "a table in raw memory")]

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::collections::BTreeMap;

use crate::heap::classes::Class;

/// Bytes of a span.
pub(super) const SPAN_BYTES: usize = 64 << 10;

/// In the low byte of an entry: a class's index plus one, or one of these.
const FIRST_OF_RUN: u32 = 254;
/// Not the first of its run; the rest of the entry is the distance to it.
const REST_OF_RUN: u32 = 255;

/// What a span is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or the table itself.
    Unused,
    /// Blocks of a class.
    Small(Class),
    /// One large block.
    Run {
        /// The first span of it.
        first: usize,
        /// How many spans.
        count: usize,
    },
}

/// The table.
#[derive(Debug)]
pub(super) struct Spans {
    start: usize,
    count: usize,
}

impl Spans {
    /// A table for a range that was just mapped, all unused.
    pub(super) fn new(start: usize, count: usize) -> Self {
        Self { start, count }
    }

    /// The address behind the table.
    pub(super) fn table_end(&self) -> usize {
        self.start + self.count * size_of::<u32>()
    }

    /// The address of a span.
    pub(super) fn addr(&self, span: usize) -> usize {
        self.start + span * SPAN_BYTES
    }

    /// The address of the span that an address is in.
    pub(super) fn addr_of_span(&self, addr: usize) -> usize {
        self.addr((addr - self.start) / SPAN_BYTES)
    }

    /// What the span of an address is used for.
    pub(super) fn kind_at(&self, addr: usize) -> Kind {
        let span = addr.wrapping_sub(self.start) / SPAN_BYTES;
        let Some(entry) = self.entry(span) else {
            return Kind::Unused;
        };
        let entry = entry.load(Relaxed);
        match entry & 0xFF {
            0 => Kind::Unused,
            FIRST_OF_RUN => Kind::Run {
                first: span,
                count: (entry >> 8) as usize,
            },
            REST_OF_RUN => {
                let first = span.saturating_sub((entry >> 8) as usize);
                let count = self
                    .entry(first)
                    .map_or(0, |entry| entry.load(Relaxed) >> 8);
                Kind::Run {
                    first,
                    count: count as usize,
                }
            }
            class => Class::from_index(class as usize - 1).map_or(Kind::Unused, Kind::Small),
        }
    }

    /// Notes that a span holds blocks of a class.
    pub(super) fn set_small(&self, span: usize, class: Class) {
        #[expect(clippy::cast_possible_truncation, reason = "fewer than 254 classes")]
        self.set(span, class.index() as u32 + 1);
    }

    /// Notes that spans hold one large block.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a range has fewer than 2^24 spans"
    )]
    pub(super) fn set_run(&self, first: usize, count: usize) {
        self.set(first, FIRST_OF_RUN | (count as u32) << 8);
        for distance in 1..count {
            self.set(first + distance, REST_OF_RUN | (distance as u32) << 8);
        }
    }

    /// Notes that spans are free.
    pub(super) fn set_unused(&self, first: usize, count: usize) {
        for span in first..first + count {
            self.set(span, 0);
        }
    }

    fn set(&self, span: usize, value: u32) {
        if let Some(entry) = self.entry(span) {
            entry.store(value, Relaxed);
        }
    }

    fn entry(&self, span: usize) -> Option<&AtomicU32> {
        if span >= self.count {
            return None;
        }
        let place =
            core::ptr::with_exposed_provenance::<AtomicU32>(self.start + span * size_of::<u32>());
        // SAFETY: within the table, which is the start of a range that is mapped for good; zeroed memory is an entry.
        Some(unsafe { &*place })
    }
}

/// The free spans, as runs.
#[derive(Debug)]
pub(super) struct Runs {
    /// First span and count of each run that was given back, none of them neighbours.
    given_back: BTreeMap<usize, usize>,
    /// The first span that was never used.
    untouched: usize,
    end: usize,
}

impl Runs {
    /// All spans from `first` to `end` are free.
    pub(super) fn new(first: usize, end: usize) -> Self {
        Self {
            given_back: BTreeMap::new(),
            untouched: first,
            end,
        }
    }

    /// The first span that was never used.
    pub(super) fn untouched(&self) -> usize {
        self.untouched
    }

    /// Takes the first run that is long enough, and tells whether its memory was never used.
    pub(super) fn take(&mut self, count: usize) -> Option<(usize, bool)> {
        let found = self.given_back.iter().find(|(_, len)| **len >= count);
        if let Some((&first, &len)) = found {
            self.given_back.remove(&first);
            if len > count {
                self.given_back.insert(first + count, len - count);
            }
            return Some((first, false));
        }
        let first = self.untouched;
        if count > self.end - first {
            return None;
        }
        self.untouched = first + count;
        Some((first, true))
    }

    /// Gives a run back, and joins it with its neighbours.
    pub(super) fn give(&mut self, first: usize, count: usize) {
        let (mut first, mut count) = (first, count);
        if let Some((&before, &len)) = self.given_back.range(..first).next_back()
            && before + len == first
        {
            self.given_back.remove(&before);
            (first, count) = (before, len + count);
        }
        if let Some(len) = self.given_back.remove(&(first + count)) {
            count += len;
        }
        self.given_back.insert(first, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_joined_and_split() {
        let mut runs = Runs::new(1, 100);
        let taken: Vec<usize> = (0..4).map(|_| runs.take(10).unwrap().0).collect();
        assert_eq!(taken, [1, 11, 21, 31]);
        runs.give(11, 10);
        runs.give(31, 10);
        runs.give(21, 10);
        assert_eq!(runs.take(30), Some((11, false)));
        runs.give(11, 30);
        assert_eq!(runs.take(7), Some((11, false)));
        assert_eq!(runs.take(23), Some((18, false)));
        assert_eq!(runs.take(60), None);
        assert_eq!(runs.take(59), Some((41, true)));
    }
}
