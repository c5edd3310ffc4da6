//! The supervisor keys of a system, as one value: which keys there are, the settings, and what was counted.
//!
//! Everything in it that a fault handler reads is atomic. It is constant to make, so that it can be a static that is there
//! before the first fault.
//!
//! # Modes that are off
//!
//! A knob that is off opens the closed rights of all keys that it rules. That is computed from the settings each time that
//! the closed rights are asked for, not stored beside them: a fault handler that finds a mode off also finds the
//! register open that its context will be left with, and so a fault that comes in a race with the change comes once.

use lock_api::RawMutex;
use pkeys_core::{KeyRegister, KeySet, Knobs, Mode};

use super::callback::{Callback, Callbacks};
use super::counters::Counters;
use super::declared::Declared;
use super::key::PksKey;
use super::keys::Keys;
use super::modes::{Modes, Settings};
use super::sites::Sites;
use crate::mutant::{self, Mutant};

/// The supervisor keys of a system.
#[derive(Debug)]
pub struct Pks<L: RawMutex> {
    keys: Keys<L>,
    modes: Modes,
    callbacks: Callbacks,
    pub(super) sites: Sites,
    pub(super) counters: Counters,
}

impl<L: RawMutex> Pks<L> {
    /// The keys that the kernel was compiled with, its functions for faults, and settings to begin with.
    #[must_use]
    pub const fn new<const N: usize>(
        declared: &Declared<N>,
        callbacks: Callbacks,
        settings: Settings,
    ) -> Self {
        Self {
            keys: Keys::new(declared),
            modes: Modes::new(settings),
            callbacks,
            sites: Sites::new(),
            counters: Counters::new(),
        }
    }

    /// Which key is whose.
    #[must_use]
    #[inline]
    pub const fn keys(&self) -> &Keys<L> {
        &self.keys
    }

    /// How many stray accesses there were.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What a context without a grant has in its register: the closed rights of each key, and all rights on those whose
    /// mode is off.
    #[must_use]
    #[inline]
    pub fn closed(&self) -> KeyRegister {
        self.closed_under(self.knobs())
    }

    #[inline]
    fn closed_under(&self, knobs: Knobs) -> KeyRegister {
        let closed = self.keys.closed();
        let is_any_off = knobs.stray == Mode::Off || knobs.shared == Mode::Off;
        if !is_any_off || mutant::is(Mutant::PksOffStaysClosed) {
            return closed;
        }
        let shared = self.keys.shared();
        let mut open = KeySet::EMPTY;
        if knobs.shared == Mode::Off {
            open = open.union(shared);
        }
        if knobs.stray == Mode::Off {
            open = open.union(KeySet::ALL.difference(shared));
        }
        closed.merge(KeyRegister::ALL_OPEN, open)
    }

    /// The settings.
    #[must_use]
    #[inline]
    pub fn settings(&self) -> Settings {
        self.modes.get()
    }

    /// The two knobs.
    #[must_use]
    #[inline]
    pub fn knobs(&self) -> Knobs {
        self.settings().knobs
    }

    /// Changes the settings, at any time. Faults from now on are judged by the new ones; the change of the closed rights that
    /// goes with a mode is made when each CPU has loaded its register, which is the caller's to see to.
    pub fn set(&self, settings: Settings) -> Refresh {
        let before = self.modes.swap(settings);
        let [before, after] = [before, settings].map(|each| self.closed_under(each.knobs));
        Refresh::if_needed(before != after)
    }

    /// The function that is asked about faults on a key.
    pub(super) fn callback(&self, key: PksKey) -> Option<Callback> {
        self.callbacks.get(self.keys.callback(key)?)
    }
}

/// The closed rights may have changed: every CPU is to load its register, by [`super::refresh`], before the change counts
/// as made. Contexts that do not run load it when they are next brought to run.
#[must_use = "CPUs go on with the old closed rights"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    is_needed: bool,
}

impl Refresh {
    pub(super) const fn if_needed(is_needed: bool) -> Self {
        Self { is_needed }
    }

    /// Calls a function that makes every CPU call [`super::refresh`] and waits for them, if there is a need.
    pub fn on_every_cpu(self, call: impl FnOnce()) {
        if self.is_needed {
            call();
        }
    }

    /// Whether the closed rights have changed.
    #[must_use]
    pub const fn is_needed(self) -> bool {
        self.is_needed
    }
}
