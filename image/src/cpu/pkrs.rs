//! PKRS: rights to supervisor pages, one register a CPU.
//!
//! [`ThisCpu`] is what the protocol of [`pkeys_kernel::pks`] works on. Each method is about the CPU that executes it at that
//! moment: a thread may be preempted after any instruction and go on elsewhere, so that each access to the CPU's data is one
//! instruction with GS in its address.
//!
//! Source: SDM Vol. 4 (`IA32_PKRS`, 6E1H).

#![allow(unsafe_code, reason = "WRMSR, and per-CPU data by GS")]

use core::arch::asm;
use core::ptr;

use pkeys_core::KeyRegister;
use pkeys_core::x86::{CR4_PKS, PKRS_MSR};

use super::per_cpu::{PKS_CACHED, PKS_CURRENT, PKS_WRITES};
use super::registers::{read_cr4, read_msr, write_cr4, write_msr};
use crate::keys;
use pkeys_kernel::pks::kmap::Sharing;
use pkeys_kernel::pks::{Context, INVALID, PksCpu};

/// The CPU that executes the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThisCpu;

/// RDMSR of PKRS, past the cache: for tests and reports.
pub(crate) fn read() -> KeyRegister {
    // SAFETY: the kernel runs on CPUs with PKS alone (`features`).
    let value = unsafe { read_msr(PKRS_MSR) };
    let [bits, _] = super::registers::halves(value);
    KeyRegister::from_bits(bits)
}

/// WRMSR of PKRS, past the cache: for tests of the hardware, with interrupts kept out. The cache says that it knows nothing,
/// so that the next [`pkeys_kernel::pks::refresh`] puts the register right.
pub(crate) fn write_uncached(value: KeyRegister) {
    ThisCpu.set_cached(INVALID);
    ThisCpu.write_pkrs(value);
}

impl PksCpu for ThisCpu {
    #[inline]
    fn write_pkrs(&self, value: KeyRegister) {
        // SAFETY: (1) as in `read`; a value of 32 bits is taken. (2) Key 0, which stacks and code have, is open in every
        // value that contexts and tests make.
        unsafe { write_msr(PKRS_MSR, u64::from(value.bits())) };
        // SAFETY: adds to a field of this CPU's data that nothing else writes.
        unsafe { asm!("inc qword ptr gs:[{at}]", at = const PKS_WRITES, options(nostack)) }
    }

    #[inline]
    fn cached(&self) -> u64 {
        let value;
        // SAFETY: reads a field of this CPU's data. Not `pure`: handlers change it.
        unsafe {
            asm!("mov {}, gs:[{at}]", out(reg) value, at = const PKS_CACHED, options(nostack, preserves_flags))
        }
        value
    }

    #[inline]
    fn set_cached(&self, value: u64) {
        // SAFETY: writes a field of this CPU's data, a cell.
        unsafe {
            asm!("mov gs:[{at}], {}", in(reg) value, at = const PKS_CACHED, options(nostack, preserves_flags))
        }
    }

    fn enable(&self) {
        // SAFETY: (1) the kernel does not start on a CPU without PKS (`features`). (2) Nothing is switched off.
        unsafe { write_cr4(read_cr4() | CR4_PKS) };
    }

    #[inline]
    fn closed(&self) -> KeyRegister {
        keys::PKS.closed()
    }

    #[inline]
    fn sharing(&self) -> Sharing {
        keys::KMAP.sharing()
    }

    #[inline]
    fn current(&self) -> &Context {
        let context: *const Context;
        // SAFETY: reads a field of this CPU's data.
        unsafe {
            asm!("mov {}, gs:[{at}]", out(reg) context, at = const PKS_CURRENT, options(nostack, preserves_flags));
        }
        // SAFETY: `set_current` was given a reference, and who makes a context current keeps it until another one is.
        unsafe { &*context }
    }

    #[inline]
    fn set_current(&self, context: &Context) {
        let context = ptr::from_ref(context);
        // SAFETY: writes a field of this CPU's data, a cell.
        unsafe {
            asm!("mov gs:[{at}], {}", in(reg) context, at = const PKS_CURRENT, options(nostack, preserves_flags))
        }
    }
}
