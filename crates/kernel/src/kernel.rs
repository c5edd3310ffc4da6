//! The kernel as one value: what it is made with, and its entries.
//!
//! A surrounding kernel calls one of these when a CPU comes from user mode, with the registers that its entry code saved,
//! and acts on the [`Outcome`]:
//!
//! | the CPU came by | entry |
//! |---|---|
//! | SYSCALL | [`Kernel::syscall`] |
//! | #PF | [`Kernel::page_fault`] |
//! | #GP: an address that is not canonical, say | [`Kernel::general_protection`] |
//! | another exception | [`Kernel::exception`] |
//! | the timer | [`Kernel::tick`], then [`Kernel::deliver`] if it was user mode |
//! | an interrupt that [`Platform::kick`] asked for | [`Kernel::deliver`] |
//! | the timer, or an idle CPU, where there is a clock | [`Kernel::wake_expired`] as well |
//!
//! and, when its scheduler has chosen a thread, [`Kernel::switch_to`] and then [`Kernel::deliver`].
//!
//! Everything takes `&self`; entries run on all CPUs at once. An entry on a CPU is not interrupted by another entry on the
//! same CPU, but for [`Kernel::tick`].

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use lock_api::Mutex;

use crate::abi::Errno;
use crate::hardware::HardwareFault;
use crate::keys::watchdog::{self, Findings, Repair};
use crate::keys::{InitPkru, PkruRegister};
use crate::memory::Pool;
use crate::platform::{Platform, SpaceOf};
use crate::signal::xstate::XstateConfig;
use crate::syscall::futex::Futexes;
use crate::task::UserRegs;
use crate::task::processor::{Processor, Running};
use crate::task::status::ExitStatus;
use crate::task::table::Tasks;
use crate::time::Timers;

/// What the kernel is made with.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The register that programs and signal handlers start with.
    pub init_pkru: InitPkru,
    /// Whether rights that the kernel did not give are taken back on a tick.
    pub has_watchdog: bool,
    /// The processor's extended state.
    pub xstate: XstateConfig,
    /// The user that all processes belong to.
    pub uid: u32,
    /// How many threads there may be.
    pub max_threads: usize,
    /// How many descriptors a process may have: `RLIMIT_NOFILE`.
    pub max_files: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            init_pkru: InitPkru::DEFAULT,
            has_watchdog: false,
            xstate: XstateConfig::INTEL,
            uid: 0,
            max_threads: 4096,
            max_files: 1024,
        }
    }
}

/// What is to be done after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the thread may not be there any more"]
pub enum Outcome {
    /// The thread goes on in user mode, with its registers as they are now.
    Resume,
    /// The thread waits or is stopped. The CPU is idle; [`Platform::wake`] will name the thread.
    Blocked,
    /// The thread has ended, and its process has not. The CPU is idle.
    ThreadEnded,
    /// The thread's process has ended. The CPU is idle.
    ProcessEnded(ExitStatus),
    /// No thread ran on this CPU.
    Idle,
}

/// Processes, threads, and everything they share.
pub struct Kernel<P: Platform> {
    pub(crate) platform: P,
    pub(crate) config: Config,
    pub(crate) pool: Pool<P::Memory, P::Lock>,
    pub(crate) tasks: Mutex<P::Lock, Tasks<P>>,
    pub(crate) futexes: Mutex<P::Lock, Futexes>,
    pub(crate) timers: Timers<P::Lock>,
    findings: Findings,
}

/// An entry under way: the CPU, and the thread that made it.
pub(crate) struct Here<'a, P: Platform> {
    pub(crate) processor: &'a Processor<P>,
    pub(crate) running: Running<P>,
}

impl<P: Platform> Here<'_, P> {
    pub(crate) fn caller(&self) -> crate::memory::Caller<'_, P::Cpu> {
        self.running.caller(self.processor)
    }

    pub(crate) fn tid(&self) -> i32 {
        self.running.thread.tid()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.running.thread.process().pid()
    }

    /// The register, or `None` where the CPU has no keys.
    pub(crate) fn register(&self) -> Option<&dyn PkruRegister> {
        self.caller().register()
    }
}

impl<P: Platform> Kernel<P> {
    /// A kernel without processes.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] for an extended state that cannot be ([`XstateConfig::is_possible`]).
    pub fn new(platform: P, pool: Pool<P::Memory, P::Lock>, config: Config) -> Result<Self, Errno> {
        if !config.xstate.is_possible() {
            return Err(Errno::Invalid);
        }
        Ok(Self {
            platform,
            config,
            pool,
            tasks: Mutex::new(Tasks::new()),
            futexes: Mutex::new(Futexes::default()),
            timers: Timers::new(),
            findings: Findings::default(),
        })
    }

    /// What it was made with.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The surrounding kernel.
    pub const fn platform(&self) -> &P {
        &self.platform
    }

    /// What the watchdog has found.
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The address space of a process, until it has ended.
    #[must_use]
    pub fn space(&self, pid: i32) -> Option<Arc<SpaceOf<P>>> {
        let process = Arc::clone(&self.tasks.lock().processes.get(&pid)?.process);
        process.space()
    }

