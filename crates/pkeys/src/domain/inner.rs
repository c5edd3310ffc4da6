//! A domain's one owner: its key, its pages and what protects them.
//!
//! [`Domain`](crate::Domain) and everything that lives in a domain hold it by reference count; the key goes back when
//! the last of them is gone. All changes to the protection of pages (a new region, a region that goes, a change of mode,
//! every window of the `mprotect(2)` fallback) are made under one lock per domain, so that each sees all pages.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use core::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use pkeys_core::{GrantCounts, Mode, Pkey, Rights, effective};

use crate::domain::record::{DomainRecord, Protection};
use crate::heap::Anchor;
use crate::registry::{keys, regions};
use crate::support::Keys;
use crate::sys::{self, Prot};

/// What opens and closes the domain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gate {
    /// The thread's register.
    Pkey(Keys, Pkey),
    /// `mprotect(2)` on all pages of the domain.
    Mprotect,
    /// Nothing: windows only count.
    Unprotected,
}

/// A domain's one owner.
#[derive(Debug)]
pub(crate) struct DomainInner {
    pub(crate) gate: Gate,
    pub(crate) closed: Rights,
    pub(crate) serial: u32,
    pub(crate) record: &'static DomainRecord,
    pub(crate) name: Box<str>,
    pub(crate) is_mode_pinned: bool,
    pub(crate) heap: Anchor,
    /// The serial number while windows write the register, [`NO_SERIAL`] while the mode is off and they only count: one
    /// word for the path of every window to compare.
    window_serial: AtomicU32,
    pages: Mutex<()>,
}

/// A number that no domain has.
const NO_SERIAL: u32 = u32::MAX;

fn window_serial(record: &DomainRecord) -> u32 {
    if record.is_off() {
        NO_SERIAL
    } else {
        record.serial()
    }
}

/// A range of pages that is to join a domain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) start: usize,
    pub(crate) len_bytes: usize,
    pub(crate) label: &'static str,
    /// Whether anyone may ever write: not for a file that was opened for reading.
    pub(crate) is_writable: bool,
}

impl DomainInner {
    pub(crate) fn new(
        gate: Gate,
        closed: Rights,
        record: &'static DomainRecord,
        name: &str,
        is_mode_pinned: bool,
    ) -> Self {
        Self {
            gate,
            closed,
            serial: record.serial(),
            record,
            name: name.into(),
            is_mode_pinned,
            heap: Anchor::default(),
            window_serial: AtomicU32::new(window_serial(record)),
            pages: Mutex::new(()),
        }
    }

    /// Adds pages, which the caller has just mapped with no access at all. From here on the domain protects them.
    pub(crate) fn attach(&self, pages: Pages) -> io::Result<()> {
        let _lock = self.lock();
        let record = regions::Record {
            start: pages.start,
            end: pages.start + pages.len_bytes,
            label: pages.label,
            is_writable: pages.is_writable,
            domain: self.record,
            serial: self.serial,
        };
        self.protect(&record)?;
        regions::insert(record);
        Ok(())
    }

    /// Takes pages out of the index and unmaps them.
    #[allow(unsafe_code, reason = "munmap(2)")]
    pub(crate) fn detach(&self, start: usize, len_bytes: usize) {
        let _lock = self.lock();
        regions::remove(start);
        // SAFETY: the owner of the pages gives them up; every reference into them borrowed it (1).
        let result = unsafe { sys::munmap(start, len_bytes) };
        // It fails only where the range is no mapping of ours, or the kernel is out of memory for a split; then the
        // pages stay, still tagged.
        debug_assert!(result.is_ok(), "munmap: {result:?}");
    }

    /// Takes pages out of the index and gives them key 0, for whoever mapped them.
    #[allow(unsafe_code, reason = "pkey_mprotect(2) and mprotect(2)")]
    pub(crate) fn release(&self, start: usize, len_bytes: usize) -> io::Result<()> {
        let _lock = self.lock();
        regions::remove(start);
        match self.record.protection() {
            // SAFETY: the pages were adopted by this domain; it only grants (1).
            Protection::Pkey(_) => unsafe {
                sys::pkey_mprotect(start, len_bytes, Prot::ReadWrite, Pkey::DEFAULT)
            },
            // SAFETY: the pages were adopted by this domain; it only grants (1).
            _ => unsafe { sys::mprotect(start, len_bytes, Prot::ReadWrite) },
        }
    }

