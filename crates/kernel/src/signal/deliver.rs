//! On the way to user mode: everything that has to be done before a thread goes on.
//!
//! In this order, until nothing is left: the process is ending; the thread's number is to be written; somebody wants it to
//! stop; a signal is to be delivered; a call that waited is to be made once more. Several signals make several frames, one
//! on top of the other, so that the handler of the last runs first.
//!
//! Source: Linux `kernel/signal.c` (`get_signal`, `ptrace_signal`), `arch/x86/kernel/signal.c`
//! (`arch_do_signal_or_restart`).

use crate::abi::Errno;
use crate::abi::signal::{SA_RESETHAND, SA_RESTART, SIG_DFL, SIG_IGN};
use crate::kernel::{Here, Kernel, Outcome};
use crate::platform::Platform;
use crate::signal::set::DefaultAction;
use crate::signal::{SigAction, SigInfo, SigSet, Signo};
use crate::syscall;
use crate::task::regs::{USER_CS, USER_SS};
use crate::task::thread::{ThreadSignals, Trap};
use crate::task::wait::WaitFor;
use crate::task::{ExitStatus, UserRegs};

/// What is to be done about signals.
enum Next {
    /// A handler is to run.
    Handle(SigInfo, SigAction),
    /// The process ends.
    End(Signo),
    /// The process stops.
    Stop(Signo),
    /// A tracer is to be asked first.
    Trap(Signo),
    /// There is none.
    Nothing,
}

impl<P: Platform> Kernel<P> {
    /// The end of every entry.
    pub(crate) fn return_to_user(&self, here: &mut Here<'_, P>, regs: &mut UserRegs) -> Outcome {
        loop {
            while here.running.thread.take_work() {
                if let Some(outcome) = self.do_work(here, regs) {
                    return outcome;
                }
            }
            let Some(code) = refused_by_iret(regs) else {
                return Outcome::Resume;
            };
            self.handle_general_protection(here, code);
        }
    }

    /// One thing. `None` if the thread still runs.
    fn do_work(&self, here: &mut Here<'_, P>, regs: &mut UserRegs) -> Option<Outcome> {
        if here.running.thread.is_ending() {
            return Some(self.end_here(here, None));
        }
        self.write_own_id(here);
        if let Some(outcome) = self.stop_if_asked(here, regs) {
            return Some(outcome);
        }
        match self.next_signal(here) {
            Next::Handle(info, action) => {
                // There may be more.
                here.running.thread.add_work();
                self.interrupt_call(here, regs, &action);
                self.enter_handler(here, regs, info, &action);
                None
            }
            Next::End(signo) => {
                let status = ExitStatus::Killed(signo.number());
                Some(self.end_here(here, Some(status)))
            }
            Next::Stop(signo) => self.stop_process(here, regs, signo),
            Next::Trap(signo) => self.stop_for_tracer(here, regs, signo.number()),
            Next::Nothing => self.make_call_again(here, regs),
        }
    }

    /// Takes the next signal, as far as deciding what it means.
    fn next_signal(&self, here: &Here<'_, P>) -> Next {
        let thread = &here.running.thread;
        loop {
            let mut shared = thread.process().signals.lock();
            let mut own = thread.signals.lock();
            let info = match own.trap.take() {
                Some(trap) => self.after_trap(&mut own, trap),
                None => {
                    let blocked = own.blocked;
                    let next = own
                        .pending
                        .take_raised(blocked)
                        .or_else(|| own.pending.take(blocked))
                        .or_else(|| shared.pending.take(blocked));
                    let Some(info) = next else {
                        return Next::Nothing;
                    };
                    if thread.is_traced() && info.signo != Signo::KILL {
                        own.trap = Some(Trap {
                            info: Some(info),
                            deliver: info.signo.number(),
                            tracer_pid: 0,
                        });
                        return Next::Trap(info.signo);
                    }
                    Some(info)
                }
            };
            let Some(info) = info else { continue };
            let action = shared.actions.get(info.signo);
            match action.handler {
                SIG_IGN => {}
                SIG_DFL => match info.signo.default_action() {
                    DefaultAction::Ignore => {}
                    DefaultAction::Stop => return Next::Stop(info.signo),
                    DefaultAction::End => return Next::End(info.signo),
                },
                _ => {
                    if action.has(SA_RESETHAND) {
                        shared.actions.reset_handler(info.signo);
                    }
                    return Next::Handle(info, action);
                }
            }
        }
    }

