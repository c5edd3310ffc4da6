//! PKRS: rights to supervisor pages, one register a CPU.
//!
//! [`ThisCpu`] is what the protocol of [`crate::pks`] works on. Each method is about the CPU that executes it at that
//! moment: a thread may be preempted after any instruction and go on elsewhere, so that each access to the CPU's data is one
//! instruction with GS in its address.
//!
//! Source: SDM Vol. 4 (`IA32_PKRS`, 6E1H).

#![allow(unsafe_code, reason = "WRMSR, and per-CPU data by GS")]

use core::arch::asm;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pkeys_core::KeyRegister;
use pkeys_core::x86::PKRS_MSR;

use super::features::Features;
use super::per_cpu::{PKS_CACHED, PKS_CURRENT, PKS_WRITES};
use super::registers::{read_msr, write_msr};
use crate::pks::{self, Context, PksCpu};

/// The register of a context without grants: every key but 0 closed.
static CLOSED: AtomicU32 = AtomicU32::new(0xFFFF_FFFC);

/// The CPU that executes the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThisCpu;

/// Gives PKRS its first value on this CPU and switches the keys on, in this order: were it the other way round, there would
/// be a moment with the keys on and no value in the register.
pub(crate) fn start(features: &Features, context: &'static Context) {
    ThisCpu.set_current(context);
    pks::refresh(&ThisCpu);
    features.enable_supervisor_keys();
}

/// RDMSR of PKRS, past the cache: for tests and reports.
pub(crate) fn read() -> KeyRegister {
    // SAFETY: the kernel runs on CPUs with PKS alone (`features`).
    let value = unsafe { read_msr(PKRS_MSR) };
    let [bits, _] = super::registers::halves(value);
    KeyRegister::from_bits(bits)
}

/// WRMSR of PKRS, past the cache: for tests of the hardware, with interrupts kept out. The cache says that it knows nothing,
/// so that the next [`pks::refresh`] puts the register right.
pub(crate) fn write_uncached(value: KeyRegister) {
    ThisCpu.set_cached(pks::INVALID);
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

    fn closed(&self) -> KeyRegister {
        KeyRegister::from_bits(CLOSED.load(Relaxed))
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
