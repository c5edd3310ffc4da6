//! `_exit(2)` of the guarded process: the program ends without destructors, as shells do, and what was to be said at its end is said
//! here.
#![allow(
    unsafe_code,
    reason = "a function of the program's C library by address"
)]

use core::ffi::c_int;

use crate::finish;
use crate::real::Slot;
use crate::wrap::{Kind, Wrapper};

static EXIT: Slot = Slot::new();

/// Notes `_exit` of the program's C library.
pub(crate) fn prepare(exit: usize) {
    EXIT.note(exit);
}

/// The wrapper of that name.
pub(super) fn find(name: &str) -> Option<Wrapper> {
    matches!(name, "_exit" | "_Exit").then_some(Wrapper {
        name: "_exit",
        kind: Kind::Plain,
        function: exit as *const () as usize,
        slot: None,
    })
}

extern "C" fn exit(status: c_int) {
    let status = finish::status(status);
    type Exit = unsafe extern "C" fn(c_int);
    // SAFETY: the address of `_exit` in the main C library.
    let real = unsafe { core::mem::transmute::<usize, Exit>(EXIT.get()) };
    // SAFETY: takes a number; it does not return.
    unsafe { real(status) };
}
