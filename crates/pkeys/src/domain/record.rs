//! The part of a domain that fault handlers read: all atomics, at an address that stays valid for ever.
//!
//! A handler finds the record through the region index while another thread may be dropping the domain. Records are
//! therefore never freed: a dropped domain's record goes to a pool and serves the next one under a new serial number,
//! and a handler that was late sees another number, not freed memory. The pool grows to the largest number of
//! domains that ever lived at a time.

use core::fmt;
use core::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Mutex, PoisonError};

use pkeys_core::{GrantCounts, Mode, Pardon, Pkey, Rights};

use crate::embed::BlockFn;
use crate::fault::VerdictFn;
use crate::registry::registry;

/// The longest name of a domain, in bytes.
pub(crate) const NAME_MAX_BYTES: usize = 64;

/// What keeps a stray access out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    /// The domain's pages carry this key.
    Pkey(Pkey),
    /// `mprotect(2)` on the domain's pages, for all threads at once.
    Mprotect,
    /// Nothing.
    Unprotected,
}

impl Protection {
    const MPROTECT: u8 = 16;
    const UNPROTECTED: u8 = 17;

    const fn as_u8(self) -> u8 {
        match self {
            Self::Pkey(pkey) => pkey.get(),
            Self::Mprotect => Self::MPROTECT,
            Self::Unprotected => Self::UNPROTECTED,
        }
    }

    const fn from_u8(value: u8) -> Self {
        match Pkey::new(value) {
            Some(pkey) => Self::Pkey(pkey),
            None if value == Self::MPROTECT => Self::Mprotect,
            None => Self::Unprotected,
        }
    }
}

/// Counters of what the fault handlers did for a domain.
#[derive(Debug)]
pub(crate) struct FaultCounters {
    pub(crate) stray_reads: AtomicU64,
    pub(crate) stray_writes: AtomicU64,
    pub(crate) pardons: AtomicU64,
    pub(crate) repairs: AtomicU64,
    pub(crate) reports: AtomicU64,
}

impl FaultCounters {
    fn all(&self) -> [&AtomicU64; 5] {
        let Self {
            stray_reads,
            stray_writes,
            pardons,
            repairs,
            reports,
        } = self;
        [stray_reads, stray_writes, pardons, repairs, reports]
    }
}

/// A domain as fault handlers see it.
pub(crate) struct DomainRecord {
    /// Unique in the process; 0 while the record is in the pool.
    serial: AtomicU32,
    protection: AtomicU8,
    closed: AtomicU8,
    mode: AtomicU8,
    pardon: AtomicU8,
    /// A [`VerdictFn`], or null.
    verdict: AtomicPtr<()>,
    /// A [`BlockFn`], or null.
    block: AtomicPtr<()>,
    /// For `mprotect(2)`: the open grants of all threads together.
    pub(crate) soft_grants: AtomicU32,
    /// When the domain was made: clock ticks since boot, as field 22 of `/proc/PID/stat` counts them.
    pub(crate) created_ticks: AtomicU64,
    pub(crate) counters: FaultCounters,
    name_len: AtomicUsize,
    name: [AtomicU8; NAME_MAX_BYTES],
}

/// What a new domain tells its record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) name: &'a str,
    pub(crate) protection: Protection,
    pub(crate) closed: Rights,
    pub(crate) mode: Mode,
    pub(crate) pardon: Pardon,
    pub(crate) verdict: Option<VerdictFn>,
    pub(crate) block: Option<BlockFn>,
}

static POOL: Mutex<Vec<&'static DomainRecord>> = Mutex::new(Vec::new());

impl DomainRecord {
    fn new() -> Self {
        Self {
            serial: AtomicU32::new(0),
            protection: AtomicU8::new(Protection::UNPROTECTED),
            closed: AtomicU8::new(0),
            mode: AtomicU8::new(0),
            pardon: AtomicU8::new(0),
            verdict: AtomicPtr::new(core::ptr::null_mut()),
            block: AtomicPtr::new(core::ptr::null_mut()),
            soft_grants: AtomicU32::new(0),
            created_ticks: AtomicU64::new(0),
            counters: FaultCounters {
                stray_reads: AtomicU64::new(0),
                stray_writes: AtomicU64::new(0),
                pardons: AtomicU64::new(0),
                repairs: AtomicU64::new(0),
                reports: AtomicU64::new(0),
            },
            name_len: AtomicUsize::new(0),
            name: [const { AtomicU8::new(0) }; NAME_MAX_BYTES],
        }
    }

