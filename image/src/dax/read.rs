//! What is found on a device: the last root, and the records from its head on.

use alloc::vec;
use alloc::vec::Vec;

use super::device::Device;
use super::error::StoreError;
use super::layout::{
    FoundRoot, HEADER, Header, Kind, LOG, ROOT_LEN, ROOTS, Root, WORD, log_len, max_record, number,
    words,
};
use super::log::{Place, Ring};
use super::store::{Done, Entry, Record, Store};

impl<D: Device> Store<D> {
    /// Opens the store that is on a device. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::DeviceTooSmall`], [`StoreError::NotAStore`], [`StoreError::OtherSize`], [`StoreError::Damaged`], and the
    /// device's own.
    pub fn open(device: D) -> Done<Self, D> {
        let len_bytes = device.len_bytes();
        let len = log_len(len_bytes).ok_or(StoreError::DeviceTooSmall { len_bytes })?;
        let mut store = Self::empty(device, len);
        let root = store.root()?;
        if root.log_len != len as u64 {
            return Err(StoreError::OtherSize {
                has: root.log_len,
                expected: len as u64,
            });
        }
        // A root with the right checksum has been written by a store.
        let head = usize::try_from(root.head).unwrap_or(len).min(len);
        store.ring = Ring::empty(len, head);
        store.root_change = root.change;
        store.head_number = root.head_number;
        store.next_number = root.head_number;
        while store.read_next()? {}
        Ok(store)
    }

    /// The last root.
    fn root(&self) -> Done<Root, D> {
        let [first, second] = [self.read_root(ROOTS[0])?, self.read_root(ROOTS[1])?];
        let damaged = |at| Err(StoreError::Damaged { at });
        match (first, second) {
            (FoundRoot::Root(first), FoundRoot::Root(second)) => {
                Ok(if first.change > second.change {
                    first
                } else {
                    second
                })
            }
            (FoundRoot::Root(root), FoundRoot::Nothing)
            | (FoundRoot::Nothing, FoundRoot::Root(root)) => Ok(root),
            // A root is not begun before its mark is gone: there is nothing in between.
            (FoundRoot::Damaged, _) | (FoundRoot::Foreign, FoundRoot::Root(_)) => damaged(ROOTS[0]),
            (_, FoundRoot::Damaged) | (FoundRoot::Root(_), FoundRoot::Foreign) => damaged(ROOTS[1]),
            _ => Err(StoreError::NotAStore),
        }
    }

    fn read_root(&self, at: usize) -> Done<FoundRoot, D> {
        let mut bytes = [0; ROOT_LEN];
        self.read(at, &mut bytes)?;
        Ok(Root::read(&bytes))
    }

    /// Enters the record at the tail. Gives whether there is one.
    fn read_next(&mut self) -> Done<bool, D> {
        let at = self.ring.tail;
        if self.ring.len - at < HEADER {
            return Err(StoreError::Damaged { at: LOG + at });
        }
        if self.word(at)? == 0 {
            return Ok(false);
        }
        let Entry { record, key } = self.entry(at, self.next_number)?;
        let taken = match record.header.kind {
            Kind::Wrap => self.ring.rest(),
            Kind::Put | Kind::Delete => record.size(),
        };
        let Some(Place { after, .. }) = self.ring.push(taken) else {
            return Err(StoreError::Damaged { at: LOG + at });
        };
        self.value(&key, record)?;
        self.enter(key, record, after);
        Ok(true)
    }

    /// The record at a place, which has this number, with its key.
    pub(super) fn entry(&self, at: usize, expected: u64) -> Done<Entry, D> {
        let damaged = || StoreError::Damaged { at: LOG + at };
        if number(self.word(at)?) != Some(expected) {
            return Err(damaged());
        }
        let mut bytes = [0; HEADER - WORD];
        self.read(LOG + at + WORD, &mut bytes)?;
        let header = Header::read(&bytes, max_record(self.ring.len)).ok_or_else(damaged)?;
        let record = Record {
            at,
            number: expected,
            header,
        };
        if header.kind != Kind::Wrap && !self.ring.fits_at(at, record.size()) {
            return Err(damaged());
        }
        let mut key = vec![0; header.key_len];
        self.read(LOG + at + HEADER, &mut key)?;
        Ok(Entry { record, key })
    }

    /// The value of a record, if key and value are what was written.
    pub(super) fn value(&self, key: &[u8], record: Record) -> Done<Vec<u8>, D> {
        let Record { at, number, header } = record;
        let mut bytes = vec![0; header.key_len + header.value_len];
        self.read(LOG + at + HEADER, &mut bytes)?;
        let (its_key, value) = bytes.split_at(header.key_len);
        if its_key != key || header.sum(number, key, value) != header.checksum {
            return Err(StoreError::Damaged { at: LOG + at });
        }
        Ok(value.to_vec())
    }

    fn word(&self, at: usize) -> Done<u64, D> {
        let mut bytes = [0; WORD];
        self.read(LOG + at, &mut bytes)?;
        let [word] = words(&bytes);
        Ok(word)
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Done<(), D> {
        self.device().read(at, into).map_err(StoreError::Device)
    }
}