    /// What the tracer has made of a signal: the same, another one, or none.
    fn after_trap(&self, own: &mut ThreadSignals, trap: Trap) -> Option<SigInfo> {
        let signo = Signo::new(trap.deliver)?;
        let info = match trap.info {
            Some(info) if info.signo == signo => info,
            _ => SigInfo::user(signo, trap.tracer_pid, self.config.uid),
        };
        if own.blocked.contains(signo) {
            // Where it is full, the signal is lost, as one that was sent would be.
            let _ = own.pending.push(info);
            return None;
        }
        Some(info)
    }

    /// A handler is to run while a call waits: the call ends with what it has done, or `EINTR`, or is made again after the
    /// handler.
    fn interrupt_call(&self, here: &Here<'_, P>, regs: &mut UserRegs, action: &SigAction) {
        let Some(waiting) = here.running.thread.waiting.lock().take() else {
            return;
        };
        self.timers.remove(here.tid());
        here.running.thread.signals.lock().wanted = SigSet::EMPTY;
        regs.rax = match waiting.what {
            // Somebody has woken it before the signal came.
            WaitFor::Futex if !self.leave_futex(here.tid()) => 0,
            WaitFor::Pipe if waiting.done > 0 => waiting.done,
            WaitFor::Time => syscall::raw(self.interrupt_sleep(here, regs, waiting.done)),
            what if action.has(SA_RESTART) && what.is_made_again(waiting.done) => {
                // The instruction SYSCALL is two bytes long.
                regs.rip = regs.rip.wrapping_sub(2);
                regs.orig_rax
            }
            _ => syscall::raw(Err(Errno::Interrupted)),
        };
    }

    /// Makes a call that waited once more.
    fn make_call_again(&self, here: &mut Here<'_, P>, regs: &mut UserRegs) -> Option<Outcome> {
        let waiting = here.running.thread.waiting.lock().take()?;
        if regs.orig_rax == UserRegs::NO_CALL {
            // A tracer does not want it made again.
            self.leave_futex(here.tid());
            let before = {
                let mut own = here.running.thread.signals.lock();
                own.wanted = SigSet::EMPTY;
                own.before_suspend.take()
            };
            if let Some(mask) = before {
                self.set_mask(here, mask);
            }
            return None;
        }
        match self.dispatch(here, regs, waiting.done) {
            Ok(result) => regs.rax = result,
            Err(end) => return self.finish_call(here, regs, end),
        }
        None
    }
}

/// Whether IRET refuses to go to user mode with these registers, and the error code of the fault that it raises then.
fn refused_by_iret(regs: &UserRegs) -> Option<u64> {
    let is_canonical = regs.rip.cast_signed() << 16 >> 16 == regs.rip.cast_signed();
    if regs.cs != USER_CS {
        Some(u64::from(regs.cs & !3))
    } else if regs.ss != USER_SS {
        Some(u64::from(regs.ss & !3))
    } else if is_canonical {
        None
    } else {
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::refused_by_iret;
    use crate::task::UserRegs;

    #[test]
    fn iret_wants_canonical_addresses_and_the_users_segments() {
        let table = [
            (0, None),
            (0x7FFF_FFFF_FFFF, None),
            (0x8000_0000_0000, Some(0)),
            (0xFFFF_7FFF_FFFF_FFFF, Some(0)),
            (0xFFFF_8000_0000_0000, None),
        ];
        for (rip, code) in table {
            assert_eq!(refused_by_iret(&UserRegs::new(rip, 0)), code, "{rip:#x}");
        }
        let bad_cs = UserRegs {
            cs: 0x23,
            ..UserRegs::default()
        };
        assert_eq!(refused_by_iret(&bad_cs), Some(0x20));
        let bad_ss = UserRegs {
            ss: 0x10 | 3,
            ..UserRegs::default()
        };
        assert_eq!(refused_by_iret(&bad_ss), Some(0x10));
    }
}
