//! Another thread on a CPU.
//!
//! Only what differs is loaded: the page tables if the address space is another one, PKRU if the value is. The order
//! matters little, as user code runs only afterwards; but the old thread's PKRU has to be read before the register is
//! anybody else's.
//!
//! Source: Linux `arch/x86/kernel/process_64.c` (`__switch_to`, `x86_pkru_load`), `arch/x86/mm/tlb.c`
//! (`switch_mm_irqs_off`).

use alloc::sync::Arc;
use core::fmt;

use crate::hardware::Cpu;
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::task::UserRegs;
use crate::task::processor::{Processor, Running};
use crate::task::table::RunState;

/// Why a thread cannot run here now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CannotSwitch {
    /// There is no such thread.
    NoThread,
    /// It waits or is stopped.
    NotReady,
    /// It runs on another CPU.
    Elsewhere,
}

impl fmt::Display for CannotSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoThread => "there is no such thread",
            Self::NotReady => "the thread waits or is stopped",
            Self::Elsewhere => "the thread runs on another CPU",
        })
    }
}

impl core::error::Error for CannotSwitch {}

impl<P: Platform> Kernel<P> {
    /// Takes the running thread off this CPU, if there is one, and puts another one on it. `regs` are the registers of
    /// the one, and then those of the other. Before it goes on in user mode, [`Kernel::deliver`] is to be called.
    ///
    /// # Errors
    ///
    /// [`CannotSwitch`]; then nothing has changed.
    pub fn switch_to(
        &self,
        processor: &Processor<P>,
        regs: &mut UserRegs,
        tid: i32,
    ) -> Result<(), CannotSwitch> {
        let old = processor.running();
        if old.as_ref().is_some_and(|old| old.thread.tid() == tid) {
            return Ok(());
        }
        let next = self.claim(processor, old.as_ref(), tid)?;
        match &old {
            Some(old) => {
                self.save(processor, old, regs);
                if processor.cpu().has_pku() {
                    old.thread
                        .keys()
                        .switch_to(next.thread.keys(), processor.cpu());
                }
                self.set_ready(old.thread.tid());
            }
            None => {
                if processor.cpu().has_pku() {
                    next.thread.keys().first_switch(processor.cpu());
                }
            }
        }
        processor.activate(&next.space);
        *regs = *next.thread.regs.lock();
        self.platform
            .load_xstate(processor.cpu(), next.thread.xstate.lock().area());
        processor.set_running(Some(next));
        Ok(())
    }

    /// Leaves a CPU without a thread and without an address space.
    pub fn idle(&self, processor: &Processor<P>, regs: &UserRegs) {
        if let Some(old) = processor.running() {
            self.save(processor, &old, regs);
            processor.set_running(None);
            self.set_ready(old.thread.tid());
        }
        processor.deactivate(&self.platform);
    }

    /// The threads that could run and run nowhere, by their numbers.
    #[must_use]
    pub fn ready(&self) -> alloc::vec::Vec<i32> {
        let tasks = self.tasks.lock();
        let ready = tasks
            .threads
            .iter()
            .filter(|(_, entry)| entry.state == RunState::Ready);
        ready.map(|(tid, _)| *tid).collect()
    }

    /// Whether a thread could run: it runs nowhere, and neither waits nor is stopped.
    #[must_use]
    pub fn is_ready(&self, tid: i32) -> bool {
        let tasks = self.tasks.lock();
        let entry = tasks.threads.get(&tid);
        entry.is_some_and(|entry| entry.state == RunState::Ready)
    }

    /// Makes the next thread this CPU's.
    fn claim(
        &self,
        processor: &Processor<P>,
        old: Option<&Running<P>>,
        tid: i32,
    ) -> Result<Running<P>, CannotSwitch> {
        let mut tasks = self.tasks.lock();
        let entry = tasks.threads.get_mut(&tid).ok_or(CannotSwitch::NoThread)?;
        match entry.state {
            RunState::Ready => {}
            RunState::Running(_) => return Err(CannotSwitch::Elsewhere),
            RunState::Blocked(_) | RunState::Stopped => return Err(CannotSwitch::NotReady),
        }
        let thread = Arc::clone(&entry.thread);
        let space = match old {
            // The common case needs no lock of the process.
            Some(old) if Arc::ptr_eq(old.thread.process(), thread.process()) => {
                Arc::clone(&old.space)
            }
            _ => thread.process().space().ok_or(CannotSwitch::NoThread)?,
        };
        entry.state = RunState::Running(processor.cpu().id());
        Ok(Running { thread, space })
    }

    /// Keeps what is in registers.
    fn save(&self, processor: &Processor<P>, old: &Running<P>, regs: &UserRegs) {
        *old.thread.regs.lock() = *regs;
        let mut state = old.thread.xstate.lock();
        self.platform.save_xstate(processor.cpu(), state.area_mut());
        if processor.cpu().has_pku() {
            let keys = old.thread.keys();
            keys.save(processor.cpu());
            state.note_pkru(&self.config.xstate, keys.saved());
        }
    }

    /// Keeps the registers of a thread that leaves the CPU for something else than another thread.
    pub(crate) fn save_here(&self, here: &Here<'_, P>, regs: &UserRegs) {
        self.save(here.processor, &here.running, regs);
    }

    fn set_ready(&self, tid: i32) {
        let mut tasks = self.tasks.lock();
        if let Some(entry) = tasks.threads.get_mut(&tid)
            && let RunState::Running(_) = entry.state
        {
            entry.state = RunState::Ready;
        }
    }
}