    /// Puts other regions in the place of one, without touching pages.
    pub(crate) fn recut(&self, start: usize, ranges: &[(usize, usize)], label: &'static str) {
        let _lock = self.lock();
        regions::remove(start);
        for &(start, len_bytes) in ranges {
            regions::insert(regions::Record {
                start,
                end: start + len_bytes,
                label,
                is_writable: true,
                domain: self.record,
                serial: self.serial,
            });
        }
    }

    /// Changes the mode: leaving or entering `off` tags or untags every page of the domain.
    pub(crate) fn set_mode(&self, mode: Mode) -> io::Result<()> {
        let _lock = self.lock();
        let before = self.record.mode();
        // Off first, tags second: a thread that faults in between is let through.
        self.store_mode(mode);
        if (before == Mode::Off) == (mode == Mode::Off) {
            return Ok(());
        }
        self.protect_all().inspect_err(|_| {
            self.store_mode(before);
            // Back to what was: the pages that were changed were changeable.
            let _ = self.protect_all();
        })
    }

    fn store_mode(&self, mode: Mode) {
        self.record.set_mode(mode);
        self.window_serial.store(window_serial(self.record), SeqCst);
    }

    /// The domain's number for the path of every window; see the field.
    #[inline(always)]
    pub(crate) fn window_serial(&self) -> u32 {
        self.window_serial.load(Relaxed)
    }

    /// Opens a window of the `mprotect(2)` fallback: counts, and lets everyone in when it is the first.
    pub(crate) fn open_soft(&self, rights: Rights) -> io::Result<()> {
        self.change_soft(|grants| grants.open(rights))
    }

    /// Closes a window of the `mprotect(2)` fallback.
    pub(crate) fn close_soft(&self, rights: Rights) -> io::Result<()> {
        self.change_soft(|grants| grants.close(rights))
    }

    fn change_soft(&self, change: impl FnOnce(GrantCounts) -> GrantCounts) -> io::Result<()> {
        let _lock = self.lock();
        let before = self.record.soft_grants();
        let after = change(before);
        self.record.soft_grants.store(after.bits(), SeqCst);
        // While the mode is off the pages are open to all, whoever has a window.
        let is_open = self.record.is_off();
        if is_open || effective(self.closed, before.held()) == effective(self.closed, after.held())
        {
            return Ok(());
        }
        self.protect_all().inspect_err(|_| {
            self.record.soft_grants.store(before.bits(), SeqCst);
            let _ = self.protect_all();
        })
    }

    fn protect_all(&self) -> io::Result<()> {
        regions::of_domain(self.serial)
            .iter()
            .try_for_each(|record| self.protect(record))
    }

    /// Gives a region's pages the protection that mode, closed rights and open grants ask for now.
    fn protect(&self, region: &regions::Record) -> io::Result<()> {
        protect_pages(
            self.record,
            region.start,
            region.end - region.start,
            region.is_writable,
        )
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The lock guards pages, not data of ours: there is nothing that a panic could have left half done.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives pages of a domain the protection that its mode, closed rights and open grants ask for now. Takes no lock and
/// allocates nothing: the fault handler closes a pardon with it.
#[allow(unsafe_code, reason = "mprotect(2) and pkey_mprotect(2)")]
pub(crate) fn protect_pages(
    domain: &DomainRecord,
    start: usize,
    len_bytes: usize,
    is_writable: bool,
) -> io::Result<()> {
    let most = if is_writable {
        Prot::ReadWrite
    } else {
        Prot::Read
    };
    let is_off = domain.is_off();
    match domain.protection() {
        Protection::Pkey(pkey) => {
            let pkey = if is_off { Pkey::DEFAULT } else { pkey };
            // SAFETY: the pages are a region of this domain (1); references into them are used inside windows,
            // which the key lets through.
            unsafe { sys::pkey_mprotect(start, len_bytes, most, pkey) }
        }
        Protection::Mprotect if !is_off => {
            let prot = match effective(domain.closed(), domain.soft_grants().held()) {
                Rights::NoAccess => Prot::None,
                Rights::ReadOnly => Prot::Read,
                _ => most,
            };
            // SAFETY: the pages are a region of this domain (1); references into them are used inside windows,
            // which are counted in the grants.
            unsafe { sys::mprotect(start, len_bytes, prot) }
        }
        Protection::Mprotect | Protection::Unprotected => {
            // SAFETY: the pages are a region of this domain (1); it only grants.
            unsafe { sys::mprotect(start, len_bytes, most) }
        }
    }
}

impl Drop for DomainInner {
    fn drop(&mut self) {
        // Every region holds a reference to its domain: no page carries the key now.
        if let Gate::Pkey(keys, pkey) = self.gate {
            keys::release(keys, pkey, self.closed);
        }
        super::holders::remove(self.serial);
        self.record.release();
    }
}
