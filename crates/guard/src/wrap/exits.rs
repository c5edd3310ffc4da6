//! `_exit(2)` and `quick_exit(3)` of the guarded process: the program ends without destructors, as shells do, and what was to be
//! said at its end is said here. `quick_exit` ends in the C library's own `_exit`, which nobody can wrap: a function is left
//! with it, before the program can leave one, and so runs after all of the program's.
#![allow(
    unsafe_code,
    reason = "a function of the program's C library by address"
)]

use core::ffi::{c_int, c_void};

use crate::finish;
use crate::real::Slot;
use crate::refuse;
use crate::settings::NOTHING_GUARDED;
use crate::wrap::Wrapper;

static EXIT: Slot = Slot::new();

/// Notes `_exit` of the program's C library, and leaves a function with the one by whose address `at_quick_exit` goes.
pub(crate) fn prepare(exit: usize, at_quick_exit: usize) {
    type Register = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void) -> c_int;
    EXIT.note(exit);
    // SAFETY: the address of `__cxa_at_quick_exit` in the main C library.
    let register = unsafe { core::mem::transmute::<usize, Register>(at_quick_exit) };
    // SAFETY: a plain function that stays; no object, so that it is never taken out.
    unsafe { register(quick, core::ptr::null_mut()) };
}

extern "C" fn quick(_: *mut c_void) {
    // What the program has printed and not written out is lost, as it is without a guard.
    if finish::status(0) != 0 {
        refuse::exit(NOTHING_GUARDED);
    }
}

/// The wrapper of that name.
pub(super) fn find(name: &str) -> Option<Wrapper> {
    matches!(name, "_exit" | "_Exit").then(|| Wrapper::plain("_exit", exit as *const (), None))
}

extern "C" fn exit(status: c_int) {
    let status = finish::status(status);
    type Exit = unsafe extern "C" fn(c_int);
    // SAFETY: the address of `_exit` in the main C library.
    let real = unsafe { core::mem::transmute::<usize, Exit>(EXIT.get()) };
    // SAFETY: takes a number; it does not return.
    unsafe { real(status) };
}
