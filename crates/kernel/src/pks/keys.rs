//! Which supervisor key is whose: the table that the kernel was compiled with, and keys given out at run time.
//!
//! A subsystem that is always there has its key in the table: [`super::declared`]. What comes and goes (a device, a module)
//! asks [`Keys::allocate`]; when there is none left, the error says who holds them. A key with pages is not given back, nor
//! one that a thread has open: its number would be handed out to somebody else.
//!
//! The closed rights of all keys together are one register, which every context starts with: [`Keys::closed`], or what
//! the modes leave of it. Key 0 is open in it, always: no [`PksKey`] is 0.
//!
//! A fault handler may need the table while anybody holds its lock, so it does not take it: what it needs, the closed
//! rights, the name and the callback, stands in atomics.

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use lock_api::{Mutex, RawMutex};
use pkeys_core::{Excerpt, KeyRegister, KeySet, PageState, Pkey, Rights};

use super::callback::{CallbackCell, CallbackId};
use super::context::{Context, denied_by};
use super::declared::{Declared, pkey_at};
use super::key::PksKey;
use super::kmap::{Sharing, SharingCell};
use super::name::NameCell;
use super::system::Refresh;
use crate::mutant::{self, Mutant};

/// Who has a key, and how many pages carry it.
#[derive(Debug, Clone, Copy)]
struct Holder {
    name: &'static str,
    nr_pages: usize,
    is_declared: bool,
}

/// The supervisor keys of a system.
#[derive(Debug)]
pub struct Keys<L: RawMutex> {
    holders: Mutex<L, [Option<Holder>; Pkey::COUNT]>,
    closed: AtomicU32,
    shared: AtomicU16,
    pub(super) sharing: SharingCell,
    names: [NameCell; Pkey::COUNT],
    callbacks: [CallbackCell; Pkey::COUNT],
}

impl<L: RawMutex> Keys<L> {
    /// The keys of a table; the others are free, and closed. Constant, so that it can be a static.
    #[must_use]
    pub const fn new<const N: usize>(declared: &Declared<N>) -> Self {
        let mut holders = [None; Pkey::COUNT];
        let mut names = [const { NameCell::new("") }; Pkey::COUNT];
        let mut closed = ALL_CLOSED;
        let mut shared = KeySet::EMPTY;
        let mut place = 0;
        while place < N {
            let pkey = pkey_at(place);
            let declaration = declared.at(place);
            holders[pkey.index()] = Some(Holder {
                name: declaration.name,
                nr_pages: 0,
                is_declared: true,
            });
            names[pkey.index()] = NameCell::new(declaration.name);
            if let Ok(key) = PksKey::new(pkey) {
                closed = closed.with(pkey, denied_by(key, declaration.closed).get(pkey));
            }
            if matches!(declaration.pages, PageState::Shared) {
                shared = shared.with(pkey);
            }
            place += 1;
        }
        Self {
            holders: Mutex::new(holders),
            closed: AtomicU32::new(closed.bits()),
            shared: AtomicU16::new(shared.bits()),
            sharing: SharingCell::new(),
            names,
            callbacks: [const { CallbackCell::EMPTY }; Pkey::COUNT],
        }
    }

    /// What a context without a grant has in its register, while no mode is off.
    #[must_use]
    #[inline]
    pub fn closed(&self) -> KeyRegister {
        KeyRegister::from_bits(self.closed.load(Ordering::Relaxed))
    }

    /// The keys whose pages are shared ones.
    #[must_use]
    #[inline]
    pub fn shared(&self) -> KeySet {
        KeySet::from_bits(self.shared.load(Ordering::Relaxed))
    }

    /// The keys with pages that carry a shared key right now.
    #[must_use]
    #[inline]
    pub fn sharing(&self) -> Sharing {
        self.sharing.get()
    }

