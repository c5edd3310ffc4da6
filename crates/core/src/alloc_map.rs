//! Which keys of an address space are allocated, by Linux's rules.
//!
//! `pkey_alloc(2)` gives the lowest free key, `pkey_free(2)` takes it back, and one key may be set aside for
//! execute-only memory: the kernel allocates it when it first needs it and hides it from both calls. Linux keeps a
//! bit map and, apart from it, the number of the execute-only key, under the lock of the address space. Here both
//! stand in one 32-bit word:
//!
//! | bits | meaning |
//! |---|---|
//! | 15:0 | bit *k*: key *k* is allocated |
//! | 31:16 | bit 16 + *k*: key *k* is the execute-only key; at most one, and allocated |
//!
//! so that a reader decides about a key with one load and can never see the map of one moment with the execute-only
//! key of another. The word may be put on a page that user space can read: a key may be used if
//! `word & !(word >> 16) & (1 << key)` is not zero.
//!
//! [`AllocationState`] is the word as a value, with the rules as functions from state to state. [`AllocationMap`] is
//! the word in memory, and applies them by compare-and-exchange. What Linux does and this map does as well: key 0 may
//! be freed and is then the next one to be allocated, even as the execute-only key; a key is freed while pages carry
//! it. Whoever wants better adds it above.
//!
//! Source: Linux `arch/x86/include/asm/pkeys.h`, `arch/x86/mm/pkeys.c`.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::key_set::KeySet;
use crate::pkey::Pkey;

/// Which keys are allocated at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct AllocationState(u32);

impl AllocationState {
    /// A new address space: key 0 is allocated, no key is execute-only.
    pub const INITIAL: Self = Self(1);

    /// The state in a word, or `None` when the word names two execute-only keys or one that is not allocated.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        let execute_only = bits >> 16;
        if execute_only & !bits == 0 && execute_only.count_ones() <= 1 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The word, laid out as at the top of this module.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Every key that is taken, the execute-only key among them.
    #[must_use]
    #[inline]
    pub const fn taken(self) -> KeySet {
        KeySet::from_bits((self.0 & 0xFFFF) as u16)
    }

    /// The keys that system calls accept: those taken, without the execute-only key.
    #[must_use]
    #[inline]
    pub const fn usable(self) -> KeySet {
        self.taken().difference(self.hidden())
    }

    /// The execute-only key, if there is one.
    #[must_use]
    #[inline]
    pub const fn execute_only(self) -> Option<Pkey> {
        self.hidden().lowest()
    }

    /// Whether system calls accept this key. Not if it is negative, above 15, free or execute-only.
    #[must_use]
    #[inline]
    pub const fn is_allocated(self, pkey: i32) -> bool {
        match Pkey::checked(pkey) {
            Ok(pkey) => self.usable().contains(pkey),
            Err(_) => false,
        }
    }

    /// Allocates the lowest free key; `None` when all sixteen are taken (`ENOSPC`).
    ///
    /// Linux also answers `ENOSPC` on a processor without keys. This map does not know the processor; ask before.
    #[must_use]
    #[inline]
    pub const fn allocate(self) -> Option<(Self, Pkey)> {
        match KeySet::ALL.difference(self.taken()).lowest() {
            Some(pkey) => Some((Self(self.0 | KeySet::of(pkey).bits() as u32), pkey)),
            None => None,
        }
    }

    /// Frees a key, whichever pages carry it.
    ///
    /// # Errors
    ///
    /// [`FreeError`] for a key that [`AllocationState::is_allocated`] denies.
    #[inline]
    pub const fn free(self, pkey: i32) -> Result<Self, FreeError> {
        let Ok(pkey) = Pkey::checked(pkey) else {
            return Err(FreeError::OutOfRange { pkey });
        };
        if self.hidden().contains(pkey) {
            Err(FreeError::ExecuteOnly { pkey })
        } else if self.taken().contains(pkey) {
            Ok(Self(self.0 & !(KeySet::of(pkey).bits() as u32)))
        } else {
            Err(FreeError::NotAllocated { pkey })
        }
    }

    /// The execute-only key, which is allocated if there is none yet: the lowest free. `None` when there is neither
    /// one nor a free key; Linux then maps the memory readable, without an error.
    #[must_use]
    #[inline]
    pub const fn allocate_execute_only(self) -> Option<(Self, Pkey)> {
        if let Some(pkey) = self.execute_only() {
            return Some((self, pkey));
        }
        match self.allocate() {
            Some((next, pkey)) => {
                let hidden = (KeySet::of(pkey).bits() as u32) << 16;
                Some((Self(next.0 | hidden), pkey))
            }
            None => None,
        }
    }

    const fn hidden(self) -> KeySet {
        KeySet::from_bits((self.0 >> 16) as u16)
    }
}

impl fmt::Debug for AllocationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocationState")
            .field("taken", &self.taken())
            .field("execute_only", &self.execute_only())
            .finish()
    }
}

