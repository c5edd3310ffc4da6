//! The store: keys, their values, and the log that both are in.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::device::Device;
use super::error::StoreError;
use super::layout::{HEADER, Header, Kind, MAX_KEY, log_len, max_record, size};
use super::log::Ring;

/// Keys with values, in a log on a device.
///
/// A change that has been made is there to stay; one that was interrupted is there as a whole or not at all.
pub struct Store<D> {
    device: D,
    /// Where the records of keys with a value are.
    pub(super) index: BTreeMap<Vec<u8>, Record>,
    pub(super) ring: Ring,
    /// The number of the record at the head, and of the next one at the tail.
    pub(super) head_number: u64,
    pub(super) next_number: u64,
    /// The last change of the root.
    pub(super) root_change: u64,
    /// The size of the records in the index.
    pub(super) live: usize,
    is_broken: bool,
}

/// A record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it is in the log.
    pub(super) at: usize,
    pub(super) number: u64,
    pub(super) header: Header,
}

/// A record in the log, of whatever kind, with its key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) key: Vec<u8>,
}

impl Record {
    pub(super) fn size(self) -> usize {
        // It was computed before the record was written.
        size(self.header.key_len, self.header.value_len).unwrap_or(HEADER)
    }
}

impl<D> fmt::Debug for Store<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("nr_keys", &self.index.len())
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

/// What an operation gives.
pub(super) type Done<T, D> = Result<T, StoreError<<D as Device>::Fault>>;

impl<D: Device> Store<D> {
    /// Makes an empty store on a device, whatever is on it.
    ///
    /// # Errors
    ///
    /// [`StoreError::DeviceTooSmall`], and the device's own.
    pub fn format(device: D) -> Done<Self, D> {
        let len_bytes = device.len_bytes();
        let len = log_len(len_bytes).ok_or(StoreError::DeviceTooSmall { len_bytes })?;
        let mut store = Self::empty(device, len);
        store.write_empty()?;
        store.move_head(0, 1)?;
        Ok(store)
    }

    pub(super) const fn empty(device: D, log_len: usize) -> Self {
        Self {
            device,
            index: BTreeMap::new(),
            ring: Ring::empty(log_len, 0),
            head_number: 1,
            next_number: 1,
            root_change: 0,
            live: 0,
            is_broken: false,
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], and the device's own.
    pub fn get(&self, key: &[u8]) -> Done<Option<Vec<u8>>, D> {
        match self.index.get(key) {
            Some(record) => self.value(key, *record).map(Some),
            None => Ok(None),
        }
    }

    /// Gives a key a value, in the place of the one that it may have.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadKey`], [`StoreError::TooLong`], [`StoreError::Full`]; [`StoreError::Damaged`] where records had to
    /// be moved and could not be read; [`StoreError::Broken`] and the device's own.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Done<(), D> {
        let size = self.check(key, value)?;
        let needed = self.live + size + self.reserve();
        if needed > self.ring.len {
            let left = self.ring.len.saturating_sub(self.live + self.reserve());
            return Err(StoreError::Full { needed: size, left });
        }
        self.make_room(size)?;
        self.append(Kind::Put, key, value)
    }

    /// Takes the value of a key away. Gives whether it had one.
    ///
    /// # Errors
    ///
    /// As [`Store::put`], but never [`StoreError::Full`].
    pub fn delete(&mut self, key: &[u8]) -> Done<bool, D> {
        let size = self.check(key, &[])?;
        if !self.index.contains_key(key) {
            return Ok(false);
        }
        self.make_room(size)?;
        self.append(Kind::Delete, key, &[])?;
        Ok(true)
    }

    /// Moves all values together, so that the log has nothing else.
    ///
    /// # Errors
    ///
    /// As [`Store::put`].
    pub fn compact(&mut self) -> Done<(), D> {
        self.check_unbroken()?;
        let end = self.next_number;
        while self.head_number < end {
            self.drop_head()?;
        }
        Ok(())
    }

