//! Ports: the other address space of a PC, in which its old devices are.

#![allow(unsafe_code, reason = "IN and OUT")]

use core::arch::asm;

/// OUT of a byte.
///
/// # Safety
///
/// 1. What the device behind the port does with it breaks nothing that the program relies on.
pub(crate) unsafe fn write_u8(port: u16, value: u8) {
    // SAFETY: ring 0 may execute it; the caller answers for the device (1). Devices of this kernel do not access memory.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags))
    }
}

/// OUT of four bytes.
///
/// # Safety
///
/// As [`write_u8`].
pub(crate) unsafe fn write_u32(port: u16, value: u32) {
    // SAFETY: as in `write_u8`.
    unsafe {
        asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags))
    }
}

/// IN of a byte.
///
/// # Safety
///
/// As [`write_u8`], since a read may change a device too.
pub(crate) unsafe fn read_u8(port: u16) -> u8 {
    let value;
    // SAFETY: as in `write_u8`.
    unsafe {
        asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags))
    }
    value
}