/// What an [`AllocationMap`] keeps its word in: 32 bits that threads load and exchange as a whole.
///
/// That is an [`AtomicU32`]. A test that goes through all interleavings of threads puts its own word here, which tells it
/// of every access, and so tests the very functions that are used.
pub trait Word {
    /// As [`AtomicU32::load`].
    fn load(&self, order: Ordering) -> u32;

    /// As [`AtomicU32::compare_exchange_weak`].
    ///
    /// # Errors
    ///
    /// The word as it is, if it was not `current` or for no reason at all.
    fn compare_exchange_weak(
        &self,
        current: u32,
        next: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32>;
}

impl Word for AtomicU32 {
    #[inline]
    fn load(&self, order: Ordering) -> u32 {
        self.load(order)
    }

    #[inline]
    fn compare_exchange_weak(
        &self,
        current: u32,
        next: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        self.compare_exchange_weak(current, next, success, failure)
    }
}

/// The word in memory. Threads may use it at the same time without a lock.
///
/// That a map is consistent by itself does not make a larger change so: a kernel changes it under the lock of the
/// address space, since otherwise `pkey_mprotect` could give pages a key that is freed between its check and its work.
#[derive(Debug)]
#[repr(transparent)]
pub struct AllocationMap<W = AtomicU32>(W);

impl AllocationMap {
    /// The map of a new address space: key 0 is allocated, no key is execute-only.
    #[must_use]
    pub const fn new() -> Self {
        Self::from_state(AllocationState::INITIAL)
    }

    /// A map that begins with a state, such as the parent's after fork.
    #[must_use]
    pub const fn from_state(state: AllocationState) -> Self {
        Self(AtomicU32::new(state.bits()))
    }
}

impl<W: Word> AllocationMap<W> {
    /// A map in a word that holds an [`AllocationState`].
    #[must_use]
    pub const fn from_word(word: W) -> Self {
        Self(word)
    }

    /// The state at one moment. What follows from two questions to the same snapshot is consistent.
    #[must_use]
    #[inline]
    pub fn snapshot(&self) -> AllocationState {
        // Acquire pairs with the release in `transition`: who finds a key allocated also sees what its allocator
        // wrote before it. On x86 this costs nothing, a plain load is one.
        AllocationState(self.0.load(Ordering::Acquire))
    }

    /// Whether system calls accept this key at the moment: one load, see [`AllocationState::is_allocated`].
    #[must_use]
    #[inline]
    pub fn is_allocated(&self, pkey: i32) -> bool {
        self.snapshot().is_allocated(pkey)
    }

    /// The execute-only key, if there is one.
    #[must_use]
    pub fn execute_only(&self) -> Option<Pkey> {
        self.snapshot().execute_only()
    }

    /// Allocates the lowest free key; `None` when there is none (`ENOSPC`).
    pub fn allocate(&self) -> Option<Pkey> {
        self.transition(|state| state.allocate().ok_or(())).ok()
    }

    /// Frees a key, whichever pages carry it.
    ///
    /// # Errors
    ///
    /// [`FreeError`] for a key that [`AllocationMap::is_allocated`] denies; all of them are `EINVAL` in Linux.
    pub fn free(&self, pkey: i32) -> Result<(), FreeError> {
        self.transition(|state| Ok((state.free(pkey)?, ())))
    }

    /// The execute-only key, which is allocated if there is none yet. `None` when no key is free for it.
    pub fn allocate_execute_only(&self) -> Option<Pkey> {
        self.transition(|state| state.allocate_execute_only().ok_or(()))
            .ok()
    }

    /// Applies a step to the state until no other thread's change came in between. A step that fails changes nothing.
    fn transition<T, E>(
        &self,
        step: impl Fn(AllocationState) -> Result<(AllocationState, T), E>,
    ) -> Result<T, E> {
        // Relaxed suffices for a value that is only the input of a pure function: if the exchange succeeds it was
        // current, and if the step fails nothing is read on the strength of it.
        let mut current = self.0.load(Ordering::Relaxed);
        loop {
            let (next, result) = step(AllocationState(current))?;
            // Release, so that what the last owner of a key did is before its `free`; acquire, so that it is before
            // whatever the next owner does after its `allocate`.
            match self.0.compare_exchange_weak(
                current,
                next.bits(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(result),
                Err(changed) => current = changed,
            }
        }
    }
}

impl Default for AllocationMap {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a key cannot be freed. Linux says `EINVAL` to all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FreeError {
    /// There is no key with that number.
    OutOfRange {
        /// The number that was given.
        pkey: i32,
    },
    /// The key is free: it was never allocated, or is freed twice.
    NotAllocated {
        /// The key that was given.
        pkey: Pkey,
    },
    /// The kernel holds the key for execute-only memory.
    ExecuteOnly {
        /// The key that was given.
        pkey: Pkey,
    },
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { pkey } => {
                write!(f, "{pkey} is not a protection key: keys are 0 to 15")
            }
            Self::NotAllocated { pkey } => write!(f, "protection key {pkey} is not allocated"),
            Self::ExecuteOnly { pkey } => {
                write!(f, "protection key {pkey} is held for execute-only memory")
            }
        }
    }
}

impl core::error::Error for FreeError {}
