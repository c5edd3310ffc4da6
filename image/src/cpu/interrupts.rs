//! Interrupts of this CPU, let in or kept out.
//!
//! Keeping them out nests: a lock keeps them out while it is held, and locks are held inside one another. Each CPU counts,
//! and the last who lets go puts back what the first one found.

#![allow(unsafe_code, reason = "CLI, STI and HLT")]

use core::arch::asm;
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

use super::per_cpu;
use super::registers::{RFLAGS_IF, read_rflags};

/// CLI. For code that never lets them in again, or knows that they were in.
pub(crate) fn disable() {
    // SAFETY: keeping interrupts out is always allowed. No `nomem`: accesses stay behind it.
    unsafe { asm!("cli", options(nostack)) }
}

/// STI.
pub(crate) fn enable() {
    // SAFETY: the interrupt table is loaded before anything calls this. No `nomem`: accesses stay before it.
    unsafe { asm!("sti", options(nostack)) }
}

/// STI and HLT: waits for an interrupt. One that comes between a caller's last check, made with interrupts out, and the
/// HLT is not lost, since STI takes effect only after the next instruction.
pub(crate) fn wait() {
    // SAFETY: as in `enable`.
    unsafe { asm!("sti", "hlt", options(nostack)) }
}

/// CLI and HLT, for ever.
pub(crate) fn stop() -> ! {
    loop {
        // SAFETY: stops this CPU, which has nothing left to do. An NMI may wake it, so it is done again.
        unsafe { asm!("cli", "hlt", options(nostack)) }
    }
}

/// Whether they are let in.
pub(crate) fn are_enabled() -> bool {
    read_rflags() & RFLAGS_IF != 0
}

/// Keeps them out until [`pop`].
///
/// An NMI may come in the middle of either and do the same: it leaves the depth as it was, and what the first one found is
/// not touched while the depth is above zero.
pub(crate) fn push() {
    let were_enabled = are_enabled();
    disable();
    let cpu = per_cpu::this();
    let depth = cpu.irq_depth.get();
    cpu.irq_depth.set(depth + 1);
    compiler_fence(SeqCst);
    if depth == 0 {
        cpu.irq_were_enabled.set(were_enabled);
    }
}

/// The end of [`push`].
pub(crate) fn pop() {
    let cpu = per_cpu::this();
    let depth = cpu.irq_depth.get().saturating_sub(1);
    let let_in = depth == 0 && cpu.irq_were_enabled.get();
    compiler_fence(SeqCst);
    cpu.irq_depth.set(depth);
    if let_in {
        enable();
    }
}

/// Runs something while they are kept out, so that it stays on one CPU.
pub(crate) fn without<R>(work: impl FnOnce() -> R) -> R {
    push();
    let result = work();
    pop();
    result
}
