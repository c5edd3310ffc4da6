//! Interrupts: the timer's, and those of other CPUs.
//!
//! What takes longer than a moment is left to softirqs, which run when the outermost handler is done, with interrupts let in.
//! Then another thread may run.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::frame::Frame;
use super::softirq;
use crate::cpu::per_cpu;
use crate::cpu::registers::RFLAGS_IF;
use crate::{sched, smp, user};

/// The local timer.
pub(crate) const TIMER: u8 = 0x40;
/// Another CPU has found work for this one.
pub(crate) const RESCHEDULE: u8 = 0x41;
/// Another CPU has a function for this one to call.
pub(crate) const CALL: u8 = 0x42;
/// Another CPU has something for the program that runs on this one: a signal.
pub(crate) const KICK: u8 = 0x43;
/// The local APIC's answer to an interrupt that went away. It is not acknowledged.
pub(crate) const SPURIOUS: u8 = 0xFF;

/// Interrupts that nobody asked for.
static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

/// Handles one.
pub(super) fn handle(frame: &Frame) {
    let cpu = per_cpu::this();
    cpu.handler_depth.set(cpu.handler_depth.get() + 1);
    let vector = u8::try_from(frame.vector).unwrap_or(SPURIOUS);
    match vector {
        TIMER => {
            per_cpu::count(&cpu.ticks);
            sched::tick();
            user::ready::tick();
        }
        RESCHEDULE => cpu.reschedule.set(true),
        KICK => cpu.kicked.set(true),
        CALL => smp::call::answer(),
        SPURIOUS => {}
        _ => {
            UNEXPECTED.fetch_add(1, Relaxed);
        }
    }
    if vector != SPURIOUS {
        smp::apic::acknowledge();
    }
    let is_outermost = cpu.handler_depth.get() == 1;
    if is_outermost {
        softirq::run();
    }
    cpu.handler_depth.set(cpu.handler_depth.get() - 1);
    // A handler of an exception may be interrupted and lose the CPU like the thread that it is part of.
    if is_outermost && frame.rflags & RFLAGS_IF != 0 && cpu.reschedule.get() {
        sched::yield_now();
    }
}
