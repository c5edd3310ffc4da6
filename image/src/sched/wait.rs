//! Waiting for something that another thread or a handler brings about.

extern crate alloc;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use super::{Thread, current, park, unpark};
use crate::sync::Spin;

/// The threads that wait.
#[derive(Debug)]
pub(crate) struct WaitQueue(Spin<Vec<Arc<Thread>>>);

impl WaitQueue {
    /// Nobody waits.
    pub(crate) const fn new() -> Self {
        Self(Spin::new(Vec::new()))
    }

    /// Waits until something holds. Whoever makes it hold calls [`WaitQueue::wake_all`] afterwards.
    ///
    /// The thread is on the list before it looks, so that what happens after the look wakes it.
    pub(crate) fn wait_until(&self, mut holds: impl FnMut() -> bool) {
        while !holds() {
            let Some(me) = current() else { continue };
            self.0.lock().push(me);
            if holds() {
                // On the list still; an unnecessary wake-up is harmless.
                return;
            }
            park();
        }
    }

    /// Has everybody look again.
    pub(crate) fn wake_all(&self) {
        let waiting = mem::take(&mut *self.0.lock());
        for thread in waiting {
            unpark(&thread);
        }
    }
}
