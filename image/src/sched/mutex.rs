//! A lock whose waiters sleep. Not for handlers.

#![allow(unsafe_code, reason = "implements a lock for lock_api")]

use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};

use lock_api::{GuardSend, RawMutex};

use super::wait::WaitQueue;

/// The state of a lock.
#[derive(Debug)]
pub(crate) struct RawSleep {
    is_held: AtomicBool,
    waiting: WaitQueue,
}

/// Data behind a lock whose waiters sleep.
pub(crate) type Mutex<T> = lock_api::Mutex<RawSleep, T>;

// SAFETY: one caller at a time changes the flag from false to true, and who has done so is alone until it is cleared.
unsafe impl RawMutex for RawSleep {
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "how the trait gives the initial state"
    )]
    const INIT: Self = Self {
        is_held: AtomicBool::new(false),
        waiting: WaitQueue::new(),
    };

    type GuardMarker = GuardSend;

    fn lock(&self) {
        self.waiting.wait_until(|| self.try_lock());
    }

    fn try_lock(&self) -> bool {
        self.is_held
            .compare_exchange(false, true, Acquire, Relaxed)
            .is_ok()
    }

    unsafe fn unlock(&self) {
        self.is_held.store(false, Release);
        self.waiting.wake_all();
    }
}
