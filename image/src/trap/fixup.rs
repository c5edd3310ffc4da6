//! Accesses that may fault: an instruction with a way out.
//!
//! The table `.fixups` pairs the address of an instruction with the address to go on at when that instruction faults. The
//! handler looks there before it does anything else about a fault of the kernel, and tells the error code and the address in
//! registers. So the kernel copies from and to user memory, and so a test makes an access that must fault and survives it.

#![allow(
    unsafe_code,
    reason = "accesses memory that may not be there, with a fixup"
)]

use core::arch::asm;

use pkeys_core::PageFaultErrorCode;

use super::frame::Frame;

/// A page fault, as the processor told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// CR2.
    pub(crate) addr: u64,
    /// The error code.
    pub(crate) code: PageFaultErrorCode,
}

/// In RAX: there was a fault, and the low bits are its error code.
const FAULTED: u64 = 1 << 63;

/// One entry of the table.
#[repr(C)]
struct Fixup {
    instruction: u64,
    resume: u64,
}

unsafe extern "C" {
    static __fixups_start: Fixup;
    static __fixups_end: Fixup;
}

/// The fixup of the faulting instruction.
fn find(frame: &Frame) -> Option<&'static Fixup> {
    let start = &raw const __fixups_start;
    let len = ((&raw const __fixups_end).addr() - start.addr()) / size_of::<Fixup>();
    // SAFETY: the linker script puts the table between the two symbols; it is never written.
    let table = unsafe { core::slice::from_raw_parts(start, len) };
    table.iter().find(|fixup| fixup.instruction == frame.rip)
}

/// Whether the faulting instruction has a fixup.
pub(super) fn has(frame: &Frame) -> bool {
    find(frame).is_some()
}

/// Goes on behind the faulting instruction if it has a fixup: with the fault in RAX and RDX.
pub(super) fn apply(frame: &mut Frame, fault: Fault) -> bool {
    let Some(fixup) = find(frame) else {
        return false;
    };
    frame.rip = fixup.resume;
    frame.rax = FAULTED | u64::from(fault.code.bits());
    frame.rdx = fault.addr;
    true
}

/// What the registers say after an instruction with a fixup.
fn outcome(rax: u64, rdx: u64) -> Result<(), Fault> {
    if rax & FAULTED == 0 {
        return Ok(());
    }
    let [code, _] = crate::cpu::registers::halves(rax);
    Err(Fault {
        addr: rdx,
        code: PageFaultErrorCode::from_bits(code),
    })
}

/// Reads eight bytes.
///
/// # Errors
///
/// [`Fault`] where the processor does not let it through.
pub(crate) fn try_read(addr: u64) -> Result<u64, Fault> {
    let (value, rax, rdx);
    // SAFETY: a read of memory changes nothing; where there is none, the fixup goes on at the end.
    unsafe {
        asm!(
            "2: mov rcx, [{addr}]",
            "3:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            addr = in(reg) addr,
            inout("rax") 0_u64 => rax,
            inout("rcx") 0_u64 => value,
            inout("rdx") 0_u64 => rdx,
            options(nostack),
        );
    }
    outcome(rax, rdx).map(|()| value)
}

/// Writes eight bytes.
///
/// # Safety
///
/// 1. If the address is mapped, nothing that the program relies on is there.
///
/// # Errors
///
/// As [`try_read`].
pub(crate) unsafe fn try_write(addr: u64, value: u64) -> Result<(), Fault> {
    let (rax, rdx);
    // SAFETY: the caller answers for what is there (1); where there is nothing, the fixup goes on at the end.
    unsafe {
        asm!(
            "2: mov [{addr}], {value}",
            "3:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            addr = in(reg) addr,
            value = in(reg) value,
            inout("rax") 0_u64 => rax,
            inout("rdx") 0_u64 => rdx,
            options(nostack),
        );
    }
    outcome(rax, rdx)
}

/// LOCK CMPXCHG: replaces four bytes, if they are as expected, in one step for all processors. Gives what they were. To a fault
/// it is a write, whatever they are (SDM Vol. 2A, CMPXCHG).
///
/// # Safety
///
/// 1. As [`try_write`].
///
/// # Errors
///
/// As [`try_read`].
pub(crate) unsafe fn try_exchange(addr: u64, expected: u32, new: u32) -> Result<u32, Fault> {
    let (rax, rdx);
    // SAFETY: the caller answers for what is there (1); where there is nothing, the fixup goes on at the end. The upper half of
    // RAX is zero without a fault: it was, or EAX was loaded.
    unsafe {
        asm!(
            "2: lock cmpxchg dword ptr [{addr}], {new:e}",
            "3:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            addr = in(reg) addr,
            new = in(reg) new,
            inout("rax") u64::from(expected) => rax,
            inout("rdx") 0_u64 => rdx,
            options(nostack),
        );
    }
    let [found, _] = crate::cpu::registers::halves(rax);
    outcome(rax, rdx).map(|()| found)
}

/// WRMSR, of a register or a value that the processor may refuse.
///
/// # Safety
///
/// 1. Should it be taken, it breaks nothing that the program relies on.
///
/// # Errors
///
/// [`Fault`] at address 0 where the processor raises #GP.
pub(crate) unsafe fn try_write_msr(msr: u32, value: u64) -> Result<(), Fault> {
    let [low, high] = crate::cpu::registers::halves(value);
    let (rax, rdx);
    // SAFETY: the caller answers for the value (1); where it is refused, the fixup goes on behind, with the fault in RAX.
    unsafe {
        asm!(
            "2: wrmsr",
            "xor eax, eax",
            "3:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            in("ecx") msr,
            inout("rax") u64::from(low) => rax,
            inout("rdx") u64::from(high) => rdx,
            options(nostack),
        );
    }
    outcome(rax, rdx)
}

/// Copies bytes, one of the two sides of which may fault. Gives how many were not copied, with the fault.
///
/// # Safety
///
/// 1. The bytes at `to` that are mapped are nothing that the program relies on.
pub(crate) unsafe fn try_copy(to: u64, from: u64, len: usize) -> Result<(), (usize, Fault)> {
    let (rax, rdx);
    let rest: usize;
    // SAFETY: the caller answers for what is written (1). At a fault RCX has the number of bytes that are left.
    unsafe {
        asm!(
            "2: rep movsb",
            "3:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            inout("rdi") to => _,
            inout("rsi") from => _,
            inout("rcx") len => rest,
            inout("rax") 0_u64 => rax,
            inout("rdx") 0_u64 => rdx,
            options(nostack),
        );
    }
    outcome(rax, rdx).map_err(|fault| (rest, fault))
}
