//! Ends of a program that cannot be guarded: one line, and a status. Nothing here allocates or takes a lock.
#![allow(unsafe_code, reason = "write(2) and _exit(2)")]

use crate::settings::NOT_GUARDED;

/// One line on standard error. Several of them stay whole, as a pipe or a terminal takes each in one piece.
pub(crate) fn say(text: &str) {
    let line = format!("pkeys guard: {text}\n");
    // SAFETY: the bytes of the line.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
}

/// The program is not to start, or a library not to be used: says why and ends the process with status 3.
pub(crate) fn not_guarded(why: &str) -> ! {
    say(why);
    exit(NOT_GUARDED)
}

/// Ends the process at once, without handlers and destructors.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: takes a number.
    unsafe { libc::_exit(status) }
}

/// Memory is damaged, or there is none for the gates: ends the process as `abort(3)` does.
pub(crate) fn die(why: &'static str) -> ! {
    for part in ["pkeys guard: ", why, "\n"] {
        // SAFETY: the bytes of the text.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: takes nothing.
    unsafe { libc::abort() }
}
