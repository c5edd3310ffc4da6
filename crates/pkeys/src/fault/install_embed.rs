//! What was there before the handlers, as it is seen and changed from outside: a program's call of `sigaction(2)` that somebody
//! keeps from replacing them.
#![allow(unsafe_code, reason = "leaked actions out of atomics")]

use core::ffi::c_int;
use core::sync::atomic::{Ordering::AcqRel, Ordering::Acquire};

use crate::fault::install::PREVIOUS;

/// The action that follows this library's handler of a signal; `None` for a signal that it does not handle (yet).
#[must_use]
pub fn current_action(signal: c_int) -> Option<libc::sigaction> {
    let (_, previous) = PREVIOUS.iter().find(|(number, _)| *number == signal)?;
    // SAFETY: null or a leaked action, which is never freed.
    unsafe { previous.load(Acquire).as_ref() }.copied()
}

/// Changes it, and gives the one before.
pub fn replace_action(signal: c_int, action: libc::sigaction) -> Option<libc::sigaction> {
    let (_, previous) = PREVIOUS.iter().find(|(number, _)| *number == signal)?;
    if previous.load(Acquire).is_null() {
        return None;
    }
    // The one before stays allocated: a handler on another thread may be reading it.
    let before = previous.swap(Box::into_raw(Box::new(action)), AcqRel);
    // SAFETY: null or a leaked action, which is never freed.
    unsafe { before.as_ref() }.copied()
}