    /// A system call: its number in RAX, its arguments in RDI, RSI, RDX, R10, R8 and R9. The result is in RAX when the
    /// outcome is [`Outcome::Resume`] and the call was not `rt_sigreturn` and was not interrupted by a handler.
    ///
    /// RCX and R11 get what the instruction SYSCALL puts there.
    pub fn syscall(&self, processor: &Processor<P>, regs: &mut UserRegs) -> Outcome {
        let Some(running) = processor.running() else {
            return Outcome::Idle;
        };
        let mut here = Here { processor, running };
        regs.rcx = regs.rip;
        regs.r11 = regs.rflags;
        regs.orig_rax = regs.rax;
        match self.dispatch(&mut here, regs, 0) {
            Ok(result) => regs.rax = result,
            Err(end) => {
                if let Some(outcome) = self.finish_call(&mut here, regs, end) {
                    return outcome;
                }
            }
        }
        self.return_to_user(&mut here, regs)
    }

    /// A page fault in user mode. The page is brought in, or the thread gets SIGSEGV, or SIGBUS.
    pub fn page_fault(
        &self,
        processor: &Processor<P>,
        regs: &mut UserRegs,
        fault: HardwareFault,
    ) -> Outcome {
        self.interrupted(processor, regs, |here, _| {
            self.handle_page_fault(here, fault);
        })
    }

    /// A general protection fault in user mode, with the error code that the CPU pushed: SIGSEGV with `SI_KERNEL`. Where
    /// the address of an access is not canonical, that is all a program is told.
    pub fn general_protection(
        &self,
        processor: &Processor<P>,
        regs: &mut UserRegs,
        code: u64,
    ) -> Outcome {
        self.interrupted(processor, regs, |here, _| {
            self.handle_general_protection(here, code);
        })
    }

    /// Another exception in user mode, by its vector, with the error code that the CPU pushed, or DR6 for vector 1: a signal
    /// that says what it was.
    pub fn exception(
        &self,
        processor: &Processor<P>,
        regs: &mut UserRegs,
        vector: u8,
        code: u64,
    ) -> Outcome {
        self.interrupted(processor, regs, |here, regs| {
            self.handle_exception(here, regs, vector, code);
        })
    }

    /// There is no memory for what the running thread wants: its process is killed, as by Linux when memory ends. For a
    /// surrounding kernel that sees its own memory end.
    pub fn out_of_memory(&self, processor: &Processor<P>, regs: &mut UserRegs) -> Outcome {
        self.interrupted(processor, regs, |here, _| self.kill_for_memory(here))
    }

    /// An entry that is no call: something is done about what has stopped the running thread, which may go on then.
    fn interrupted(
        &self,
        processor: &Processor<P>,
        regs: &mut UserRegs,
        handle: impl FnOnce(&Here<'_, P>, &UserRegs),
    ) -> Outcome {
        let Some(running) = processor.running() else {
            return Outcome::Idle;
        };
        let mut here = Here { processor, running };
        regs.orig_rax = UserRegs::NO_CALL;
        handle(&here, regs);
        self.return_to_user(&mut here, regs)
    }

    /// What has to be done before a thread goes on in user mode: signals, stops, a call that waited. To be called when a
    /// thread was switched to, and at the end of an interrupt in user mode.
    pub fn deliver(&self, processor: &Processor<P>, regs: &mut UserRegs) -> Outcome {
        let Some(running) = processor.running() else {
            return Outcome::Idle;
        };
        if !running.thread.has_work() {
            return Outcome::Resume;
        }
        self.return_to_user(&mut Here { processor, running }, regs)
    }

    /// A timer tick on this CPU, in whatever it was doing, with interrupts off: the watchdog, if it is on. Gives what it
    /// put right.
    pub fn tick(&self, processor: &Processor<P>) -> Option<Repair> {
        // While a signal frame is written, all keys are open, and that is the kernel's own doing.
        if !self.config.has_watchdog || processor.is_opened() {
            return None;
        }
        processor.peek(|running| {
            let register = running.caller(processor).register()?;
            Some(watchdog::tick(
                running.space.keys().map(),
                running.thread.keys(),
                register,
                self.config.init_pkru,
                &self.findings,
            ))
        })?
    }

    /// How many keys the watchdog has put right: those that were not allocated, and the others.
    pub fn nr_repairs(&self) -> (u64, u64) {
        let unallocated = self.findings.unallocated.load(Relaxed);
        (unallocated, self.findings.changed.load(Relaxed))
    }

    /// Does something to the table of threads. What falls out of use is dropped when the lock is free.
    pub(crate) fn with_tasks<R>(&self, change: impl FnOnce(&mut Tasks<P>) -> R) -> R {
        let mut tasks = self.tasks.lock();
        let result = change(&mut tasks);
        while let Some(pid) = tasks.ended.pop_front() {
            self.finish_process(&mut tasks, pid);
        }
        let dead = core::mem::take(&mut tasks.dead);
        drop(tasks);
        drop(dead);
        result
    }
}

impl<P: Platform> fmt::Debug for Kernel<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel")
            .field("config", &self.config)
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Kernel;
    use crate::Platform;

    fn needs_sync<T: Sync + Send>() {}

    /// All CPUs share one kernel, whatever the platform, if its own parts can be shared. That this compiles is the test.
    #[expect(dead_code, reason = "it is compiled, for every platform at once")]
    fn a_kernel_is_shared<P>()
    where
        P: Platform + Sync + Send,
        P::Memory: Sync + Send,
        P::Tables: Send,
        P::Lock: Sync + Send,
    {
        needs_sync::<Kernel<P>>();
    }
}