    /// A record for a new domain, from the pool or fresh.
    pub(crate) fn acquire(settings: Settings<'_>) -> &'static Self {
        let pooled = pool().pop();
        let record = pooled.unwrap_or_else(|| Box::leak(Box::new(Self::new())));
        record
            .protection
            .store(settings.protection.as_u8(), Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "two bits")]
        record
            .closed
            .store(settings.closed.access_bits().bits() as u8, Relaxed);
        record.mode.store(settings.mode.as_u8(), Relaxed);
        record.pardon.store(settings.pardon.as_u8(), Relaxed);
        let verdict = settings
            .verdict
            .map_or(core::ptr::null_mut(), |verdict| verdict as *mut ());
        record.verdict.store(verdict, Relaxed);
        let block = settings
            .block
            .map_or(core::ptr::null_mut(), |block| block as *mut ());
        record.block.store(block, Relaxed);
        record.soft_grants.store(0, Relaxed);
        record
            .created_ticks
            .store(crate::fault::clock_ticks(), Relaxed);
        for counter in record.counters.all() {
            counter.store(0, Relaxed);
        }
        for (slot, byte) in record.name.iter().zip(settings.name.bytes()) {
            slot.store(byte, Relaxed);
        }
        record
            .name_len
            .store(settings.name.len().min(NAME_MAX_BYTES), Relaxed);
        let serial = registry().next_serial.fetch_add(1, Relaxed);
        record.serial.store(serial, SeqCst);
        record
    }

    /// Puts the record back into the pool. Its domain has no regions left.
    pub(crate) fn release(&'static self) {
        self.serial.store(0, SeqCst);
        pool().push(self);
    }

    /// The domain's number, unique in the process and never used again.
    #[inline(always)]
    pub(crate) fn serial(&self) -> u32 {
        self.serial.load(Relaxed)
    }

    pub(crate) fn protection(&self) -> Protection {
        Protection::from_u8(self.protection.load(Relaxed))
    }

    /// What a thread without a grant may do.
    pub(crate) fn closed(&self) -> Rights {
        pkeys_core::AccessBits::truncate(u32::from(self.closed.load(Relaxed))).rights()
    }

    #[inline(always)]
    pub(crate) fn mode(&self) -> Mode {
        Mode::from_u8(self.mode.load(Relaxed)).unwrap_or(Mode::Strict)
    }

    /// Whether the mode is off, for the path of every window.
    #[inline(always)]
    pub(crate) fn is_off(&self) -> bool {
        self.mode.load(Relaxed) == Mode::Off.as_u8()
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.mode.store(mode.as_u8(), SeqCst);
    }

    pub(crate) fn pardon(&self) -> Pardon {
        Pardon::from_u8(self.pardon.load(Relaxed)).unwrap_or(Pardon::Instruction)
    }

    pub(crate) fn set_pardon(&self, pardon: Pardon) {
        self.pardon.store(pardon.as_u8(), Relaxed);
    }

    /// The function that judges faults on this domain, if its owner gave one.
    #[allow(unsafe_code, reason = "a function pointer out of an atomic")]
    pub(crate) fn verdict(&self) -> Option<VerdictFn> {
        let pointer = self.verdict.load(Relaxed);
        if pointer.is_null() {
            return None;
        }
        // SAFETY: the only non-null values stored are function pointers of this type, in `acquire`.
        Some(unsafe { core::mem::transmute::<*mut (), VerdictFn>(pointer) })
    }

    /// The function that finds the block of an address, if the domain's owner gave one.
    #[allow(unsafe_code, reason = "a function pointer out of an atomic")]
    pub(crate) fn block(&self) -> Option<BlockFn> {
        let pointer = self.block.load(Relaxed);
        if pointer.is_null() {
            return None;
        }
        // SAFETY: the only non-null values stored are function pointers of this type, in `acquire`.
        Some(unsafe { core::mem::transmute::<*mut (), BlockFn>(pointer) })
    }

    /// The grants of all threads together, for a domain protected by `mprotect(2)`.
    pub(crate) fn soft_grants(&self) -> GrantCounts {
        GrantCounts::from_bits(self.soft_grants.load(SeqCst))
    }

    /// Copies the name into `buffer` and gives the part that is used. Torn only while the domain is being dropped.
    pub(crate) fn copy_name<'b>(&self, buffer: &'b mut [u8; NAME_MAX_BYTES]) -> &'b [u8] {
        let len = self.name_len.load(Relaxed).min(NAME_MAX_BYTES);
        for (byte, slot) in buffer.iter_mut().zip(&self.name) {
            *byte = slot.load(Relaxed);
        }
        &buffer[..len]
    }
}

impl fmt::Debug for DomainRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainRecord")
            .field("serial", &self.serial())
            .field("protection", &self.protection())
            .field("closed", &self.closed())
            .field("mode", &self.mode())
            .field("pardon", &self.pardon())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

fn pool() -> std::sync::MutexGuard<'static, Vec<&'static DomainRecord>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}
