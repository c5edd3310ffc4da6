//! When threads that wait are to be woken.
//!
//! A thread waits for one thing at a time, so it has one time at most. A time that is no longer waited for does no harm:
//! the thread is woken, looks, and waits on. It is replaced by the next one and goes with the thread.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use lock_api::{Mutex, RawMutex};

use crate::abi::Errno;
use crate::kernel::Kernel;
use crate::platform::Platform;
use crate::time::NEVER;

/// The times of threads, by their numbers.
pub(crate) struct Timers<L: RawMutex> {
    by_thread: Mutex<L, BTreeMap<i32, u64>>,
    /// The earliest of them.
    next: AtomicU64,
}

impl<L: RawMutex> Timers<L> {
    pub(crate) const fn new() -> Self {
        Self {
            by_thread: Mutex::new(BTreeMap::new()),
            next: AtomicU64::new(NEVER),
        }
    }

    /// Sets a thread's time, and passes the earliest on if that has become earlier.
    fn set(&self, tid: i32, deadline: u64, pass_on: impl FnOnce(u64)) {
        let mut by_thread = self.by_thread.lock();
        by_thread.insert(tid, deadline);
        let before = self.next.load(Ordering::SeqCst);
        // Under the lock, so that no later time is passed on behind an earlier one.
        let next = self.look(&by_thread);
        if next < before {
            pass_on(next);
        }
    }

    /// A thread waits no longer.
    pub(crate) fn remove(&self, tid: i32) {
        let mut by_thread = self.by_thread.lock();
        if by_thread.remove(&tid).is_some() {
            self.look(&by_thread);
        }
    }

    /// Takes out the threads whose time has come, and passes the next time on.
    fn take_expired(&self, now: u64, pass_on: impl FnOnce(u64)) -> Vec<i32> {
        let mut by_thread = self.by_thread.lock();
        let mut expired = Vec::new();
        by_thread.retain(|tid, deadline| {
            if *deadline <= now {
                expired.push(*tid);
            }
            *deadline > now
        });
        let next = self.look(&by_thread);
        if next != NEVER {
            pass_on(next);
        }
        expired
    }

    /// Looks for the earliest time.
    fn look(&self, by_thread: &BTreeMap<i32, u64>) -> u64 {
        let next = by_thread.values().copied().min().unwrap_or(NEVER);
        self.next.store(next, Ordering::SeqCst);
        next
    }
}

impl<P: Platform> Kernel<P> {
    /// When [`Kernel::wake_expired`] has to be called next; `None` for as long as nobody waits with a limit.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        Some(self.timers.next.load(Ordering::SeqCst)).filter(|next| *next != NEVER)
    }

    /// Wakes the threads that have waited long enough. To be called with no lock of the library held: not in an interrupt
    /// of the library itself, but at the end of one that came in user mode or on an idle CPU. Where nobody's time has come
    /// it costs a load and a look at the clock.
    pub fn wake_expired(&self) {
        let Some(next) = self.next_deadline() else {
            return;
        };
        let Some(now) = self.platform.monotonic().filter(|now| *now >= next) else {
            return;
        };
        let expired = (self.timers).take_expired(now, |next| self.platform.set_timer(next));
        self.with_tasks(|tasks| {
            for tid in expired {
                tasks.wake(&self.platform, tid);
            }
        });
    }

    /// When a limit ends that counts from now: 1 for one of nothing, which needs no clock.
    pub(crate) fn end_of(&self, limit: u64) -> Result<u64, Errno> {
        if limit == 0 {
            return Ok(1);
        }
        Ok(self.now()?.saturating_add(limit).max(1))
    }

    /// Whether the end of a wait is there: 1 is always, [`NEVER`] never.
    pub(crate) fn is_over(&self, end: u64) -> bool {
        end == 1 || end != NEVER && self.platform.monotonic().is_some_and(|now| now >= end)
    }

    /// Has a thread woken at a time, if that ever comes.
    pub(crate) fn set_deadline(&self, tid: i32, deadline: u64) {
        if deadline != NEVER {
            (self.timers).set(tid, deadline, |next| self.platform.set_timer(next));
        }
    }
}
