//! The end: QEMU's debug-exit device turns what is written to it into an exit status.
//!
//! The status is twice the value plus one, so never 0, which is what QEMU ends with when the machine resets or is switched
//! off. Whoever runs the image accepts [`Status::Pass`] alone.

#![allow(unsafe_code, reason = "the port of the debug-exit device")]

use core::panic::PanicInfo;

use crate::console;
use crate::cpu::{interrupts, port};
use crate::say;

const DEBUG_EXIT: u16 = 0xF4;

/// How it ended; in brackets QEMU's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Status {
    /// Every case passed (33).
    Pass = 0x10,
    /// The CPU, the memory or the command line will not do (35).
    Refused = 0x11,
    /// A case failed (65).
    Fail = 0x20,
    /// A stray access or another exception stopped the kernel (67).
    Stopped = 0x21,
    /// A defect of the kernel (69).
    Panic = 0x22,
}

/// Ends QEMU.
pub(crate) fn exit(status: Status) -> ! {
    // SAFETY: (1) the device ends QEMU; where there is none, nothing listens.
    unsafe { port::write_u32(DEBUG_EXIT, status as u32) };
    interrupts::stop()
}

/// Says in one line why the kernel does not go on, and ends.
pub(crate) fn refuse(why: core::fmt::Arguments<'_>) -> ! {
    say!("pkeys: {why}");
    exit(Status::Refused)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // A panic while reporting one would report for ever.
    if !console::begin_dying() {
        say!("pkeys: {info}");
    }
    exit(Status::Panic)
}

/// Named by the unwinding tables of the precompiled core library; a kernel that aborts on panic never calls it.
// The name is the compiler's, and nothing else in the program has it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {
    exit(Status::Panic)
}

/// As [`rust_eh_personality`]: named by the precompiled alloc library.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(Status::Panic)
}
