//! Control registers, model-specific registers and what else is one instruction.
//!
//! A write of a register can take the memory away from under the program, so writers are `unsafe` and keep the compiler's
//! default assumption that they read and write all memory. Readers say `nomem`, and none says `pure`: a register changes
//! between two reads.
//!
//! Source: SDM Vol. 2 (the instructions), Vol. 3A 2.5 (control registers), Vol. 4 (MSRs).

#![allow(unsafe_code, reason = "one privileged instruction a function")]

use core::arch::asm;

/// CR4.PAE, CR4.OSFXSR and CR4.OSXMMEXCPT: what long mode and SSE need. Every CPU with long mode has them.
pub(crate) const CR4_AT_BOOT: u64 = 1 << 5 | 1 << 9 | 1 << 10;
/// CR4.PGE: pages marked global stay in the TLB when CR3 is written.
pub(crate) const CR4_PGE: u64 = 1 << 7;
/// CR4.OSXSAVE: XSAVE and XCR0 may be used.
pub(crate) const CR4_OSXSAVE: u64 = 1 << 18;
/// CR4.SMEP: no fetches of the kernel from user pages.
pub(crate) const CR4_SMEP: u64 = 1 << 20;
/// CR4.SMAP: no accesses of the kernel to user pages while RFLAGS.AC is clear.
pub(crate) const CR4_SMAP: u64 = 1 << 21;
/// DR6 without anything to tell (SDM Vol. 3B, 17.2.3).
const DR6_CLEAR: u64 = 0xFFFF_0FF0;
/// RFLAGS.TF: a debug exception after the next instruction.
pub(crate) const RFLAGS_TF: u64 = 1 << 8;
/// RFLAGS.IF: interrupts are let in.
pub(crate) const RFLAGS_IF: u64 = 1 << 9;
/// RFLAGS.DF: string instructions go downwards.
pub(crate) const RFLAGS_DF: u64 = 1 << 10;
/// RFLAGS.NT: nested task.
pub(crate) const RFLAGS_NT: u64 = 1 << 14;
/// RFLAGS.AC: with SMAP, the kernel may access user pages.
pub(crate) const RFLAGS_AC: u64 = 1 << 18;
/// The MSR EFER.
pub(crate) const EFER: u32 = 0xC000_0080;
/// EFER.SCE: SYSCALL may be used.
pub(crate) const EFER_SCE: u64 = 1;
/// EFER.LME and EFER.NXE: long mode, and pages that are not executable.
pub(crate) const EFER_AT_BOOT: u64 = 1 << 8 | 1 << 11;
/// The MSR STAR: the segments that SYSCALL loads.
pub(crate) const STAR: u32 = 0xC000_0081;
/// The MSR LSTAR: where SYSCALL goes.
pub(crate) const LSTAR: u32 = 0xC000_0082;
/// The MSR SFMASK: the flags that SYSCALL clears.
pub(crate) const SFMASK: u32 = 0xC000_0084;
/// The MSR `FS_BASE`.
pub(crate) const FS_BASE: u32 = 0xC000_0100;
/// The MSR `GS_BASE`.
pub(crate) const GS_BASE: u32 = 0xC000_0101;
/// The MSR `KERNEL_GS_BASE`, which SWAPGS exchanges with `GS_BASE`.
pub(crate) const KERNEL_GS_BASE: u32 = 0xC000_0102;

/// MOV from CR0.
pub(crate) fn read_cr0() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// MOV to CR0.
///
/// # Safety
///
/// 1. Paging stays on; nothing relies on what is switched off.
pub(crate) unsafe fn write_cr0(value: u64) {
    // SAFETY: the caller answers for the bits (1).
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack, preserves_flags)) }
}