    /// Gives out the lowest free key.
    ///
    /// A CPU that has not loaded its register since then lets contexts do less than the closed rights with the key, never
    /// more; the fault that follows is found to be a false one, and the register is right from there on.
    ///
    /// # Errors
    ///
    /// [`Exhausted`], which names the holders.
    pub fn allocate(
        &self,
        name: &'static str,
        closed: Rights,
        pages: PageState,
    ) -> Result<PksKey, Exhausted> {
        let mut holders = self.holders.lock();
        let free = PksKey::all().find(|key| holders[key.pkey().index()].is_none());
        let Some(key) = free else {
            let name_of = |holder: &Option<Holder>| holder.map_or("", |holder| holder.name);
            let names = holders.iter().skip(1).map(name_of).collect();
            return Err(Exhausted { holders: names });
        };
        holders[key.pkey().index()] = Some(Holder {
            name,
            nr_pages: 0,
            is_declared: false,
        });
        self.set(key, name, closed, pages);
        Ok(key)
    }

    /// Makes the closed rights of a key no access, for good: before it is taken back, when CPUs may still have them in their
    /// registers.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`] for a key of the table and one that is free.
    pub fn close(&self, key: PksKey) -> Result<Refresh, ReleaseError> {
        let holders = self.holders.lock();
        let holder = holders[key.pkey().index()].ok_or(ReleaseError::Free { key })?;
        let Holder { name, .. } = holder;
        if holder.is_declared {
            return Err(ReleaseError::Declared { key, name });
        }
        let before = self.closed();
        self.set_closed(key, Rights::NoAccess);
        Ok(Refresh::if_needed(before != self.closed()))
    }

    /// Takes a key back. `contexts` are the threads' contexts: whoever gets the number next must
    /// not find it open in one of them. They are looked at under the lock. (That no handler has it open any more is the business of the holder, whose handlers
    /// these are.)
    ///
    /// # Errors
    ///
    /// [`ReleaseError`] for a key of the table, one that is free, one that pages carry, one with closed rights
    /// ([`Keys::close`] comes first), and one that a context has open.
    pub fn release<'a>(
        &self,
        key: PksKey,
        contexts: impl IntoIterator<Item = &'a Context>,
    ) -> Result<(), ReleaseError> {
        let mut holders = self.holders.lock();
        let holder = holders[key.pkey().index()].ok_or(ReleaseError::Free { key })?;
        let Holder { name, nr_pages, .. } = holder;
        if holder.is_declared {
            return Err(ReleaseError::Declared { key, name });
        }
        if nr_pages > 0 && !mutant::is(Mutant::PksPagesUncounted) {
            return Err(ReleaseError::InUse {
                key,
                name,
                nr_pages,
            });
        }
        if self.closed().rights(key.pkey()) != Rights::NoAccess {
            return Err(ReleaseError::NotClosed { key, name });
        }
        let is_open = contexts.into_iter().any(|context| context.has_open(key));
        if is_open && !mutant::is(Mutant::PksOpenKeyReleased) {
            return Err(ReleaseError::Open { key, name });
        }
        holders[key.pkey().index()] = None;
        self.callbacks[key.pkey().index()].set(None);
        self.set(key, "", Rights::NoAccess, PageState::Stray);
        Ok(())
    }

    /// Counts pages that get a key, before they get it, or have lost it (a negative number).
    ///
    /// # Errors
    ///
    /// [`ReleaseError::Free`]: no page may get a free key.
    pub fn count_pages(&self, key: PksKey, change: isize) -> Result<(), ReleaseError> {
        let mut holders = self.holders.lock();
        let holder = holders[key.pkey().index()]
            .as_mut()
            .ok_or(ReleaseError::Free { key })?;
        holder.nr_pages = holder.nr_pages.saturating_add_signed(change);
        Ok(())
    }

    /// How many pages carry a key.
    #[must_use]
    pub fn nr_pages(&self, key: PksKey) -> usize {
        self.holders.lock()[key.pkey().index()].map_or(0, |holder| holder.nr_pages)
    }

    /// Whose a key is, if it is anybody's. Takes the lock: not for handlers.
    #[must_use]
    pub fn name(&self, key: PksKey) -> Option<&'static str> {
        self.holders.lock()[key.pkey().index()].map(|holder| holder.name)
    }

    /// The beginning of the same without the lock, for handlers: empty if the key is nobody's, `None` if that changes
    /// right now.
    #[must_use]
    pub fn name_at_fault(&self, key: PksKey) -> Option<Excerpt> {
        self.names[key.pkey().index()].get()
    }

    /// Chooses the function that is asked about faults on a key first, or none.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::Free`].
    pub fn set_callback(
        &self,
        key: PksKey,
        callback: Option<CallbackId>,
    ) -> Result<(), ReleaseError> {
        let holders = self.holders.lock();
        if holders[key.pkey().index()].is_none() {
            return Err(ReleaseError::Free { key });
        }
        self.callbacks[key.pkey().index()].set(callback);
        Ok(())
    }

    /// The function that is asked about faults on a key first.
    #[must_use]
    #[inline]
    pub fn callback(&self, key: PksKey) -> Option<CallbackId> {
        self.callbacks[key.pkey().index()].get()
    }

    /// What handlers see of a key. Under the lock, so that no other change comes in between.
    fn set(&self, key: PksKey, name: &str, closed: Rights, pages: PageState) {
        let pkey = key.pkey();
        self.names[pkey.index()].set(name);
        let shared = match pages {
            PageState::Stray => self.shared().without(pkey),
            PageState::Shared => self.shared().with(pkey),
        };
        self.shared.store(shared.bits(), Ordering::Relaxed);
        self.set_closed(key, closed);
    }

    fn set_closed(&self, key: PksKey, rights: Rights) {
        let bits = denied_by(key, rights).get(key.pkey());
        let closed = self.closed().with(key.pkey(), bits);
        self.closed.store(closed.bits(), Ordering::Relaxed);
    }
}

