//! For code that puts somebody else's memory behind a key: `pkeys guard`, and whoever builds something like it.
//!
//! A program that uses this library says itself which data is in a domain, opens windows, and installs its signal handlers
//! before or after. Code that works on an unmodified program has none of that: the memory is there already, the key is
//! opened by gates of its own, and the program's calls of `sigaction(2)` have to be kept from replacing the fault
//! handlers. The functions here are the seams for it. Everything else, policy, pardons and reports, is the same.
#![allow(
    unsafe_code,
    reason = "function pointers out of atomics, and pages that somebody else mapped"
)]

use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Acquire, Ordering::Release};
use std::io;

use pkeys_core::{Pardon, Pkey};

use crate::domain::Domain;
use crate::domain::inner::Pages;

pub use crate::fault::install_embed::{current_action, replace_action};
pub use crate::fork::{after_in_child, after_in_parent, before};

/// A block of an allocator inside a region, for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// First address of the block.
    pub start: usize,
    /// Its length in bytes, as it was asked for.
    pub len_bytes: usize,
    /// Who asked for it; empty where that is not known.
    pub origin: &'static str,
    /// What a reader may do about it; empty for nothing.
    pub advice: &'static str,
}

impl Block {
    /// A block of that length at that address.
    #[must_use]
    pub const fn new(start: usize, len_bytes: usize) -> Self {
        Self {
            start,
            len_bytes,
            origin: "",
            advice: "",
        }
    }

    /// Says who asked for it, and what to do about an access to it.
    #[must_use]
    pub const fn with_origin(mut self, origin: &'static str, advice: &'static str) -> Self {
        self.origin = origin;
        self.advice = advice;
        self
    }
}

/// Finds the block of an address, in a signal handler.
pub type BlockFn = fn(usize) -> Option<Block>;

/// Whether a pardon on that key may last until a context of the caller's ends; see [`set_context_fn`].
pub type ContextFn = fn(Pkey, Pardon) -> bool;

static CONTEXT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets the function that is asked how long a pardon lasts. It is called in a signal handler on the thread that strayed. When it gives
/// true, the key stays open on the thread, and the caller closes it when the thread's context ends.
pub fn set_context_fn(function: ContextFn) {
    CONTEXT.store(function as *mut (), Release);
}

static HAS_GATES: AtomicBool = AtomicBool::new(false);

/// Says that keys are opened by gates around a library, not by windows of the program's own: reports then speak of gates, which a
/// user of the program has asked for, and not of windows, which nobody there has heard of.
pub fn speak_of_gates() {
    HAS_GATES.store(true, Release);
}

/// Whether that was said.
pub(crate) fn has_gates() -> bool {
    HAS_GATES.load(Acquire)
}

/// Looks at the address of a fault that is none of any domain's, in a signal handler; see [`set_other_fn`].
pub type OtherFn = fn(usize);

static OTHER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets the function that is told of faults that are none of any domain's, before the handler that was there before: an embedder may
/// have pages of its own that are never to be touched, and end the process with a word about it.
pub fn set_other_fn(function: OtherFn) {
    OTHER.store(function as *mut (), Release);
}

/// Tells that function.
pub(crate) fn tell_other(addr: usize) {
    let pointer = OTHER.load(Acquire);
    if pointer.is_null() {
        return;
    }
    // SAFETY: the only non-null values stored are function pointers of this type.
    let function = unsafe { core::mem::transmute::<*mut (), OtherFn>(pointer) };
    function(addr);
}

/// Asks that function; false where there is none.
pub(crate) fn keeps_open(pkey: Pkey, pardon: Pardon) -> bool {
    let pointer = CONTEXT.load(Acquire);
    if pointer.is_null() {
        return false;
    }
    // SAFETY: the only non-null values stored are function pointers of this type.
    let function = unsafe { core::mem::transmute::<*mut (), ContextFn>(pointer) };
    function(pkey, pardon)
}

impl Domain {
    /// Puts pages behind the domain's key that somebody else has mapped. They are found in reports under that name.
    ///
    /// # Safety
    ///
    /// 1. The pages are mapped, readable and writable, aligned to 4096 bytes, and in no other domain. They may be shared with
    ///    other processes, which the key does not keep out.
    /// 2. Whoever has references into them uses them only while the thread has the key open.
    /// 3. They are not unmapped before [`Domain::give_back`].
    ///
    /// # Errors
    ///
    /// What `pkey_mprotect(2)` answered.
    pub unsafe fn adopt(
        &self,
        start: usize,
        len_bytes: usize,
        label: &'static str,
    ) -> io::Result<()> {
        self.inner.attach(Pages {
            start,
            len_bytes,
            label,
            is_writable: true,
        })
    }

    /// Gives pages back that were adopted: they have key 0 again, and are no region of the domain.
    ///
    /// # Errors
    ///
    /// What `pkey_mprotect(2)` answered: nothing starts there any more.
    pub fn give_back(&self, start: usize, len_bytes: usize) -> io::Result<()> {
        self.inner.release(start, len_bytes)
    }

    /// Says what is left of pages that were adopted, after their owner has unmapped or moved a part of them, or before: the region that
    /// starts there goes, and each of these ranges, given as start and length, is one from now on. The pages themselves are not
    /// touched; the kernel leaves them the key when they move.
    pub fn recut(&self, start: usize, ranges: &[(usize, usize)], label: &'static str) {
        self.inner.recut(start, ranges, label);
    }
}

/// The signals whose handlers this library keeps for itself.
#[must_use]
pub fn is_kept(signal: c_int) -> bool {
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGTRAP].contains(&signal)
}
