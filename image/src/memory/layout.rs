//! Where things are in the upper half of the addresses.
//!
//! | from | what |
//! |---|---|
//! | `FFFF_8000_0000_0000` | all physical memory, in order: the direct map |
//! | `FFFF_C000_0000_0000` | stacks, with pages around them that are not mapped |
//! | `FFFF_C060_0000_0000` | large pieces of the heap that are made of single frames |
//! | `FFFF_D000_0000_0000` | the registers of the local APIC |
//! | `FFFF_FFFF_8000_0000` | the kernel's program |
//!
//! Every frame but the program's has one kernel address, so that a key in the direct map protects it from all of the kernel.

#![allow(unsafe_code, reason = "addresses that the linker script defines")]

use core::ptr;

/// The bytes of a page and of a frame.
pub(crate) const PAGE: u64 = 4096;
/// The bytes of a large page.
pub(crate) const LARGE_PAGE: u64 = 2 << 20;

/// Where the direct map begins.
pub(crate) const DIRECT: u64 = 0xFFFF_8000_0000_0000;
/// Where stacks are.
pub(crate) const STACKS: u64 = 0xFFFF_C000_0000_0000;
/// Where pieces of the heap are that are made of single frames; in the table of stacks.
pub(crate) const PATCHWORK: u64 = STACKS + (3 << 37);
/// Where the local APIC's registers are.
pub(crate) const APIC: u64 = 0xFFFF_D000_0000_0000;
/// Where the kernel's program is: at this address plus the physical one.
pub(crate) const KERNEL: u64 = 0xFFFF_FFFF_8000_0000;

/// Where the other CPUs' first instructions are, physically.
pub(crate) const TRAMPOLINE: u64 = 0x8000;
/// The lowest physical address that is given out: below are the firmware's, the boot loader's and the trampoline's data.
pub(crate) const LOWEST: u64 = 0x10_0000;

/// An address or a length, as Rust indexes: both have 64 bits here.
#[allow(
    clippy::cast_possible_truncation,
    reason = "usize has 64 bits on the one processor that this is for"
)]
pub(crate) const fn to_usize(value: u64) -> usize {
    value as usize
}

/// The entry of the root table that an address goes through.
pub(crate) const fn root_index(addr: u64) -> usize {
    to_usize(addr >> 39 & 511)
}

/// A physical address, as the kernel reaches it.
pub(crate) const fn direct<T>(phys: u64) -> *mut T {
    ptr::with_exposed_provenance_mut(to_usize(DIRECT + phys))
}

/// The physical address of something in the direct map or the kernel's program.
pub(crate) const fn physical(addr: u64) -> u64 {
    if addr >= KERNEL {
        addr - KERNEL
    } else {
        addr - DIRECT
    }
}

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __kernel_end: u8;
}

/// The parts of the kernel's program by their rights, from the start address on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    pub(crate) text: u64,
    pub(crate) read_only: u64,
    pub(crate) data: u64,
    pub(crate) end: u64,
}

impl Program {
    /// As the linker laid it out.
    pub(crate) fn get() -> Self {
        let addr = |symbol: *const u8| symbol.addr() as u64;
        Self {
            text: addr(&raw const __text_start),
            read_only: addr(&raw const __text_end),
            data: addr(&raw const __rodata_end),
            end: addr(&raw const __kernel_end),
        }
    }
}
