//! Allocation of hardware keys for domains, and the quarantine that keeps a number from being handed out too early.
//!
//! `pkey_free(2)` asks nothing: pages and threads keep the number's rights, and the next owner shares them. Here a key
//! comes back only when its domain has no pages left, and is not used again
//!
//! * while a thread still holds a grant on it (a window that was leaked by `mem::forget`), or has it open by a pardon;
//! * for a domain closed to all access after one closed to writes only: threads that had the old one open were left
//!   with its closed rights, which would let them read the new one. Such keys go to the next read-only domain.
//!
//! A thread that was *created* inside an open window is not seen here: it inherited the register and holds no grant.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use core::sync::atomic::Ordering::{AcqRel, Acquire};
use pkeys_core::{KeySet, Pkey, Rights};

use crate::registry::registry;
use crate::support::Keys;
use crate::{sys, thread};

/// Keys that stay allocated in the kernel and belong to no domain.
#[derive(Debug)]
pub(crate) struct Parked {
    /// Some thread held them when their domain went.
    held: Held,
    /// Threads may be left with read access: only for domains that are closed to writes alone.
    read_only: KeySet,
}

/// Keys that a thread may still have open, by what the domain's closed rights were.
#[derive(Debug)]
struct Held {
    no_access: KeySet,
    read_only: KeySet,
}

static PARKED: Mutex<Parked> = Mutex::new(Parked {
    held: Held {
        no_access: KeySet::EMPTY,
        read_only: KeySet::EMPTY,
    },
    read_only: KeySet::EMPTY,
});

/// Why there is no key for a domain.
#[derive(Debug)]
pub(crate) enum AllocateError {
    /// All keys of the process are taken, this many of them by the quarantine.
    Exhausted { parked: usize },
    /// The kernel refused.
    Os(io::Error),
}

/// Takes a key for a domain with these closed rights and closes it in the calling thread.
pub(crate) fn allocate(keys: Keys, closed: Rights) -> Result<Pkey, AllocateError> {
    let mut parked = lock();
    parked.settle();
    let pkey = match parked.take(closed) {
        Some(pkey) => pkey,
        None => sys::pkey_alloc(closed.access_bits()).map_err(|error| {
            if error.raw_os_error() == Some(libc::ENOSPC) {
                parked.exhausted()
            } else {
                AllocateError::Os(error)
            }
        })?,
    };
    set_current(keys, pkey, closed);
    registry().keys.fetch_or(1 << u32::from(pkey.get()), AcqRel);
    Ok(pkey)
}

/// Gives back the key of a domain that has no pages left.
pub(crate) fn release(keys: Keys, pkey: Pkey, closed: Rights) {
    registry()
        .keys
        .fetch_and(!(1 << u32::from(pkey.get())), AcqRel);
    let mut parked = lock();
    if closed == Rights::NoAccess {
        parked.held.no_access = parked.held.no_access.with(pkey);
    } else {
        parked.held.read_only = parked.held.read_only.with(pkey);
    }
    if thread::with(|state| state.grants(pkey).is_empty()) {
        set_current(keys, pkey, Rights::NoAccess);
    }
    parked.settle();
}

/// Whether a key is allocated through this library: one load of the allocation map.
#[inline]
pub(crate) fn is_allocated(pkey: Pkey) -> bool {
    registry().keys.load(Acquire) & (1 << u32::from(pkey.get())) != 0
}

/// Marks a key as allocated or not for [`Key`](crate::Key), which has no pages of its own to wait for.
pub(crate) fn mark(pkey: Pkey, is_allocated: bool) -> bool {
    let bit = 1 << u32::from(pkey.get());
    let before = if is_allocated {
        registry().keys.fetch_or(bit, AcqRel)
    } else {
        registry().keys.fetch_and(!bit, AcqRel)
    };
    before & bit != 0
}

impl Parked {
    /// Lets go of the keys that no thread holds any more.
    fn settle(&mut self) {
        for pkey in self.held.no_access.iter() {
            if !thread::any_holds(pkey) {
                self.held.no_access = self.held.no_access.without(pkey);
                free(pkey);
            }
        }
        for pkey in self.held.read_only.iter() {
            if !thread::any_holds(pkey) {
                self.held.read_only = self.held.read_only.without(pkey);
                self.read_only = self.read_only.with(pkey);
            }
        }
    }

    /// A key that may serve a domain with these closed rights.
    fn take(&mut self, closed: Rights) -> Option<Pkey> {
        if closed == Rights::NoAccess {
            return None;
        }
        let pkey = self.read_only.iter().next()?;
        self.read_only = self.read_only.without(pkey);
        Some(pkey)
    }

    fn exhausted(&self) -> AllocateError {
        let Held {
            no_access,
            read_only,
        } = &self.held;
        let parked = self.read_only.union(*no_access).union(*read_only);
        AllocateError::Exhausted {
            parked: parked.len(),
        }
    }
}

#[allow(unsafe_code, reason = "pkey_free(2)")]
fn free(pkey: Pkey) {
    // SAFETY: the key's domain had no pages left and no thread holds it (1).
    let result = unsafe { sys::pkey_free(pkey) };
    // The key was allocated by this process and is freed once: the kernel has no reason to refuse.
    debug_assert!(result.is_ok(), "pkey_free({pkey}): {result:?}");
}

#[allow(unsafe_code, reason = "WRPKRU")]
fn set_current(keys: Keys, pkey: Pkey, rights: Rights) {
    let register = keys.pku.read().with(pkey, rights.access_bits());
    // SAFETY: the key is not key 0 (the kernel keeps that one allocated) (1) and belongs to this library (2).
    unsafe { keys.pku.write(register) };
}

/// The quarantine, locked.
pub(crate) type Lock = MutexGuard<'static, Parked>;

/// Locks the quarantine; also held across `fork(2)`, so that the child does not inherit it locked by a thread it has not.
pub(crate) fn lock() -> Lock {
    PARKED.lock().unwrap_or_else(PoisonError::into_inner)
}
