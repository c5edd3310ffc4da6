//! NMIs: they come at any moment, interrupts kept out or not.
//!
//! The handler takes no lock, since the interrupted code may hold it, and allocates nothing. What it does beyond counting is
//! a function that a case has left.

use super::frame::Frame;
use crate::cpu::{per_cpu, registers};
use crate::slot::Slot;

static HOOK: Slot<fn(&Frame)> = Slot::empty();

/// Has a function called at each NMI, or none.
pub(crate) fn set_hook(hook: Option<fn(&Frame)>) {
    HOOK.set(hook);
}

/// Handles one.
pub(super) fn handle(frame: &Frame) {
    // It may have come between a page fault and the read of CR2, and its handler may fault.
    let cr2 = registers::read_cr2();
    per_cpu::count(&per_cpu::this().nmis);
    if let Some(hook) = HOOK.get() {
        hook(frame);
    }
    registers::write_cr2(cr2);
}
