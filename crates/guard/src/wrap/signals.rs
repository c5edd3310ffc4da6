//! `sigaction(2)` and `signal(2)` of the program: the handlers for SIGSEGV, SIGBUS and SIGTRAP stay the guard's, and what the program
//! installs comes after them. The program sees what it would see without a guard.
#![allow(
    unsafe_code,
    reason = "the program's structures by pointer, functions of its C library by address"
)]

use core::ffi::c_int;
use core::mem::MaybeUninit;

use pkeys::embed;

use crate::real::Slot;
use crate::wrap::Wrapper;

static SIGACTION: Slot = Slot::new();
static SIGNAL: Slot = Slot::new();
static SYSV_SIGNAL: Slot = Slot::new();

/// The wrapper of that name.
pub(super) fn find(name: &str) -> Option<Wrapper> {
    let (name, function, slot) = match name {
        "sigaction" | "__sigaction" => ("sigaction", sigaction as *const (), &SIGACTION),
        "signal" | "bsd_signal" | "ssignal" => ("signal", signal as *const (), &SIGNAL),
        "sysv_signal" | "__sysv_signal" => ("sysv_signal", sysv_signal as *const (), &SYSV_SIGNAL),
        _ => return None,
    };
    Some(Wrapper::plain(name, function, slot))
}

/// What follows the guard's handler of that signal, where it has one.
fn kept(signal: c_int) -> Option<libc::sigaction> {
    embed::is_kept(signal)
        .then(|| embed::current_action(signal))
        .flatten()
}

extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    let Some(before) = kept(signal) else {
        type SigAction =
            unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
        // SAFETY: the address of the program's `sigaction`, noted when this wrapper was bound.
        let real = unsafe { core::mem::transmute::<usize, SigAction>(SIGACTION.get()) };
        // SAFETY: the program's arguments.
        return unsafe { real(signal, new, old) };
    };
    // SAFETY: null, or the program's structure.
    if let Some(new) = unsafe { new.as_ref() } {
        embed::replace_action(signal, *new);
    }
    // SAFETY: null, or the program's structure, which it wants filled.
    if let Some(old) = unsafe { old.as_mut() } {
        *old = before;
    }
    0
}

extern "C" fn signal(signal: c_int, handler: usize) -> usize {
    set(signal, handler, libc::SA_RESTART, &SIGNAL)
}

extern "C" fn sysv_signal(signal: c_int, handler: usize) -> usize {
    set(
        signal,
        handler,
        libc::SA_RESETHAND | libc::SA_NODEFER,
        &SYSV_SIGNAL,
    )
}

fn set(signal: c_int, handler: usize, flags: c_int, slot: &Slot) -> usize {
    if kept(signal).is_none() {
        type Signal = unsafe extern "C" fn(c_int, usize) -> usize;
        // SAFETY: the address of the program's function of this name, noted when its wrapper was bound.
        let real = unsafe { core::mem::transmute::<usize, Signal>(slot.get()) };
        // SAFETY: the program's arguments.
        return unsafe { real(signal, handler) };
    }
    // SAFETY: zeroed memory is an action: the default one.
    let mut new = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    new.sa_sigaction = handler;
    new.sa_flags = flags;
    embed::replace_action(signal, new).map_or(libc::SIG_ERR, |before| before.sa_sigaction)
}
