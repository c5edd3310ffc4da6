//! Leaves the machine with a status: a write to the I/O port of QEMU's `isa-debug-exit` device.
//!
//! Small kernels (Debian's for virtual machines) have no `/dev/port`, so the port is opened with ioperm(2) and written
//! with the instruction.
#![allow(
    unsafe_code,
    reason = "a port is opened and written, which no safe call does"
)]

use crate::say;
use core::arch::asm;
use guest_init::events::Event;
use guest_init::{EXIT_FAIL, EXIT_PASS, EXIT_PORT};
use std::io::{self, Write};
use std::process::ExitCode;

/// Ends the machine. Returns only where the device is missing: then process 1 ends, and the kernel with it.
pub(crate) fn leave(all_passed: bool) -> ExitCode {
    // What the console has buffered is lost when QEMU exits: wait until it is out.
    io::stdout().flush().ok();
    rustix::termios::tcdrain(io::stdout()).ok();
    let written = open_port().map(|()| write_port(if all_passed { EXIT_PASS } else { EXIT_FAIL }));
    say(&Event::Broken {
        why: format!("no isa-debug-exit device at port {EXIT_PORT:#x}: {written:?}"),
    });
    ExitCode::FAILURE
}

/// `int ioperm(unsigned long from, unsigned long num, int turn_on)` for the device's four ports.
#[doc(alias = "ioperm")]
fn open_port() -> io::Result<()> {
    // SAFETY: gives this thread the right to use ports that only the exit device answers to; no memory is involved.
    match unsafe { libc::ioperm(EXIT_PORT.into(), 4, 1) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `OUT DX, EAX` to the device.
fn write_port(value: u8) {
    // SAFETY: `open_port` has opened the port to this thread (without it the instruction is a SIGSEGV), and behind it is
    // a device that ends the machine or nothing at all. Neither memory nor flags are touched.
    unsafe {
        asm!(
            "out dx, eax",
            in("dx") EXIT_PORT,
            in("eax") u32::from(value),
            options(nostack, preserves_flags)
        );
    }
}
