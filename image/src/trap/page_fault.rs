//! Page faults of the kernel.

use pkeys_core::PageFaultErrorCode;

use super::fixup::{self, Fault};
use super::frame::Frame;
use super::report;
use crate::cpu::registers;
use crate::keys;
use crate::slot::Slot;
use pkeys_kernel::pks::{self, Context};

/// Judges a fault of a supervisor key: takes the fault and the context that it happened in, and says whether the access is
/// to be tried again.
pub(crate) type KeyFault = fn(&mut Frame, Fault, &Context) -> bool;

static KEY_FAULT: Slot<KeyFault> = Slot::empty();

/// Has a function judge faults of supervisor keys, or none: then each is fatal.
pub(crate) fn set_key_fault(judge: Option<KeyFault>) {
    KEY_FAULT.set(judge);
}

fn key_fault(frame: &mut Frame, fault: Fault, interrupted: &Context) -> bool {
    KEY_FAULT
        .get()
        .is_some_and(|judge| judge(frame, fault, interrupted))
}

/// Handles one, in `interrupted`.
pub(super) fn handle(frame: &mut Frame, interrupted: &Context) {
    let [code, _] = registers::halves(frame.code);
    let fault = Fault {
        addr: registers::read_cr2(),
        code: PageFaultErrorCode::from_bits(code),
    };
    let is_judged = fault.code.has_pkey_bit() && !fixup::has(frame);
    let is_settled = is_judged
        && (key_fault(frame, fault, interrupted) || keys::fault::handle(frame, fault, interrupted));
    if is_settled {
        return;
    }
    // Whatever else it is, nobody goes on with the flags of a step.
    pks::call_off(interrupted, frame);
    if fixup::apply(frame, fault) {
        return;
    }
    report::page_fault(frame, fault, interrupted)
}
