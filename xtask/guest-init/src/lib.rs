//! The words that xtask and the init of its Linux guest share.
//!
//! `cargo xtask test` boots a small Linux under QEMU when the machine has no usable protection keys. The guest's only
//! program beside the tests is this package's binary: process 1, which runs one program after another and reports on
//! the serial console. xtask writes what is to be run into the initrd ([`jobs`]) and reads the console ([`events`]).
//! Both are compiled from this one file set, so that they cannot drift apart.

#![forbid(unsafe_code)]

pub mod cpuinfo;
pub mod events;
pub mod jobs;

/// I/O port of QEMU's `isa-debug-exit` device, as given on its command line.
pub const EXIT_PORT: u16 = 0xf4;

/// Written to [`EXIT_PORT`] when every program ended with status 0.
pub const EXIT_PASS: u8 = 0x10;

/// Written to [`EXIT_PORT`] when a program failed, or the init could not do its work.
pub const EXIT_FAIL: u8 = 0x20;

/// The status QEMU exits with after `value` was written to its `isa-debug-exit` device.
///
/// It is odd by construction. A guest that dies of a triple fault, or reboots, under `-no-reboot` gives 0: that is why
/// nothing but the exact status of [`EXIT_PASS`], 33, may count as a pass.
///
/// ```
/// assert_eq!(guest_init::qemu_status(guest_init::EXIT_PASS), 33);
/// assert_eq!(guest_init::qemu_status(guest_init::EXIT_FAIL), 65);
/// ```
#[must_use]
pub fn qemu_status(value: u8) -> i32 {
    (i32::from(value) << 1) | 1
}
