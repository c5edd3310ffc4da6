//! User mode as a function: from a program's registers to those that it comes back with, and the reason.
//!
//! The frame from which IRETQ takes the registers, and to which the next entry brings them, is one and the same, at the top
//! of the CPU's entry stack (`trap/entry.s`). It is written and read here, by the runner, with interrupts kept out.

#![allow(
    unsafe_code,
    reason = "goes to user mode, and sets the bases of FS and GS"
)]

use core::arch::asm;
use core::ptr;

use pkeys_kernel::memory::layout::TASK_SIZE;
use pkeys_kernel::task::UserRegs;

use crate::cpu::per_cpu;
use crate::cpu::registers::{FS_BASE, KERNEL_GS_BASE, RFLAGS_IF, write_msr};
use crate::memory::layout::to_usize;
use crate::trap::frame::Frame;

unsafe extern "sysv64" {
    fn run_user(frame: *mut Frame) -> *mut Frame;
}

/// What the CPU has loaded for the program that runs on it, beside its registers.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The bases of FS and GS; `None` after another thread ran here.
    bases: Option<[u64; 2]>,
}

impl Loaded {
    /// Another thread's turn: nothing that the last one did to segment registers is to be seen by it.
    pub(super) fn forget(&mut self) {
        self.bases = None;
    }

    /// Loads the bases that a program wants, if they are others.
    fn load(&mut self, wanted: [u64; 2]) {
        if self.bases == Some(wanted) {
            return;
        }
        if self.bases.is_none() {
            clear_selectors();
        }
        for (msr, base) in [FS_BASE, KERNEL_GS_BASE].into_iter().zip(wanted) {
            // What is not a program's address need not be one that the register takes.
            let base = if base < TASK_SIZE { base } else { 0 };
            // SAFETY: (1) every CPU with long mode has it, and takes an address of a program. (2) The kernel does not use FS,
            // and KERNEL_GS_BASE is the program's while the kernel runs.
            unsafe { write_msr(msr, base) };
        }
        self.bases = Some(wanted);
    }
}

/// Loads the null selector into DS, ES, FS, and the user's GS. Interrupts are kept out.
fn clear_selectors() {
    // SAFETY: the kernel uses DS, ES and FS for nothing. Between the two SWAPGS the kernel's base is out of the way of the load
    // of GS, which clears the base; interrupts are kept out, and an NMI looks which of the two is loaded.
    unsafe {
        asm!(
            "mov ds, {null:e}",
            "mov es, {null:e}",
            "mov fs, {null:e}",
            "swapgs",
            "mov gs, {null:e}",
            "swapgs",
            null = in(reg) 0,
            options(nostack, preserves_flags),
        );
    }
}

/// Lets the program run with these registers, until it comes back into the kernel by itself or is interrupted. Its
/// registers are then those that it came back with; the frame says by what it did.
///
/// Interrupts are kept out, at the call and at the return.
pub(super) fn enter(regs: &mut UserRegs, loaded: &mut Loaded) -> Frame {
    let bases = [regs.fs_base, regs.gs_base];
    loaded.load(bases);
    let top = per_cpu::this().entry_stack();
    let frame: *mut Frame = ptr::with_exposed_provenance_mut(to_usize(top) - size_of::<Frame>());
    // SAFETY: the top of the CPU's entry stack, which nobody uses while the kernel runs on another one.
    unsafe { frame.write(to_frame(regs)) };
    // SAFETY: interrupts are kept out; the frame is at the top of the entry stack, with the user's segments, flags and a
    // canonical address, which the library has seen to (`Outcome::Resume`). The caller is a runner, whose stack is there until
    // this returns.
    let left = unsafe { run_user(frame) };
    // SAFETY: the frame that the entry code has left at the same place.
    let left = unsafe { left.read() };
    *regs = from_frame(&left, bases);
    left
}

fn to_frame(regs: &UserRegs) -> Frame {
    Frame {
        r15: regs.r15,
        r14: regs.r14,
        r13: regs.r13,
        r12: regs.r12,
        r11: regs.r11,
        r10: regs.r10,
        r9: regs.r9,
        r8: regs.r8,
        rdi: regs.rdi,
        rsi: regs.rsi,
        rbp: regs.rbp,
        rbx: regs.rbx,
        rdx: regs.rdx,
        rcx: regs.rcx,
        rax: regs.rax,
        vector: 0,
        code: 0,
        rip: regs.rip,
        cs: u64::from(regs.cs),
        rflags: regs.rflags | RFLAGS_IF,
        rsp: regs.rsp,
        ss: u64::from(regs.ss),
    }
}

fn from_frame(frame: &Frame, [fs_base, gs_base]: [u64; 2]) -> UserRegs {
    UserRegs {
        rax: frame.rax,
        rbx: frame.rbx,
        rcx: frame.rcx,
        rdx: frame.rdx,
        rsi: frame.rsi,
        rdi: frame.rdi,
        rbp: frame.rbp,
        r8: frame.r8,
        r9: frame.r9,
        r10: frame.r10,
        r11: frame.r11,
        r12: frame.r12,
        r13: frame.r13,
        r14: frame.r14,
        r15: frame.r15,
        rflags: frame.rflags,
        fs_base,
        gs_base,
        ..UserRegs::new(frame.rip, frame.rsp)
    }
}
