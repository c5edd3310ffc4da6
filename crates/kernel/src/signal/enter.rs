//! Into a handler: the frame is written, the registers and PKRU become the handler's.
//!
//! Source: Linux 6.12 `arch/x86/kernel/signal.c` (`get_sigframe`, `handle_signal`, `sig_prepare_pkru`), `signal_64.c`
//! (`x64_setup_rt_frame`), `arch/x86/kernel/fpu/signal.c` (`copy_fpstate_to_sigframe`), `kernel/signal.c`
//! (`signal_setup_done`).

use pkeys_core::KeyRegister;

use crate::abi::signal::{
    SA_NODEFER, SA_ONSTACK, SA_RESTORER, SA_SIGINFO, SS_AUTODISARM, UC_FP_XSTATE, UC_SIGCONTEXT_SS,
    UC_STRICT_RESTORE_SS,
};
use crate::hardware::Cpu;
use crate::kernel::{Here, Kernel};
use crate::mutant::{self, Mutant};
use crate::platform::Platform;
use crate::signal::frame::{self, FRAME_LEN, Head, Place, SIGINFO, SIGMASK, UCONTEXT};
use crate::signal::info::SIGINFO_LEN;
use crate::signal::{AltStack, SigAction, SigInfo, SigSet};
use crate::task::UserRegs;
use crate::task::regs::{RFLAGS_CLEAR_IN_HANDLER, USER_CS, USER_SS};

/// The frame could not be written.
struct NoFrame;

impl<P: Platform> Kernel<P> {
    /// Lets a handler run, or raises SIGSEGV where its frame cannot be.
    pub(crate) fn enter_handler(
        &self,
        here: &Here<'_, P>,
        regs: &mut UserRegs,
        info: SigInfo,
        action: &SigAction,
    ) {
        let interrupted = here.register().map(|register| register.read());
        here.processor.set_opened(true);
        let written = self.write_frame(here, regs, &info, action, interrupted);
        match written {
            Ok(frame) => {
                set_handler_regs(regs, frame, &info, action);
                self.start_handler(here, interrupted);
                here.processor.set_opened(false);
                block_for_handler(here, &info, action);
            }
            Err(NoFrame) => {
                here.processor.set_opened(false);
                self.force_for_bad_frame(here, info.signo);
            }
        }
    }

    /// Writes everything that the handler finds on its stack. Gives the frame's address.
    fn write_frame(
        &self,
        here: &Here<'_, P>,
        regs: &UserRegs,
        info: &SigInfo,
        action: &SigAction,
        interrupted: Option<KeyRegister>,
    ) -> Result<u64, NoFrame> {
        if !action.has(SA_RESTORER) {
            return Err(NoFrame);
        }
        let (altstack, blocked, fault) = {
            let own = here.running.thread.signals.lock();
            let blocked = own.before_suspend.unwrap_or(own.blocked);
            (own.altstack, blocked, own.fault)
        };
        let xstate_len = self.config.xstate.frame_len();
        let wants = action.has(SA_ONSTACK);
        let place = Place::find(regs.rsp, &altstack, wants, xstate_len).ok_or(NoFrame)?;
        self.write_extended_state(here, place.xstate, interrupted)?;
        let head = Head {
            restorer: action.restorer,
            uc_flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
            altstack,
            regs: *regs,
            fault,
            oldmask: blocked.0,
            xstate: place.xstate,
        };
        self.write_frame_body(
            here,
            place.frame,
            &head,
            action.has(SA_SIGINFO).then_some(info),
        )?;
        Ok(place.frame)
    }

    /// Opens all keys and writes the extended state, with the interrupted PKRU in it.
    fn write_extended_state(
        &self,
        here: &Here<'_, P>,
        at: u64,
        interrupted: Option<KeyRegister>,
    ) -> Result<(), NoFrame> {
        let cpu = here.processor.cpu();
        if interrupted.is_some_and(|pkru| pkru != KeyRegister::ALL_OPEN) {
            cpu.write_pkru(KeyRegister::ALL_OPEN);
        }
        let mut state = here.running.thread.xstate.lock();
        self.platform.save_xstate(cpu, state.area_mut());
        let live = KeyRegister::ALL_OPEN;
        let bytes = state.for_frame(&self.config.xstate, interrupted, live);
        if here.write(at, bytes).is_ok() {
            return Ok(());
        }
        if let Some(pkru) = interrupted.filter(|pkru| *pkru != KeyRegister::ALL_OPEN) {
            cpu.write_pkru(pkru);
        }
        Err(NoFrame)
    }

    fn write_frame_body(
        &self,
        here: &Here<'_, P>,
        at: u64,
        head: &Head,
        info: Option<&SigInfo>,
    ) -> Result<(), NoFrame> {
        const { assert!(SIGINFO == SIGMASK as u64 + 8 && FRAME_LEN == SIGINFO + SIGINFO_LEN as u64) };
        if !crate::memory::layout::is_user_range(at, FRAME_LEN) {
            return Err(NoFrame);
        }
        let mask = head.oldmask.to_le_bytes();
        here.write(at, &head.bytes())
            .and_then(|()| match info {
                Some(info) => {
                    let mut tail = [0; 8 + SIGINFO_LEN];
                    let (start, rest) = tail.split_at_mut(8);
                    start.copy_from_slice(&mask);
                    rest.copy_from_slice(&info.bytes());
                    here.write(at + SIGMASK as u64, &tail)
                }
                None => here.write(at + SIGMASK as u64, &mask),
            })
            .map_err(|_| NoFrame)
    }

    /// The extended state becomes the initial one, and PKRU the value that handlers start with.
    fn start_handler(&self, here: &Here<'_, P>, interrupted: Option<KeyRegister>) {
        let thread = &here.running.thread;
        let mut state = thread.xstate.lock();
        state.clear();
        self.platform
            .load_xstate(here.processor.cpu(), state.area());
        drop(state);
        let (Some(register), Some(interrupted)) = (here.register(), interrupted) else {
            return;
        };
        thread.note_interrupted(interrupted.bits());
        if mutant::is(Mutant::HandlerKeepsPkru) {
            register.write(interrupted);
        } else {
            thread
                .keys()
                .load(self.config.init_pkru.register(), register);
        }
    }
}

/// The handler's three arguments, its stack, and flags as a function expects them.
fn set_handler_regs(regs: &mut UserRegs, frame: u64, info: &SigInfo, action: &SigAction) {
    regs.rdi = u64::from(info.signo.number().unsigned_abs());
    // For a handler without a prototype: no vector registers are in use.
    regs.rax = 0;
    regs.rsi = frame + frame::SIGINFO;
    regs.rdx = frame + UCONTEXT;
    regs.rip = action.handler;
    regs.rsp = frame;
    regs.rflags &= !RFLAGS_CLEAR_IN_HANDLER;
    regs.cs = USER_CS;
    regs.ss = USER_SS;
    regs.orig_rax = UserRegs::NO_CALL;
}

/// The mask during the handler, and an alternate stack that disarms itself.
fn block_for_handler<P: Platform>(here: &Here<'_, P>, info: &SigInfo, action: &SigAction) {
    let mut own = here.running.thread.signals.lock();
    if own.altstack.flags & SS_AUTODISARM != 0 {
        own.altstack = AltStack::NONE;
    }
    // The frame has it.
    own.before_suspend = None;
    own.blocked = own.blocked.or(action.mask);
    if !action.has(SA_NODEFER) {
        own.blocked = own.blocked.or(SigSet::of(info.signo)).blockable();
    }
}
