//! Signals that the running thread gets for what it did, whether it wants them or not.
//!
//! A fault has to be answered before the instruction is tried again. So where the signal is blocked or ignored, its action
//! becomes the default, which ends the process.
//!
//! What a fault leaves behind, its error code, number and address, is kept for the thread and stands in every later
//! frame. Two things in it are not what the CPU said: the bit for user mode is always set, and for an address that is not
//! the user's the bit for a present page is, so that nobody can find out what the kernel has mapped.
//!
//! Source: Linux `kernel/signal.c` (`force_sig_info_to_task`, `force_sigsegv`), `arch/x86/mm/fault.c`
//! (`set_signal_archinfo`, `sanitize_error_code`, `do_user_addr_fault`), `arch/x86/kernel/traps.c`
//! (`exc_general_protection`).

use pkeys_core::PageFaultErrorCode;

use crate::hardware::HardwareFault;
use crate::kernel::{Here, Kernel};
use crate::keys::fault::Segv;
use crate::memory::FaultEnd;
use crate::memory::layout::TASK_SIZE;
use crate::platform::Platform;
use crate::signal::frame::LastFault;
use crate::signal::{SigInfo, SigSet, Signo};
use crate::task::ExitStatus;

/// The number of the page fault.
const TRAP_PAGE_FAULT: u64 = 14;
/// The number of the general protection fault.
const TRAP_GENERAL_PROTECTION: u64 = 13;

impl<P: Platform> Kernel<P> {
    /// A page fault in user mode, up to the signal.
    pub(crate) fn handle_page_fault(&self, here: &Here<'_, P>, fault: HardwareFault) {
        let is_users = fault.addr < TASK_SIZE;
        let end = if is_users {
            match here.running.space.page_fault(&here.caller(), fault) {
                Ok(()) => return,
                Err(end) => end,
            }
        } else {
            FaultEnd::Segv(Segv::MAPERR)
        };
        let info = match end {
            FaultEnd::Segv(segv) => SigInfo::segv(segv, fault.addr),
            FaultEnd::Bus => SigInfo::bus(fault.addr),
            FaultEnd::OutOfMemory => return self.kill_for_memory(here),
        };
        let hidden = if is_users { 0 } else { PageFaultErrorCode::P };
        let err = fault.code.bits() | PageFaultErrorCode::U | hidden;
        here.running.thread.signals.lock().fault = LastFault {
            err: u64::from(err),
            trapno: TRAP_PAGE_FAULT,
            cr2: fault.addr,
        };
        self.force(here, info);
    }

    /// There is no memory for what the running thread wants, and its process is killed.
    pub(crate) fn kill_for_memory(&self, here: &Here<'_, P>) {
        self.with_tasks(|tasks| {
            self.start_end(tasks, here.pid(), ExitStatus::Killed(Signo::KILL.number()));
        });
    }

    /// A general protection fault in user mode, up to the signal.
    pub(crate) fn handle_general_protection(&self, here: &Here<'_, P>, code: u64) {
        {
            let mut signals = here.running.thread.signals.lock();
            signals.fault.err = code;
            signals.fault.trapno = TRAP_GENERAL_PROTECTION;
        }
        self.force(here, SigInfo::kernel(Signo::SEGV));
    }

    /// The running thread gets a signal that it cannot escape.
    pub(crate) fn force(&self, here: &Here<'_, P>, info: SigInfo) {
        self.force_with(here, info, false);
    }

    /// A signal's frame could not be written: SIGSEGV, and if it was that already, the end.
    pub(crate) fn force_for_bad_frame(&self, here: &Here<'_, P>, signo: Signo) {
        self.force_with(here, SigInfo::kernel(Signo::SEGV), signo == Signo::SEGV);
    }

    fn force_with(&self, here: &Here<'_, P>, info: SigInfo, is_fatal: bool) {
        let thread = &here.running.thread;
        let mut process = thread.process().signals.lock();
        let mut own = thread.signals.lock();
        let is_blocked = own.blocked.contains(info.signo);
        let is_ignored = process.actions.get(info.signo).handler == crate::abi::signal::SIG_IGN;
        if is_blocked || is_ignored || is_fatal {
            process.actions.reset_handler(info.signo);
            own.blocked = own.blocked.without(SigSet::of(info.signo));
        }
        // Only signals that are queued can find the queue full, and none of those is forced.
        let _ = own.pending.push(info);
        thread.add_work();
    }
}