    /// The keys that have a value, in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.index.keys().map(Vec::as_slice)
    }

    /// The longest key and value together.
    #[must_use]
    pub const fn max_len_bytes(&self) -> usize {
        max_record(self.ring.len) - HEADER
    }

    /// The device, to be opened anew.
    pub fn into_device(self) -> D {
        self.device
    }

    pub(super) const fn device(&self) -> &D {
        &self.device
    }

    fn check_unbroken(&self) -> Done<(), D> {
        if self.is_broken {
            return Err(StoreError::Broken);
        }
        Ok(())
    }

    /// The size of a record for these.
    fn check(&self, key: &[u8], value: &[u8]) -> Done<usize, D> {
        self.check_unbroken()?;
        if key.is_empty() || key.len() > MAX_KEY {
            let len_bytes = key.len();
            return Err(StoreError::BadKey { len_bytes });
        }
        let max = max_record(self.ring.len);
        match size(key.len(), value.len()) {
            Some(size) if size <= max => Ok(size),
            _ => Err(StoreError::TooLong {
                len_bytes: key.len().saturating_add(value.len()),
                max: self.max_len_bytes(),
            }),
        }
    }

    /// What is kept free of values, so that there always is room to move one, to take one away, and to add one.
    fn reserve(&self) -> usize {
        4 * Ring::most_taken(max_record(self.ring.len))
    }

    /// Drops old records until one of this size has room, and after it one that is moved.
    fn make_room(&mut self, size: usize) -> Done<(), D> {
        let needed = Ring::most_taken(size) + Ring::most_taken(max_record(self.ring.len));
        let end = self.next_number;
        // Those that are moved do not move again: there is room by then.
        while self.ring.free() < needed && self.head_number < end {
            self.drop_head()?;
        }
        Ok(())
    }

    /// Moves the record at the head to the tail, if somebody needs it, and drops all up to the next that somebody needs.
    ///
    /// At most one record is there twice at a time. If the power goes before the head has moved, the old one is dropped
    /// first next time: moving takes no more room however often it goes.
    fn drop_head(&mut self) -> Done<(), D> {
        let (mut at, mut number) = (self.ring.head, self.head_number);
        let first = self.entry(at, number)?;
        if let Some(record) = self.needed(&first) {
            let value = self.value(&first.key, record)?;
            self.append(Kind::Put, &first.key, &value)?;
        }
        while number < self.next_number {
            let entry = self.entry(at, number)?;
            if self.needed(&entry).is_some() {
                break;
            }
            at = self.behind(&entry);
            number += 1;
        }
        self.move_head(at, number)
    }

    /// What the index says of an entry, if it is the one that the index means.
    fn needed(&self, entry: &Entry) -> Option<Record> {
        let known = self.index.get(&entry.key).copied();
        known.filter(|known| known.number == entry.record.number)
    }

    /// Where the log goes on.
    pub(super) fn behind(&self, entry: &Entry) -> usize {
        match entry.record.header.kind {
            Kind::Wrap => 0,
            Kind::Put | Kind::Delete => self.ring.behind(entry.record.at, entry.record.size()),
        }
    }

    /// A record that has been found in the log, or written to it, is at the tail now.
    pub(super) fn enter(&mut self, key: Vec<u8>, record: Record, after: Ring) {
        let old = match record.header.kind {
            Kind::Put => {
                self.live += record.size();
                self.index.insert(key, record)
            }
            Kind::Delete => self.index.remove(&key),
            Kind::Wrap => None,
        };
        self.live = self.live.saturating_sub(old.map_or(0, Record::size));
        self.ring = after;
        self.next_number += 1;
    }

    /// Does something with the device. After an error nobody knows what is there, and nothing is changed any more.
    pub(super) fn change(
        &mut self,
        body: impl FnOnce(&mut D) -> Result<(), D::Fault>,
    ) -> Done<(), D> {
        self.is_broken = true;
        body(&mut self.device).map_err(StoreError::Device)?;
        self.is_broken = false;
        Ok(())
    }
}
