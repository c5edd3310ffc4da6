//! A spin lock, which keeps interrupts out while it is held.
//!
//! Handlers of interrupts take the same locks as threads, so that an interrupt on the CPU that holds one would wait for ever;
//! all locks that spin keep them out. Who waits for a thread sleeps, see [`crate::sched::mutex`].
//!
//! Who holds one may wait for other CPUs to forget what their TLBs hold. So who waits for one answers such calls, see
//! [`crate::smp::call`].

#![allow(unsafe_code, reason = "implements a lock for lock_api")]

use core::hint;
use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};

use lock_api::{GuardSend, RawMutex};

use crate::cpu::interrupts;
use crate::smp::call;

/// The state of a lock.
#[derive(Debug)]
pub(crate) struct RawSpin(AtomicBool);

/// Data behind a spin lock.
pub(crate) type Spin<T> = lock_api::Mutex<RawSpin, T>;

// SAFETY: one caller at a time sets the flag from false to true, and who has done so is alone until it is cleared.
unsafe impl RawMutex for RawSpin {
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "how the trait gives the initial state"
    )]
    const INIT: Self = Self(AtomicBool::new(false));

    type GuardMarker = GuardSend;

    fn lock(&self) {
        interrupts::push();
        while self.0.swap(true, Acquire) {
            while self.0.load(Relaxed) {
                call::answer();
                hint::spin_loop();
            }
        }
    }

    fn try_lock(&self) -> bool {
        interrupts::push();
        let is_ours = !self.0.swap(true, Acquire);
        if !is_ours {
            interrupts::pop();
        }
        is_ours
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Release);
        interrupts::pop();
    }
}
