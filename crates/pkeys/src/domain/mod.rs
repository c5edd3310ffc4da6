//! Domains: a protection key with its pages and its name, owned as one value.
//!
//! * [`builder`]: how a domain is made.
//! * [`inner`]: its one owner, and every change to the protection of its pages.
//! * [`record`]: the part that fault handlers read.
//! * [`holders`]: who holds the keys.

mod builder;
mod holders;
pub(crate) mod inner;
pub(crate) mod record;

use core::sync::atomic::Ordering::Relaxed;
use std::io;
use std::sync::Arc;

use pkeys_core::{Mode, Pardon, Pkey, Rights};

pub use builder::{CreateError, DomainBuilder, MAX_DOMAINS, WithoutKeys};
pub(crate) use record::{DomainRecord, Protection};

use crate::domain::inner::{DomainInner, Gate};
use crate::window::{OpenError, Window};

/// A protection key with its regions and its name.
///
/// Data in a domain can be touched only while a [`Window`] on it is open, by the thread that opened it. What a thread
/// without a window may do are the domain's closed rights: nothing, or read. A domain is dropped like any value;
/// regions and collections that live in it keep its key until they are gone.
///
/// ```
/// # if pkeys::support().is_err() { return Ok(()) }
/// use pkeys::{Domain, Rights};
///
/// let ledger = Domain::builder("ledger").closed(Rights::ReadOnly).create()?;
/// let mut rows = ledger.map::<u64>(1_000)?;
/// rows.write()?[3] += 10;
/// assert_eq!(rows.read()?[3], 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Domain {
    pub(crate) inner: Arc<DomainInner>,
}

impl Domain {
    /// Starts a new domain. The name appears in reports: 1 to 64 bytes without control characters.
    pub const fn builder(name: &str) -> DomainBuilder<'_> {
        DomainBuilder::new(name)
    }

    /// Opens the domain for the calling thread until the window is dropped. Windows nest, and may be dropped in any
    /// order; the thread has the greatest rights that one of its open windows gives.
    ///
    /// A signal handler may open windows for itself: it starts closed, whatever its thread had open. The first window of a
    /// thread on a domain's key takes a lock and may allocate, though, so that one belongs outside of handlers.
    ///
    /// # Errors
    ///
    /// [`OpenError::NoRights`] when `rights` are [`Rights::NoAccess`]; [`OpenError::Os`] when the `mprotect(2)` of the
    /// fallback fails. With protection keys it does not fail today.
    #[inline]
    pub fn open(&self, rights: Rights) -> Result<Window<'_>, OpenError> {
        Window::open(&self.inner, rights)
    }

    /// The domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What a thread without a window may do.
    #[must_use]
    pub fn closed(&self) -> Rights {
        self.inner.closed
    }

    /// The domain's protection key; `None` where something else than a key protects it, or nothing.
    #[must_use]
    pub fn pkey(&self) -> Option<Pkey> {
        match self.inner.gate {
            Gate::Pkey(_, pkey) => Some(pkey),
            _ => None,
        }
    }

    /// What protects the domain.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self.inner.gate {
            Gate::Pkey(..) => Backend::Pkey,
            Gate::Mprotect => Backend::Mprotect,
            Gate::Unprotected => Backend::Unprotected,
        }
    }

    /// What happens on a stray access.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.inner.record.mode()
    }

    /// Changes what happens on a stray access, for all threads and from now on. Off takes the key from all pages of the
    /// domain, and leaving it gives the key back, which takes time in proportion to their number.
    ///
    /// # Errors
    ///
    /// What `pkey_mprotect(2)` or `mprotect(2)` answered; the mode is as it was.
    pub fn set_mode(&self, mode: Mode) -> io::Result<()> {
        self.inner.set_mode(mode)
    }

    /// Whether `PKEYS_MODE` was kept from setting the mode.
    #[must_use]
    pub fn is_mode_pinned(&self) -> bool {
        self.inner.is_mode_pinned
    }

    /// How stray accesses are let through in the modes relaxed and silent.
    #[must_use]
    pub fn pardon(&self) -> Pardon {
        self.inner.record.pardon()
    }

    /// Changes how stray accesses are let through in the modes relaxed and silent, from the next one on.
    pub fn set_pardon(&self, pardon: Pardon) {
        self.inner.record.set_pardon(pardon);
    }

    /// What the fault handlers have counted for this domain so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let counters = &self.inner.record.counters;
        Counters {
            stray_reads: counters.stray_reads.load(Relaxed),
            stray_writes: counters.stray_writes.load(Relaxed),
            pardons: counters.pardons.load(Relaxed),
            repairs: counters.repairs.load(Relaxed),
            reports: counters.reports.load(Relaxed),
        }
    }
}

/// What protects a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// A protection key: per thread, some 25 cycles a change.
    Pkey,
    /// `mprotect(2)`: for all threads at once, thousands of cycles a change.
    Mprotect,
    /// Nothing.
    Unprotected,
}

/// What the fault handlers have counted for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Stray reads, stopped or pardoned.
    pub stray_reads: u64,
    /// Stray writes, stopped or pardoned.
    pub stray_writes: u64,
    /// Stray accesses that were let through.
    pub pardons: u64,
    /// Reads that the closed rights allow, on threads whose register did not show it yet: mended without a word.
    pub repairs: u64,
    /// Reports written: in mode relaxed one for each place in the code.
    pub reports: u64,
}
