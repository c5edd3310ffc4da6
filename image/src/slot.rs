//! A place for a function that handlers call: set by one thread, read by any handler, without a lock.

#![allow(unsafe_code, reason = "keeps a function's address in an atomic")]

use core::marker::PhantomData;
use core::mem;
use core::ptr;
use core::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Release},
};

use crate::pks::Context;
use crate::trap::fixup::Fault;
use crate::trap::frame::Frame;

/// A type of functions.
///
/// # Safety
///
/// 1. It is a function pointer: `Option` of it is as large as an address, and `None` is zero.
pub(crate) unsafe trait Function: Copy {}

// SAFETY: (1) a function pointer.
unsafe impl Function for fn() {}
// SAFETY: (1) a function pointer.
unsafe impl Function for fn(u64, u64) {}
// SAFETY: (1) a function pointer.
unsafe impl Function for fn(&Frame) {}
// SAFETY: (1) a function pointer.
unsafe impl Function for fn(&mut Frame, Fault, &Context) -> bool {}

/// A function of a type, or none.
#[derive(Debug)]
pub(crate) struct Slot<F> {
    address: AtomicPtr<()>,
    function: PhantomData<F>,
}

impl<F: Function> Slot<F> {
    /// None.
    pub(crate) const fn empty() -> Self {
        Self {
            address: AtomicPtr::new(ptr::null_mut()),
            function: PhantomData,
        }
    }

    /// Has handlers call this one, or none.
    pub(crate) fn set(&self, function: Option<F>) {
        // SAFETY: both are as large as an address, by the trait's condition.
        let address = unsafe { mem::transmute_copy::<Option<F>, *mut ()>(&function) };
        self.address.store(address, Release);
    }

    /// The one to call.
    pub(crate) fn get(&self) -> Option<F> {
        let address = self.address.load(Acquire);
        // SAFETY: `set` stored a function of this type, or null, which is `None`.
        unsafe { mem::transmute_copy::<*mut (), Option<F>>(&address) }
    }
}
