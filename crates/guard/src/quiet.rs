//! What is done with all signals blocked, locks above all.
//!
//! The loader calls in at a function's first call, and a program may map memory, in a signal handler too. A handler that interrupted
//! the lock's holder would wait for ever. The allocator's lock is held under one of these, or where no handler can be.
#![allow(unsafe_code, reason = "signal masks")]

use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something locked, with all signals blocked on the thread that holds it.
#[derive(Debug)]
pub(crate) struct Locked<T: 'static> {
    /// There until the drop.
    lock: Option<MutexGuard<'static, T>>,
    mask: libc::sigset_t,
}

/// Blocks the signals, then takes the lock.
pub(crate) fn lock<T>(mutex: &'static Mutex<T>) -> Locked<T> {
    let mask = block_signals();
    let lock = mutex.lock().unwrap_or_else(PoisonError::into_inner);
    Locked {
        lock: Some(lock),
        mask,
    }
}

/// Runs `body` with all signals blocked: for what allocates where a handler could come in that passes a gate for the first time.
pub(crate) fn without_signals<R>(body: impl FnOnce() -> R) -> R {
    let mask = block_signals();
    let result = body();
    restore_signals(&mask);
    result
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.lock {
            Some(lock) => lock,
            None => crate::refuse::die("a lock was used after it was given back"),
        }
    }
}

impl<T> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.lock {
            Some(lock) => lock,
            None => crate::refuse::die("a lock was used after it was given back"),
        }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        drop(self.lock.take());
        restore_signals(&self.mask);
    }
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: a mask that the kernel gave.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, core::ptr::null_mut()) };
}

fn block_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is a local variable.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // A stray access inside the lock would be lost with these blocked.
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGTRAP, libc::SIGABRT] {
        // SAFETY: as above.
        unsafe { libc::sigdelset(all.as_mut_ptr(), signal) };
    }
    // SAFETY: both sets are local variables, filled before.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) };
    // SAFETY: zeroed memory is a set too.
    unsafe { before.assume_init() }
}
