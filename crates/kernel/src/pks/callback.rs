//! Functions that are asked about a fault on a key before any mode is.
//!
//! The owner of a key may know better than a mode what an access means: bring a page in, move it to another key, let this
//! context in. So a key may have a function. A fault handler reads which one it is, without a lock, and calls it; that is
//! why functions are not handed over at run time. They stand in a list that the kernel was compiled with, and a key has a
//! place in the list: a byte, which is read whole.
//!
//! The function runs in the fault handler's context, closed like any other. What it changes through [`Interrupted`] are
//! the rights of the context that faulted. They hold until that context ends, see [`super::pardon`].

use core::sync::atomic::{AtomicU8, Ordering};

use pkeys_core::Rights;

use super::context::Context;
use super::declared::is_equal;
use super::fault::KeyFault;
use super::key::PksKey;

/// A function that is asked about faults on pages of a key: takes the fault, the key, and the context that faulted. Gives
/// whether the access is to be tried again; if not, the mode decides.
///
/// It is called in the fault handler: no locks, no allocation, no formatting, no panics. One that says that the access is to
/// be tried again, and has changed nothing, is asked again for ever.
pub type Callback = fn(&KeyFault, PksKey, &Interrupted<'_>) -> bool;

/// The functions that a kernel was compiled with, by name.
#[derive(Debug, Clone, Copy)]
pub struct Callbacks(&'static [(&'static str, Callback)]);

/// The place of a function in [`Callbacks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackId(u8);

impl Callbacks {
    /// No functions.
    pub const NONE: Self = Self(&[]);

    /// The most that there may be.
    const MAX: usize = NO_CALLBACK as usize;

    /// A list.
    ///
    /// # Panics
    ///
    /// When there are more than 255: while compiling, if the list is a constant.
    #[must_use]
    pub const fn new(list: &'static [(&'static str, Callback)]) -> Self {
        assert!(list.len() <= Self::MAX, "there are too many functions");
        Self(list)
    }

    /// The place of a function.
    ///
    /// # Panics
    ///
    /// When there is none of that name: while compiling, if it is asked for in a constant.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the list has 255 places at most"
    )]
    pub const fn id(&self, name: &str) -> CallbackId {
        let mut place = 0;
        while place < self.0.len() {
            if is_equal(self.0[place].0, name) {
                return CallbackId(place as u8);
            }
            place += 1;
        }
        panic!("no callback has this name")
    }

    /// The function at a place. `None` if the place was one of another list.
    pub(super) fn get(&self, id: CallbackId) -> Option<Callback> {
        self.0.get(usize::from(id.0)).map(|(_, call)| *call)
    }
}

/// The function of a key: its place.
#[derive(Debug)]
pub(super) struct CallbackCell(AtomicU8);

/// What a key has for a place when it has no function.
const NO_CALLBACK: u8 = u8::MAX;

impl CallbackCell {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "a value to begin with; each use is a cell of its own"
    )]
    pub(super) const EMPTY: Self = Self(AtomicU8::new(NO_CALLBACK));

    pub(super) fn set(&self, callback: Option<CallbackId>) {
        let place = callback.map_or(NO_CALLBACK, |CallbackId(place)| place);
        self.0.store(place, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<CallbackId> {
        match self.0.load(Ordering::Relaxed) {
            NO_CALLBACK => None,
            place => Some(CallbackId(place)),
        }
    }
}

/// The context that faulted, as a callback may change it.
#[derive(Debug)]
pub struct Interrupted<'a>(pub(super) &'a Context);

impl Interrupted<'_> {
    /// Gives it rights on a key, which it has beside its grants until it ends.
    pub fn open(&self, key: PksKey, rights: Rights) {
        self.0.lend(key, rights);
    }

    /// Leaves it no more than these rights on a key, whatever it is granted, until it ends.
    pub fn close(&self, key: PksKey, rights: Rights) {
        self.0.deny(key, rights);
    }
}
