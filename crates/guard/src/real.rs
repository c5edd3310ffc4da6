//! The functions behind the wrappers: what the program's C library has under these names.
//!
//! Each is noted when the loader binds it for the first time, so that a program with an allocator of its own keeps it.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A place for the address of a function.
#[derive(Debug)]
pub(crate) struct Slot(AtomicUsize);

impl Slot {
    /// Not known yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// The address; 0 while it is not known.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Notes the address, the first time.
    pub(crate) fn note(&self, function: usize) {
        let _ = self.0.compare_exchange(0, function, Relaxed, Relaxed);
    }
}

/// Notes functions in their slots; a value so that only the loader's questions, under the lock, do it.
#[derive(Debug, Default)]
pub(crate) struct Real(());

impl Real {
    /// Notes what a wrapper stands for.
    pub(crate) fn note(&self, slot: Option<&'static Slot>, function: usize) {
        if let Some(slot) = slot {
            slot.note(function);
        }
    }
}
