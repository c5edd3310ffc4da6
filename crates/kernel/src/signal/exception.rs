//! Exceptions of the processor in user mode, other than page faults: each is a signal to the thread that raised it.
//!
//! | vector | exception | signal, `si_code` |
//! |---|---|---|
//! | 0 | divide error | SIGFPE, `FPE_INTDIV` |
//! | 1 | debug | SIGTRAP, `TRAP_TRACE` after a single step, `TRAP_HWBKPT` at a watched address, else `TRAP_BRKPT` |
//! | 3 | breakpoint | SIGTRAP, `SI_KERNEL` |
//! | 4, 5 | overflow, bounds | SIGSEGV, `SI_KERNEL` |
//! | 6 | invalid opcode | SIGILL, `ILL_ILLOPN` |
//! | 11, 12 | segment not present, stack segment | SIGBUS, `SI_KERNEL` |
//! | 13 | general protection | SIGSEGV, `SI_KERNEL` |
//! | 16, 19 | x87, SIMD | SIGFPE, by what happened and is not masked |
//! | 17 | alignment check | SIGBUS, `BUS_ADRALN` |
//!
//! `si_addr` is the instruction's address where the table names no `SI_KERNEL`, but 0 for vector 17. Others are none that a
//! program can raise; they are SIGSEGV.
//!
//! Source: Linux 6.12 `arch/x86/kernel/traps.c` (`do_error_trap`, `do_trap_no_signal`, `exc_debug_user`, `math_error`),
//! `arch/x86/kernel/fpu/core.c` (`fpu__exception_code`).

use pkeys_core::siginfo::{TRAP_BRKPT, TRAP_HWBKPT, TRAP_TRACE};

use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::signal::info::Detail;
use crate::signal::xstate::{get_u16, get_u32};
use crate::signal::{SigInfo, Signo};
use crate::task::UserRegs;

const FPE_INTDIV: i32 = 1;
const FPE_FLTDIV: i32 = 3;
const FPE_FLTOVF: i32 = 4;
const FPE_FLTUND: i32 = 5;
const FPE_FLTRES: i32 = 6;
const FPE_FLTINV: i32 = 7;
const ILL_ILLOPN: i32 = 2;
const BUS_ADRALN: i32 = 1;

/// DR6.BS: a single step. DR6.B0 to DR6.B3: a watched address.
const DR6_STEP: u64 = 1 << 14;
const DR6_WATCHED: u64 = 0xF;

/// Vectors of the processor.
const DEBUG: u8 = 1;
const X87: u8 = 16;
const SIMD: u8 = 19;

/// Where the x87 control word, its status word, and MXCSR stand in an XSAVE area.
const CONTROL_OFFSET: usize = 0;
const STATUS_OFFSET: usize = 2;
const MXCSR_OFFSET: usize = 24;

impl<P: Platform> Kernel<P> {
    /// An exception of the running thread, up to the signal.
    pub(crate) fn handle_exception(
        &self,
        here: &Here<'_, P>,
        regs: &UserRegs,
        vector: u8,
        code: u64,
    ) {
        let fault = |signo, code, addr| SigInfo {
            signo,
            code,
            detail: Detail::Fault { addr, pkey: None },
        };
        let at = regs.rip;
        let info = match vector {
            0 => fault(Signo::FPE, FPE_INTDIV, at),
            DEBUG => fault(Signo::TRAP, debug_code(code), at),
            3 => SigInfo::kernel(Signo::TRAP),
            6 => fault(Signo::ILL, ILL_ILLOPN, at),
            11 | 12 => SigInfo::kernel(Signo::BUS),
            17 => fault(Signo::BUS, BUS_ADRALN, 0),
            X87 | SIMD => match self.floating_point_code(here, vector) {
                Some(code) => fault(Signo::FPE, code, at),
                // Nothing that is not masked: the instruction is made again.
                None => return,
            },
            _ => SigInfo::kernel(Signo::SEGV),
        };
        {
            let mut signals = here.running.thread.signals.lock();
            signals.fault.err = if vector == DEBUG { 0 } else { code };
            signals.fault.trapno = u64::from(vector);
        }
        self.force(here, info);
    }

    /// `si_code` of an x87 or SIMD exception, by the registers that tell of it.
    fn floating_point_code(&self, here: &Here<'_, P>, vector: u8) -> Option<i32> {
        let mut state = here.running.thread.xstate.lock();
        self.platform
            .save_xstate(here.processor.cpu(), state.area_mut());
        let area = state.area();
        let raised = if vector == X87 {
            let masked = u32::from(get_u16(area, CONTROL_OFFSET));
            u32::from(get_u16(area, STATUS_OFFSET)) & !masked
        } else {
            let mxcsr = get_u32(area, MXCSR_OFFSET);
            !(mxcsr >> 7) & mxcsr
        };
        floating_point_code(raised)
    }
}

/// `si_code` of a debug exception, by DR6.
const fn debug_code(dr6: u64) -> i32 {
    if dr6 & DR6_STEP != 0 {
        TRAP_TRACE
    } else if dr6 & DR6_WATCHED != 0 {
        TRAP_HWBKPT
    } else {
        TRAP_BRKPT
    }
}

/// `si_code` by the exceptions that were raised and are not masked: of several, as Linux chooses.
const fn floating_point_code(raised: u32) -> Option<i32> {
    Some(if raised & 1 != 0 {
        FPE_FLTINV
    } else if raised & 4 != 0 {
        FPE_FLTDIV
    } else if raised & 8 != 0 {
        FPE_FLTOVF
    } else if raised & 0x12 != 0 {
        FPE_FLTUND
    } else if raised & 0x20 != 0 {
        FPE_FLTRES
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::{debug_code, floating_point_code};

    #[test]
    fn a_step_counts_before_a_watched_address() {
        for (dr6, code) in [
            (0x4000, 2),
            (0x4001, 2),
            (0x0001, 4),
            (0x0008, 4),
            (0, 1),
            (0xFFFF_0FF0, 1),
        ] {
            assert_eq!(debug_code(dr6), code, "{dr6:#x}");
        }
    }

    #[test]
    fn the_first_of_several_floating_point_exceptions_is_told() {
        for (raised, code) in [
            (0, None),
            (0x40, None),
            (0x3F, Some(7)),
            (0x3E, Some(3)),
            (0x3A, Some(4)),
            (0x32, Some(5)),
            (0x02, Some(5)),
            (0x20, Some(6)),
        ] {
            assert_eq!(floating_point_code(raised), code, "{raised:#x}");
        }
    }
}
