//! What is one in a process: which keys are ours, and which address belongs to which domain's region.
//!
//! It is one `repr(C)` object under an exported, versioned name, [`pkeys_registry_v1`], from the first day, so that a
//! later version, or another copy of this library in the same process, can find it and know what it has found. Today no
//! copy looks for another's: a program and a plugin that were built apart have a registry each, work on keys of their
//! own, and chain to each other's fault handlers.
//!
//! * [`keys`]: allocation of keys, and their quarantine.
//! * [`regions`]: the index from addresses to regions, readable in a fault handler.
//! * [`snapshot`]: the lock-free publication that the index is built on.
#![allow(unsafe_code, reason = "the exported symbol")]

pub(crate) mod keys;
pub(crate) mod regions;
pub(crate) mod snapshot;

use core::sync::atomic::AtomicU32;

use snapshot::Snapshot;

/// `b"pkeysreg"`, first in the object, so that a reader can tell it from something else of that name.
const MAGIC: u64 = u64::from_le_bytes(*b"pkeysreg");

/// The process-wide registry. Fields are only ever appended; a change of meaning takes a new symbol name.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Registry {
    magic: u64,
    version: u32,
    size_bytes: u32,
    /// Bit `k` is set while key `k` is allocated through this library. Key 0 is not.
    pub(crate) keys: AtomicU32,
    /// The serial number that the next domain gets; 0 is none.
    pub(crate) next_serial: AtomicU32,
    /// All regions by address.
    pub(crate) regions: Snapshot<regions::Record>,
}

/// The registry of this process.
///
/// The exported name is this project's own and versioned; the manifest's `links` keeps a second definition out of a link.
#[unsafe(no_mangle)]
pub(crate) static pkeys_registry_v1: Registry = Registry {
    magic: MAGIC,
    version: 1,
    #[expect(clippy::cast_possible_truncation, reason = "some dozens of bytes")]
    size_bytes: size_of::<Registry>() as u32,
    keys: AtomicU32::new(0),
    next_serial: AtomicU32::new(1),
    regions: Snapshot::new(),
};

/// The registry of this process.
#[inline(always)]
pub(crate) fn registry() -> &'static Registry {
    &pkeys_registry_v1
}
