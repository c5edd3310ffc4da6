//! The thread's `errno`, which a signal handler leaves as it found it.
#![allow(unsafe_code, reason = "errno(3)")]

use core::ffi::c_int;

/// The calling thread's `errno`.
pub(super) fn get() -> c_int {
    // SAFETY: the C library gives the address of the calling thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { errno.read() }
}

/// Sets the calling thread's `errno`.
pub(super) fn set(value: c_int) {
    // SAFETY: the C library gives the address of the calling thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { errno.write(value) };
}
