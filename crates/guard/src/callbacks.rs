//! Function pointers that cross the border: callbacks of the program, and functions that the library leaves with others.
//!
//! A callback among the arguments of a function on the `--callbacks` list is replaced by a thunk of the reverse gate, always the
//! same one for the same function, so that a library which compares pointers still finds them equal. Pointers into a guarded
//! library get a gate of that library, as one library may hand its own function to another.
#![allow(unsafe_code, reason = "argument registers as the gate saved them")]

use crate::bind::guard;
use crate::domain;
use crate::gate::descriptor::{Descriptor, MAX_ARGUMENT, callback_bit};

/// Arguments in registers (System V ABI, 3.2.3).
const IN_REGISTERS: u8 = 6;

/// Small numbers, such as `SQLITE_TRANSIENT` or a tag, are no functions; neither is anything beyond user space.
const FUNCTIONS: core::ops::Range<usize> = 0x1_0000..0x7FFF_FFFF_F000;

/// Replaces the callbacks among the arguments. Called by `gate.s` before the gate.
pub(crate) extern "C" fn wrap_callbacks(
    descriptor: *const Descriptor,
    registers: *mut usize,
    stack: *mut usize,
) {
    // SAFETY: a thunk's descriptor, which lives for ever.
    let Some(descriptor) = (unsafe { descriptor.as_ref() }) else {
        return;
    };
    for argument in 0..=MAX_ARGUMENT {
        if descriptor.flags & callback_bit(argument) == 0 {
            continue;
        }
        let place = if argument < IN_REGISTERS {
            registers.wrapping_add(usize::from(argument))
        } else {
            stack.wrapping_add(usize::from(argument - IN_REGISTERS))
        };
        // SAFETY: the six saved registers, or an argument on the caller's stack, as the function was said to take one there.
        let function = unsafe { place.read() };
        let wrapped = wrap(function);
        if wrapped != function {
            // SAFETY: as above.
            unsafe { place.write(wrapped) };
        }
    }
}

/// The gate for a function that is handed to a guarded library.
fn wrap(function: usize) -> usize {
    if !FUNCTIONS.contains(&function) {
        return function;
    }
    match domain::of_code(function) {
        Some(guarded) => guard().internal_gate(function, guarded, "a callback"),
        None => guard().reverse_gate(function),
    }
}

/// The gate for a function of a guarded library that is left with somebody who calls it later; other functions stay.
pub(crate) fn leave(function: usize, with: &str) -> usize {
    match domain::of_code(function) {
        Some(guarded) => guard().internal_gate(function, guarded, with),
        None => function,
    }
}
