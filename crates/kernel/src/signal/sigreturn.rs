//! Back from a handler: `rt_sigreturn(2)`.
//!
//! The frame may be anything: a program writes what it likes there and calls. What comes from it is limited to what user
//! mode may have anyway. It is read under the caller's PKRU: the mask, the alternate stack and the registers at once, then
//! the extended state with PKRU, which may lie elsewhere. If only that fails, the rest stays in effect; the failure is
//! SIGSEGV.
//!
//! A program of 32 bits there is not, so that its code segment is refused as any other that is not the user's.
//!
//! Source: Linux 6.12 `arch/x86/kernel/signal_64.c` (`rt_sigreturn`, `restore_sigcontext`).

use crate::abi::Errno;
use crate::abi::signal::UC_STRICT_RESTORE_SS;
use crate::kernel::{Here, Kernel};
use crate::memory::layout::is_user_range;
use crate::platform::Platform;
use crate::signal::altstack::AltStack;
use crate::signal::frame::{Context, FRAME_LEN, MCONTEXT, SIGMASK, UC_FLAGS, UC_STACK};
use crate::signal::{SigInfo, SigSet, Signo};
use crate::task::UserRegs;
use crate::task::regs::USER_SS;

/// What a return reads of the frame. It lies in two pages at most, and the first two words that are read are its ends.
const FIELDS_LEN: usize = SIGMASK + 8 - UC_FLAGS;

/// The frame cannot be read, or is not one.
pub(super) struct BadFrame;

impl From<Errno> for BadFrame {
    fn from(_: Errno) -> Self {
        Self
    }
}

impl<P: Platform> Kernel<P> {
    /// `int rt_sigreturn(void);` with the stack pointer 8 above the frame.
    pub(crate) fn rt_sigreturn(&self, here: &Here<'_, P>, regs: &mut UserRegs) -> u64 {
        if let Err(BadFrame) = self.restore_frame(here, regs) {
            self.force(here, SigInfo::kernel(Signo::SEGV));
            return 0;
        }
        regs.rax
    }

    fn restore_frame(&self, here: &Here<'_, P>, regs: &mut UserRegs) -> Result<(), BadFrame> {
        let frame = regs.rsp.wrapping_sub(8);
        if !is_user_range(frame, FRAME_LEN) {
            return Err(BadFrame);
        }
        let fields: [u8; FIELDS_LEN] = here.read(frame + UC_FLAGS as u64)?;
        let mask = SigSet(u64::from_le_bytes(field(&fields, SIGMASK)?)).blockable();
        let uc_flags = u64::from_le_bytes(field(&fields, UC_FLAGS)?);
        self.set_mask(here, mask);
        let altstack = AltStack::from_bytes(&field(&fields, UC_STACK)?);
        // Its errors are nobody's: most often the handler is still on the stack that would be changed.
        let _ = here
            .running
            .thread
            .signals
            .lock()
            .altstack
            .change(altstack, regs.rsp);
        let context = Context::from_bytes(&field(&fields, MCONTEXT)?);
        context.restore(regs);
        if uc_flags & UC_STRICT_RESTORE_SS == 0 {
            regs.ss = USER_SS;
        }
        self.restore_extended_state(here, context.xstate())
    }
}

/// A part of the frame's fields.
fn field<const N: usize>(fields: &[u8; FIELDS_LEN], offset: usize) -> Result<[u8; N], BadFrame> {
    let field = fields.get(offset - UC_FLAGS..);
    field.and_then(<[u8]>::first_chunk).copied().ok_or(BadFrame)
}
