//! A page fault of the kernel's on a page with a key: judged by the modes.
//!
//! An access that has a fixup is none of these: who wrote the fixup has said what a fault means.

use pkeys_kernel::pks::{Context, KeyFault, KeyedPage, Verdict};

use super::{KMAP, PKS, told};
use crate::memory::kernel_tables;
use crate::trap::fixup::{Fault, try_read};
use crate::trap::frame::Frame;
use crate::trap::report;

/// Whether the access is to be tried again. One that the modes stop does not come back.
pub(crate) fn handle(frame: &mut Frame, fault: Fault, interrupted: &Context) -> bool {
    let Fault { addr, code } = fault;
    if is_of_user_page(fault) {
        return false;
    }
    let rip = frame.rip;
    let page = kernel_tables::pkey(addr).map(|pkey| KeyedPage {
        pkey,
        state: KMAP.state(addr, pkey),
    });
    match PKS.judge(&KeyFault { addr, code, rip }, interrupted, page) {
        Verdict::Other => false,
        Verdict::Retry => true,
        Verdict::Pardon(pardoned) => {
            if let Some(report) = pardoned.report {
                told::add(report);
            }
            let (bytes, len) = code_at(rip);
            pardoned.give(interrupted, frame, bytes.get(..len).unwrap_or_default());
            true
        }
        Verdict::Fatal(report) => report::stray(frame, interrupted, &report),
    }
}

/// Whether PKRU has stopped the access, on a page of a program: supervisor keys are those of the kernel's pages, in the upper
/// half.
pub(crate) fn is_of_user_page(fault: Fault) -> bool {
    fault.code.has_pkey_bit() && fault.addr >> 63 == 0
}

/// The instruction at an address, as many of 16 bytes as can be read.
fn code_at(rip: u64) -> ([u8; 16], usize) {
    let mut bytes = [0; 16];
    let mut len = 0;
    for (chunk, at) in bytes.chunks_exact_mut(8).zip([rip, rip.wrapping_add(8)]) {
        let Ok(word) = try_read(at) else { break };
        chunk.copy_from_slice(&word.to_le_bytes());
        len += 8;
    }
    (bytes, len)
}
