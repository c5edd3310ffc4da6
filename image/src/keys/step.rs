//! The trap behind an instruction that was let through.

#![allow(
    unsafe_code,
    reason = "puts the flags right that an instruction has pushed"
)]

use pkeys_kernel::pks::{self, Context, StepFrame, Stepped};

use crate::cpu::pkrs::ThisCpu;
use crate::cpu::registers::take_dr6;
use crate::trap::fixup::try_copy;
use crate::trap::frame::Frame;
use crate::trap::report;

/// DR6.BS: the trap is one of a single step (SDM Vol. 3B, 17.2.3).
const SINGLE_STEP: u64 = 1 << 14;

impl StepFrame for Frame {
    fn rip(&self) -> u64 {
        self.rip
    }

    fn rsp(&self) -> u64 {
        self.rsp
    }

    fn rflags(&self) -> u64 {
        self.rflags
    }

    fn set_rflags(&mut self, rflags: u64) {
        self.rflags = rflags;
    }
}

/// Handles #DB of the kernel. One that no step has asked for is fatal.
pub(crate) fn handle(frame: &mut Frame, interrupted: &Context) {
    let is_step = take_dr6() & SINGLE_STEP != 0;
    let trapped = if is_step {
        pks::debug_trap(interrupted, frame)
    } else {
        None
    };
    // Nobody debugs this kernel: a trap is ours alone.
    let Some(Stepped { pushed, .. }) = trapped else {
        return report::exception(frame, interrupted);
    };
    if let Some(pushed) = pushed {
        pushed.store(&ThisCpu, |to, flags| {
            let from = flags.as_ptr().expose_provenance() as u64;
            // SAFETY: (1) the instruction has just stored other flags at this place of the stack. If it is gone meanwhile,
            // nobody misses them.
            let _: Result<(), _> = unsafe { try_copy(to, from, flags.len()) };
        });
    }
}
