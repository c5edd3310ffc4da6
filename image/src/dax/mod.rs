//! A small store on memory that keeps what is written to it: what supervisor keys are for.
//!
//! Such memory is reached by ordinary stores (Linux calls it DAX). That makes it fast, and it makes every pointer in the
//! kernel that went astray a defect in somebody's files, found when they are next read. Here the memory is a region with a
//! key: closed to the whole kernel, opened by the store for each access that it makes, to read or to write as the access is.
//!
//! | file | what |
//! |---|---|
//! | `device` | what is needed of the memory: accesses, flushes, fences |
//! | `region_device` | the same on a region with a key |
//! | `store` | the store: put, get, delete, and room for more |
//! | `write`, `read` | the order of writes, and what is found after they were interrupted |
//! | `log`, `layout` | the ring that records are in, and their bytes |
//! | `checksum`, `error` | |
//!
//! # How it survives
//!
//! Everything is in a log. A record is there from the moment at which its mark is, a word that is written last and alone,
//! when the rest of the record is there to stay, and behind it a word that says that there is no next one. So after the power
//! has gone, at whatever moment, and whatever the caches had written back by then, the log ends behind the last record whose
//! mark is there; and a change whose call had returned is before that.
//!
//! Space comes back at the head of the log: what is still needed moves to the tail, and then the root says that the log begins
//! further on. There are two roots, written in turn, and the old one stays until the new one has its mark.
//!
//! Checksums have no part in this. They tell memory that has changed by itself: each record is checked when the store is
//! opened and each value when it is read. One bit that falls over anywhere is noticed, or was of no importance; it is never
//! a wrong value. More of them may be.
//!
//! # What it does not do
//!
//! It serves one thread at a time. The keys and where their values are is kept in ordinary memory, and found anew by reading
//! the whole log when it is opened. A quarter of the log stays free, for moving.

mod checksum;
mod device;
mod error;
mod layout;
mod log;
mod read;
mod region_device;
mod store;
#[cfg(test)]
mod tests;
mod write;

pub use device::Device;
pub use error::StoreError;
pub use region_device::{Fence, Persistent, RegionDevice};
pub use store::Store;