/// MOV from CR2: the address of the last page fault.
pub(crate) fn read_cr2() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// MOV to CR2. It has no effect but on the next read.
pub(crate) fn write_cr2(value: u64) {
    // SAFETY: CR2 is read by page fault handlers alone, and this kernel writes it to restore it for one.
    unsafe { asm!("mov cr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)) }
}

/// MOV from DR6: what the last debug exception was about. Clears it, which the processor never does.
pub(crate) fn take_dr6() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, dr6", out(reg) value, options(nomem, nostack, preserves_flags)) }
    // SAFETY: DR6 is read here alone; bits that are always set are set.
    unsafe { asm!("mov dr6, {}", in(reg) DR6_CLEAR, options(nomem, nostack, preserves_flags)) }
    value
}

/// MOV from CR3: the root of the page tables.
pub(crate) fn read_cr3() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// MOV to CR3: other page tables. What the TLB holds of the old ones is forgotten, except global pages.
///
/// # Safety
///
/// 1. The tables map all memory that the program goes on to use, the same as before.
pub(crate) unsafe fn write_cr3(value: u64) {
    // SAFETY: the caller answers for the tables (1).
    unsafe { asm!("mov cr3, {}", in(reg) value, options(nostack, preserves_flags)) }
}

/// MOV from CR4.
pub(crate) fn read_cr4() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// MOV to CR4.
///
/// # Safety
///
/// 1. CPUID says that the CPU has what is switched on. (QEMU hangs otherwise, hardware raises #GP.)
/// 2. Nothing relies on what is switched off.
pub(crate) unsafe fn write_cr4(value: u64) {
    // SAFETY: the caller answers for the bits (1, 2).
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) }
}

/// RDMSR.
///
/// # Safety
///
/// 1. The CPU has the register.
pub(crate) unsafe fn read_msr(msr: u32) -> u64 {
    let low: u32;
    let high: u32;
    // SAFETY: ring 0 may execute it, and the register exists (1).
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    }
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR. Serves for PKRS too: the compiler moves no access across it.
///
/// # Safety
///
/// 1. The CPU has the register, and it takes that value.
/// 2. What follows from the value breaks nothing that the program relies on.
#[inline]
pub(crate) unsafe fn write_msr(msr: u32, value: u64) {
    let [low, high] = halves(value);
    // SAFETY: the caller answers for register and value (1, 2).
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") low, in("edx") high, options(nostack, preserves_flags))
    }
}

/// XSETBV to XCR0: which components XSAVE and XRSTOR handle.
///
/// # Safety
///
/// 1. CR4.OSXSAVE is set, and CPUID lists the components.
pub(crate) unsafe fn write_xcr0(value: u64) {
    let [low, high] = halves(value);
    // SAFETY: the caller answers for register and value (1).
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") low, in("edx") high, options(nostack, preserves_flags))
    }
}

/// The low and the high 32 bits, as instructions take them in EAX and EDX.
#[inline]
pub(crate) const fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

/// INVLPG: the TLB of this CPU forgets the page with this address.
pub(crate) fn invalidate_page(addr: u64) {
    // SAFETY: forgetting is always allowed. The compiler moves no access across: no `nomem`.
    unsafe { asm!("invlpg [{}]", in(reg) addr, options(nostack, preserves_flags)) }
}

/// RDTSC.
pub(crate) fn read_tsc() -> u64 {
    // SAFETY: every CPU with long mode has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// PUSHF and POP: RFLAGS.
pub(crate) fn read_rflags() -> u64 {
    let value;
    // SAFETY: pushes and pops, so that the stack is used (no `nostack`) and left as it was.
    unsafe { asm!("pushfq", "pop {}", out(reg) value, options(preserves_flags)) }
    value
}

/// STAC: the kernel may access user pages until [`forbid_user_access`].
pub(crate) fn allow_user_access() {
    // SAFETY: called only where SMAP is enabled, without which the instruction raises #UD. Accesses may not move above.
    unsafe { asm!("stac", options(nostack)) }
}

/// CLAC: the end of [`allow_user_access`].
pub(crate) fn forbid_user_access() {
    // SAFETY: as in `allow_user_access`.
    unsafe { asm!("clac", options(nostack)) }
}
