//! What is written, and in which order: all that decides what is there after the power has gone.
//!
//! A record is written in two steps, and so is a root: first everything but the mark, then, when that is there to stay, the
//! mark. A step is writes, flushes of all that was written, and a fence.

use alloc::vec::Vec;

use super::device::Device;
use super::error::StoreError;
use super::layout::{Header, Kind, LOG, ROOT_LEN, ROOTS, Root, WORD, mark, size};
use super::log::Place;
use super::store::{Done, Record, Store};

impl<D: Device> Store<D> {
    /// Nothing is a root any more, and the log is empty. The fence is that of the root which follows.
    pub(super) fn write_empty(&mut self) -> Done<(), D> {
        self.change(|device| {
            for root in ROOTS {
                device.write_word(root, 0)?;
                device.flush(root, WORD)?;
            }
            device.write_word(LOG, 0)?;
            device.flush(LOG, WORD)
        })
    }

    /// Adds a record at the tail. When this returns it is there to stay.
    pub(super) fn append(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> Done<(), D> {
        // The lengths were checked.
        let size = size(key.len(), value.len()).unwrap_or(usize::MAX);
        if !self.ring.fits(size) {
            self.write_record(Kind::Wrap, &[], &[], self.ring.rest())?;
        }
        self.write_record(kind, key, value, size)
    }

    fn write_record(&mut self, kind: Kind, key: &[u8], value: &[u8], taken: usize) -> Done<(), D> {
        let Some(Place { at, after }) = self.ring.push(taken) else {
            let left = self.ring.free();
            return Err(StoreError::Full {
                needed: taken,
                left,
            });
        };
        let number = self.next_number;
        let header = Header::new(kind, number, key, value);
        let body = [&header.body(), key, value].concat();
        let (here, next) = (LOG + at, LOG + after.tail);
        self.change(|device| {
            device.write(here + WORD, &body)?;
            // Where the next record will be there is none, whatever stands there from earlier rounds.
            device.write_word(next, 0)?;
            device.flush(here + WORD, body.len())?;
            device.flush(next, WORD)?;
            device.fence()?;
            device.write_word(here, mark(number))?;
            device.flush(here, WORD)?;
            device.fence()
        })?;
        let record = Record { at, number, header };
        self.enter(Vec::from(key), record, after);
        Ok(())
    }

    /// The log begins at another record from now on: what was before it may be overwritten when this returns.
    pub(super) fn move_head(&mut self, head: usize, head_number: u64) -> Done<(), D> {
        let root = Root {
            change: self.root_change + 1,
            log_len: self.ring.len as u64,
            head: head as u64,
            head_number,
        };
        // The root before this one stays until this one is there.
        let at = if root.change.is_multiple_of(2) {
            ROOTS[0]
        } else {
            ROOTS[1]
        };
        self.change(|device| {
            device.write_word(at, 0)?;
            device.flush(at, WORD)?;
            device.fence()?;
            device.write(at + WORD, &root.body())?;
            device.flush(at + WORD, ROOT_LEN - WORD)?;
            device.fence()?;
            device.write_word(at, mark(root.change))?;
            device.flush(at, WORD)?;
            device.fence()
        })?;
        self.root_change = root.change;
        self.head_number = head_number;
        self.ring = self.ring.pop(head);
        Ok(())
    }
}
