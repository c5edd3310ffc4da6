//! The holder's name of a key, where a fault handler can read it.
//!
//! Who has a key stands behind a lock, and a handler takes none: the code that it interrupted may hold it. So each name
//! stands a second time, in words that are read one by one. A writer makes the number odd, writes, and makes it even; a
//! reader that finds it odd, or changed when it is done, has seen parts of two names and says that it knows none. That
//! needs a fault on a page of a key at the moment at which somebody else gets the key.
//!
//! Only the beginning is kept: a report has no more room either.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use pkeys_core::Excerpt;

const NR_WORDS: usize = 4;
const LEN_BYTES: usize = NR_WORDS * 8;

/// A name that is read without a lock. Writers come one at a time.
#[derive(Debug)]
pub(super) struct NameCell {
    changes: AtomicU32,
    words: [AtomicU64; NR_WORDS],
}

impl NameCell {
    pub(super) const fn new(name: &str) -> Self {
        let [a, b, c, d] = words(name);
        Self {
            changes: AtomicU32::new(0),
            words: [
                AtomicU64::new(a),
                AtomicU64::new(b),
                AtomicU64::new(c),
                AtomicU64::new(d),
            ],
        }
    }

    /// Changes the name. The caller keeps other writers out.
    pub(super) fn set(&self, name: &str) {
        let changes = self.changes.load(Ordering::Relaxed);
        self.changes
            .store(changes.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (place, word) in self.words.iter().zip(words(name)) {
            place.store(word, Ordering::Relaxed);
        }
        self.changes
            .store(changes.wrapping_add(2), Ordering::Release);
    }

    /// The beginning of the name: empty for a key that nobody has, `None` while it changes.
    pub(super) fn get(&self) -> Option<Excerpt> {
        let before = self.changes.load(Ordering::Acquire);
        let mut bytes = [0; LEN_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(&self.words) {
            place.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        fence(Ordering::Acquire);
        let after = self.changes.load(Ordering::Relaxed);
        if before % 2 == 1 || before != after {
            return None;
        }
        let len = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(LEN_BYTES);
        // A character may have been cut in two at the end.
        let text = bytes.get(..len)?.utf8_chunks().next();
        Some(Excerpt::new(text.map_or("", |chunk| chunk.valid())))
    }
}

/// The first bytes of a text, filled up with zeros.
const fn words(name: &str) -> [u64; NR_WORDS] {
    let name = name.as_bytes();
    let mut words = [0; NR_WORDS];
    let mut at = 0;
    while at < name.len() && at < LEN_BYTES {
        words[at / 8] |= (name[at] as u64) << (at % 8 * 8);
        at += 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_up_to_the_room_that_there_is() {
        let cell = NameCell::new("pmem");
        assert_eq!(cell.get(), Some(Excerpt::new("pmem")));
        for name in ["", "a", "eight ch", "keys of the page cache", "\u{20ac}uro"] {
            cell.set(name);
            assert_eq!(cell.get(), Some(Excerpt::new(name)), "{name}");
        }
        // 31 bytes, and a character of two, of which one is kept.
        cell.set("0123456789012345678901234567890\u{e9}");
        let kept = cell.get().unwrap_or(Excerpt::new(""));
        assert_eq!(kept.as_str(), "012345678901234567890123456789");
        assert!(kept.is_cut());
    }

    #[test]
    fn a_name_that_is_being_changed_is_not_read() {
        let cell = NameCell::new("old");
        cell.changes.store(1, Ordering::Relaxed);
        assert_eq!(cell.get(), None);
    }
}