/// Every key but key 0 closed.
const ALL_CLOSED: KeyRegister = KeyRegister::from_bits(!KeyRegister::mask(Pkey::DEFAULT));

/// There is no key left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// Who has the keys, from key 1 on.
    pub holders: Vec<&'static str>,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all supervisor keys are taken: ")?;
        for (key, name) in (1..).zip(&self.holders) {
            let separator = if key == 1 { "" } else { ", " };
            write!(f, "{separator}{key} by {name}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Exhausted {}

/// Why a key cannot be given back, or nothing be registered for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Nobody has the key.
    Free {
        /// The key.
        key: PksKey,
    },
    /// The key is in the table that the kernel was compiled with.
    Declared {
        /// The key.
        key: PksKey,
        /// Whose it is.
        name: &'static str,
    },
    /// Pages carry the key.
    InUse {
        /// The key.
        key: PksKey,
        /// Whose it is.
        name: &'static str,
        /// How many pages.
        nr_pages: usize,
    },
    /// Contexts without a grant may still use the key.
    NotClosed {
        /// The key.
        key: PksKey,
        /// Whose it is.
        name: &'static str,
    },
    /// A context has the key open.
    Open {
        /// The key.
        key: PksKey,
        /// Whose it is.
        name: &'static str,
    },
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free { key } => write!(f, "supervisor key {key} is free"),
            Self::Declared { key, name } => {
                write!(f, "supervisor key {key} was declared for {name}")
            }
            Self::InUse {
                key,
                name,
                nr_pages,
            } => write!(f, "supervisor key {key} of {name} is on {nr_pages} pages"),
            Self::NotClosed { key, name } => {
                write!(
                    f,
                    "supervisor key {key} of {name} is not closed to everybody"
                )
            }
            Self::Open { key, name } => {
                write!(f, "supervisor key {key} of {name} is open in a context")
            }
        }
    }
}

impl core::error::Error for ReleaseError {}
