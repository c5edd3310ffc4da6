//! Places that are set by one thread and read by anybody, handlers among them, without a lock: for a function that handlers
//! call, and for a value that is made once.

#![allow(
    unsafe_code,
    reason = "keeps a function's address, or a value's, in an atomic"
)]

extern crate alloc;

use alloc::boxed::Box;
use core::marker::PhantomData;
use core::mem;
use core::ptr;
use core::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire, Release},
};

use crate::trap::fixup::Fault;
use crate::trap::frame::Frame;
use pkeys_kernel::pks::Context;

/// A type of functions.
///
/// # Safety
///
/// 1. It is a function pointer: `Option` of it is as large as an address, and `None` is zero.
pub(crate) unsafe trait Function: Copy {}

// SAFETY: (1) a function pointer.
unsafe impl Function for fn() {}
// SAFETY: (1) a function pointer.
unsafe impl Function for fn([u64; 3]) {}
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

/// A value that is made once while the kernel starts, and is there from then on.
#[derive(Debug)]
pub(crate) struct Once<T> {
    address: AtomicPtr<T>,
}

impl<T: Send + Sync + 'static> Once<T> {
    /// Not made yet.
    pub(crate) const fn new() -> Self {
        Self {
            address: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Makes it.
    ///
    /// # Panics
    ///
    /// The second time.
    pub(crate) fn set(&self, value: T) {
        let address = Box::into_raw(Box::new(value));
        let old = self.address.swap(address, AcqRel);
        assert!(old.is_null(), "made once");
    }

    /// The value.
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: null, or the one value that `set` has left for ever.
        unsafe { self.address.load(Acquire).as_ref() }
    }
}
