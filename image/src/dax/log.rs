//! Where in the log things are: its head, its tail, and the way around.
//!
//! The log is a ring. Records follow each other from the head to the tail; one that does not fit before the end of the ring
//! goes to its beginning. Behind the last record stands a word that is 0, where the next record's mark will be. That is why
//! the tail never comes up to the head: there is always room for the word.

use super::layout::{HEADER, WORD};

/// The part of the ring that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ring {
    pub(super) len: usize,
    pub(super) head: usize,
    pub(super) tail: usize,
    /// The bytes from head to tail. (Both are alike when this is 0, and never otherwise.)
    pub(super) used: usize,
}

/// Where a record is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: usize,
    /// What the ring is with the record in it.
    pub(super) after: Ring,
}

impl Ring {
    /// An empty ring, which is read from `head` on.
    pub(super) const fn empty(len: usize, head: usize) -> Self {
        Self {
            len,
            head,
            tail: head,
            used: 0,
        }
    }

    /// The bytes that are not in use, but for the word behind the last record.
    pub(super) const fn free(self) -> usize {
        (self.len - self.used).saturating_sub(WORD)
    }

    /// Whether a record of a size goes to the tail; otherwise the ring has to be wrapped before.
    pub(super) const fn fits(self, size: usize) -> bool {
        self.fits_at(self.tail, size)
    }

    /// Whether a record of a size that begins at `at` ends before the ring does.
    pub(super) const fn fits_at(self, at: usize, size: usize) -> bool {
        self.len.saturating_sub(at) >= size
    }

    /// Where the next record is, behind one that begins at `at`.
    pub(super) const fn behind(self, at: usize, size: usize) -> usize {
        let end = at + size;
        // Nothing begins where not even a header has room.
        if self.len.saturating_sub(end) < HEADER {
            0
        } else {
            end
        }
    }

    /// With a record of a size at the tail, or with the rest up to the end left out. `None` without room.
    pub(super) fn push(self, size: usize) -> Option<Place> {
        let tail = self.behind(self.tail, size);
        let taken = if tail == 0 { self.rest() } else { size };
        let used = self.used.checked_add(taken)?;
        let place = Place {
            at: self.tail,
            after: Self { tail, used, ..self },
        };
        (size <= self.len - self.tail && used.checked_add(WORD)? <= self.len).then_some(place)
    }

    /// The size of what is left up to the end.
    pub(super) const fn rest(self) -> usize {
        self.len - self.tail
    }

    /// Without the records before `head`.
    pub(super) const fn pop(self, head: usize) -> Self {
        let gone = self.distance(self.head, head);
        Self {
            head,
            used: self.used.saturating_sub(gone),
            ..self
        }
    }

    /// The most that a record of a size takes, with the rest of the ring that it may leave empty.
    pub(super) const fn most_taken(size: usize) -> usize {
        2 * (size + HEADER)
    }

    /// How far it is from one place to another. A record never goes all the way around, so that the same place is the same
    /// record.
    const fn distance(self, from: usize, to: usize) -> usize {
        if to >= from {
            to - from
        } else {
            self.len - from + to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_go_around_and_never_meet_the_head() {
        let ring = Ring::empty(2048, 0);
        assert_eq!(ring.free(), 2040);
        let first = ring.push(2000).unwrap();
        assert_eq!(
            (first.at, first.after.tail, first.after.used),
            (0, 2000, 2000)
        );
        // 48 bytes are left, and the word.
        assert_eq!(first.after.push(48), None);
        assert_eq!(first.after.push(40), None);
        let second = first.after.push(24).unwrap();
        assert_eq!((second.at, second.after.tail), (2000, 2024));
        assert_eq!(second.after.free(), 16);
        let popped = first.after.pop(2000);
        assert_eq!((popped.used, popped.free()), (0, 2040));
        // No header has room behind it, so that the end of the ring is taken as well.
        let third = popped.push(32).unwrap();
        assert_eq!((third.after.tail, third.after.used), (0, 48));
        assert!(!popped.fits(49));
    }

    /// Every ring of a small length with records of every size: what is taken is what a walk over all bytes counts.
    #[test]
    fn what_is_taken_is_what_a_walk_counts() {
        for len in (48..=120).step_by(8) {
            for tail in (0..=len - HEADER).step_by(8) {
                for size in (HEADER..=len).step_by(8) {
                    let ring = Ring {
                        len,
                        head: tail,
                        tail,
                        used: 0,
                    };
                    let end = tail + size;
                    let is_inside = end <= len;
                    let next = if len.saturating_sub(end) < HEADER {
                        0
                    } else {
                        end
                    };
                    let taken = if next == 0 { len - tail } else { size };
                    let has_room = is_inside && taken + WORD <= len;
                    let pushed = ring.push(size);
                    assert_eq!(pushed.is_some(), has_room, "{len} {tail} {size}");
                    if let Some(Place { at, after }) = pushed {
                        assert_eq!((at, after.tail, after.used), (tail, next, taken));
                        assert_eq!(after.pop(next), Ring::empty(len, next));
                        assert!(taken <= Ring::most_taken(size));
                    }
                }
            }
        }
    }
}
