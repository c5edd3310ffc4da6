//! How records and roots look in memory.
//!
//! Everything is little-endian, and begins at a multiple of eight.
//!
//! ```text
//! root, twice:  mark   magic   log length   head   head's number   checksum
//! record:       mark   kind, key length, value length   checksum   key  value  zeros
//! ```
//!
//! The first word is the *mark*, which is written last and alone. In a root it has the number of the change, in a record that
//! of the record; 0 is no mark. Below the number are sixteen bits that are always the same, so that no single bit that
//! falls over makes a mark of a zero, or a zero of a mark.

use super::checksum::checksum;

/// Where the two roots are: not in neighbouring cache lines, which some processors fetch together.
pub(super) const ROOTS: [usize; 2] = [0, 128];
/// Where the log begins.
pub(super) const LOG: usize = 256;
/// The size of a root.
pub(super) const ROOT_LEN: usize = 48;
/// The size of a record without key and value.
pub(super) const HEADER: usize = 24;
/// The size of a mark.
pub(super) const WORD: usize = 8;

/// The shortest log: room for 32 of the shortest records.
pub(super) const MIN_LOG: usize = 2048;
/// A record has at most this part of the log.
const RECORDS: usize = 32;
/// The longest key, for which a record has sixteen bits.
pub(super) const MAX_KEY: usize = 1024;

const MAGIC: u64 = u64::from_le_bytes(*b"pkeysdax");
const TAG: u64 = 0xDA7A;
const NUMBER_SHIFT: u32 = 16;

/// The mark of a number.
pub(super) const fn mark(number: u64) -> u64 {
    number << NUMBER_SHIFT | TAG
}

/// The number of a mark; `None` for a word that is none.
pub(super) const fn number(mark: u64) -> Option<u64> {
    if mark & ((1 << NUMBER_SHIFT) - 1) == TAG {
        Some(mark >> NUMBER_SHIFT)
    } else {
        None
    }
}

/// The longest record in a log.
pub(super) const fn max_record(log_len: usize) -> usize {
    log_len / RECORDS / WORD * WORD
}

/// The size of the log in a device; `None` if the device is too small for one.
pub(super) const fn log_len(device_len: usize) -> Option<usize> {
    match device_len.checked_sub(LOG) {
        Some(len) if len >= MIN_LOG => Some(len / WORD * WORD),
        _ => None,
    }
}

/// The smallest device.
pub(super) const MIN_DEVICE: usize = LOG + MIN_LOG;

/// From where the log is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root {
    /// Which change of the root it was, from 1.
    pub(super) change: u64,
    pub(super) log_len: u64,
    /// Where the first record is, counted from the beginning of the log.
    pub(super) head: u64,
    /// The number of that record.
    pub(super) head_number: u64,
}

/// What stands where a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundRoot {
    /// No root.
    Nothing,
    /// Something that is none.
    Foreign,
    /// A root that is damaged.
    Damaged,
    /// A root.
    Root(Root),
}

impl Root {
    /// All of it but the mark.
    pub(super) fn body(self) -> [u8; ROOT_LEN - WORD] {
        let mut body = [0; ROOT_LEN - WORD];
        let words = [
            MAGIC,
            self.log_len,
            self.head,
            self.head_number,
            self.checksum(),
        ];
        put_words(&mut body, &words);
        body
    }

    pub(super) fn read(bytes: &[u8; ROOT_LEN]) -> FoundRoot {
        let [first, magic, log_len, head, head_number, sum] = words(bytes);
        if first == 0 {
            return FoundRoot::Nothing;
        }
        if magic != MAGIC {
            return FoundRoot::Foreign;
        }
        let root = number(first).map(|change| Self {
            change,
            log_len,
            head,
            head_number,
        });
        match root {
            Some(root) if root.checksum() == sum => FoundRoot::Root(root),
            _ => FoundRoot::Damaged,
        }
    }

    fn checksum(self) -> u64 {
        let mut bytes = [0; 40];
        let words = [
            mark(self.change),
            MAGIC,
            self.log_len,
            self.head,
            self.head_number,
        ];
        put_words(&mut bytes, &words);
        checksum(&[&bytes])
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The key has this value from now on.
    Put = 1,
    /// The key has no value any more.
    Delete = 2,
    /// The log goes on at its beginning.
    Wrap = 3,
}

/// A record without key and value, and without its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) key_len: usize,
    pub(super) value_len: usize,
    pub(super) checksum: u64,
}

impl Header {
    /// The header of a record with that number.
    pub(super) fn new(kind: Kind, number: u64, key: &[u8], value: &[u8]) -> Self {
        let mut header = Self {
            kind,
            key_len: key.len(),
            value_len: value.len(),
            checksum: 0,
        };
        header.checksum = header.sum(number, key, value);
        header
    }

    /// What the checksum should be.
    pub(super) fn sum(self, number: u64, key: &[u8], value: &[u8]) -> u64 {
        let mut bytes = [0; 16];
        put_words(&mut bytes, &[mark(number), self.word()]);
        checksum(&[&bytes, key, value])
    }

    /// The two words behind the mark.
    pub(super) fn body(self) -> [u8; HEADER - WORD] {
        let mut body = [0; HEADER - WORD];
        put_words(&mut body, &[self.word(), self.checksum]);
        body
    }

    /// `None` for what cannot be a header in a log with records of up to `max_record` bytes.
    pub(super) fn read(bytes: &[u8; HEADER - WORD], max_record: usize) -> Option<Self> {
        let [word, checksum] = words(bytes);
        let [kind, 0, key_low, key_high, a, b, c, d] = word.to_le_bytes() else {
            return None;
        };
        let kind = [Kind::Put, Kind::Delete, Kind::Wrap]
            .into_iter()
            .find(|known| *known as u8 == kind)?;
        let key_len = usize::from(u16::from_le_bytes([key_low, key_high]));
        let value_len = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        let header = Self {
            kind,
            key_len,
            value_len,
            checksum,
        };
        let is_possible = match kind {
            Kind::Put => key_len > 0,
            Kind::Delete => key_len > 0 && value_len == 0,
            Kind::Wrap => key_len == 0 && value_len == 0,
        };
        let len = size(key_len, value_len)?;
        (is_possible && len <= max_record).then_some(header)
    }

    fn word(self) -> u64 {
        let [key_low, key_high, ..] = self.key_len.to_le_bytes();
        let [a, b, c, d, ..] = self.value_len.to_le_bytes();
        u64::from_le_bytes([self.kind as u8, 0, key_low, key_high, a, b, c, d])
    }
}

/// The size of a record with key and value of these lengths; `None` if there is no such number.
pub(super) const fn size(key_len: usize, value_len: usize) -> Option<usize> {
    let Some(len) = key_len.checked_add(value_len) else {
        return None;
    };
    match len.checked_add(HEADER) {
        Some(len) => len.checked_next_multiple_of(WORD),
        None => None,
    }
}

/// The words of bytes.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    let (chunks, _) = bytes.as_chunks::<WORD>();
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u64::from_le_bytes(*chunk);
    }
    words
}

fn put_words(bytes: &mut [u8], words: &[u64]) {
    let (chunks, _) = bytes.as_chunks_mut::<WORD>();
    for (chunk, word) in chunks.iter_mut().zip(words) {
        *chunk = word.to_le_bytes();
    }
}
