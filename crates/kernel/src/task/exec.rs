//! Another program: `execve(2)`.
//!
//! The program gets a new address space, in which no key but 0 is allocated, and the initial PKRU. Handlers, the alternate
//! stack and descriptors with `O_CLOEXEC` are gone; what was ignored or blocked stays so; what is pending stays pending.
//! Of several threads the caller stays, under the number of its process.
//!
//! Where the program comes from is the surrounding kernel's ([`Platform::load`]). If it cannot be loaded, the caller goes
//! on with everything as it was. Path and arguments are read first, so that a bad pointer counts before a path that
//! there is not; Linux asks in between.
//!
//! Source: Linux `fs/exec.c` (`do_execveat_common`, `begin_new_exec`, `de_thread`), `arch/x86/kernel/process.c`
//! (`flush_thread`).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::abi::Errno;
use crate::abi::files::PATH_MAX;
use crate::abi::signal::SIGCHLD;
use crate::hardware::Cpu;
use crate::kernel::{Here, Kernel};
use crate::keys::ThreadKeys;
use crate::memory::{Caller, Space};
use crate::platform::{Image, Platform, Program, SpaceOf};
use crate::signal::xstate::ExtendedState;
use crate::signal::{SigInfo, Signo, Target};
use crate::syscall::CallEnd;
use crate::task::UserRegs;
use crate::task::processor::{Processor, Running};
use crate::task::status::ExitStatus;
use crate::task::table::RunState;
use crate::task::thread::{IdWords, Thread, ThreadStart, name_of};
use crate::task::wait::WaitFor;

/// The longest argument: `MAX_ARG_STRLEN`.
const ARGUMENT_MAX: usize = 128 << 10;
/// All arguments together.
const ARGUMENTS_MAX: usize = 2 << 20;

impl<P: Platform> Kernel<P> {
    /// `int execve(const char *path, char *const argv[], char *const envp[]);`
    pub(crate) fn execve(
        &self,
        here: &mut Here<'_, P>,
        regs: &mut UserRegs,
        path: u64,
        argv: u64,
        envp: u64,
    ) -> Result<u64, CallEnd> {
        let path = here.read_string(path, PATH_MAX, Errno::NameTooLong)?;
        if path.is_empty() {
            return Err(Errno::NoEntry.into());
        }
        let path = self.program_path(here, path);
        let mut budget = ARGUMENTS_MAX;
        let program = Program {
            path,
            argv: read_strings(here, argv, &mut budget)?,
            envp: read_strings(here, envp, &mut budget)?,
        };
        let (space, image) = self.load_program(here.processor, &program)?;
        here.running.thread.set_woken(false);
        if !self.end_other_threads(here) {
            return Err(CallEnd::Wait(WaitFor::Threads, 0));
        }
        self.become_program(here, regs, space, image);
        let thread = &here.running.thread;
        *thread.name.lock() = name_of(&program.path);
        thread.process().inherited.lock().program = program.path;
        Ok(0)
    }

    /// An address space of its own with a program in it.
    pub(super) fn load_program(
        &self,
        processor: &Processor<P>,
        program: &Program,
    ) -> Result<(Arc<SpaceOf<P>>, Image), Errno> {
        let cpu = processor.cpu();
        let space = self.new_space(cpu.has_pku())?;
        // A mapping that is execute-only closes its key on whoever makes it, which is not this program's. So the work is
        // done with keys of its own, which the watchdog knows nothing of, and the register is put back.
        let keys = ThreadKeys::new(self.config.init_pkru);
        let loader = Caller { cpu, keys: &keys };
        let before = loader.register().map(|register| register.read());
        processor.set_opened(true);
        let loaded = self.platform.load(&loader, &space, program);
        if let (Some(register), Some(before)) = (loader.register(), before)
            && register.read() != before
        {
            register.write(before);
        }
        processor.set_opened(false);
        loaded.map(|image| (Arc::new(space), image))
    }

    /// An address space for a program, on a CPU with keys or without.
    pub(super) fn new_space(&self, has_pku: bool) -> Result<SpaceOf<P>, Errno> {
        let pool = self.pool.clone();
        if has_pku {
            Space::new(pool)
        } else {
            Space::without_keys(pool)
        }
    }

    /// Ends all other threads of the process. `false` says that some of them run elsewhere, and will wake the caller; or that
    /// one of them was first, and the caller ends.
    fn end_other_threads(&self, here: &Here<'_, P>) -> bool {
        self.with_tasks(|tasks| {
            if here.running.thread.is_ending() {
                return false;
            }
            let mut is_alone = true;
            for tid in tasks.threads_of(here.pid()) {
                if tid != here.tid() {
                    is_alone &= self.end_or_mark(tasks, tid, ExitStatus::Exited(0));
                }
            }
            is_alone
        })
    }

    /// Nothing can fail from here on.
    fn become_program(
        &self,
        here: &mut Here<'_, P>,
        regs: &mut UserRegs,
        space: Arc<SpaceOf<P>>,
        image: Image,
    ) {
        self.leave_locks(here);
        let thread = self.thread_after_exec(here);
        let process = Arc::clone(thread.process());
        let old = process.space.lock().replace(Arc::clone(&space));
        here.processor.activate(&space);
        here.running = Running { thread, space };
        here.processor.set_running(Some(here.running.clone()));
        drop(old);
        *regs = UserRegs::new(image.entry, image.stack);
        {
            let mut shared = process.signals.lock();
            shared.actions.exec();
            let mut own = here.running.thread.signals.lock();
            own.altstack.start = 0;
            own.altstack.len = 0;
        }
        let woken = process.files.lock().close_on_exec();
        *here.running.thread.ids.lock() = IdWords::default();
        {
            let mut state = here.running.thread.xstate.lock();
            state.clear();
            self.platform
                .load_xstate(here.processor.cpu(), state.area());
        }
        if let Some(register) = here.register() {
            let keys = here.running.thread.keys();
            keys.exec(register, self.config.init_pkru);
        }
        self.with_tasks(|tasks| {
            for tid in woken {
                tasks.wake(&self.platform, tid);
            }
            if let Some(entry) = tasks.processes.get_mut(&here.pid()) {
                entry.exit_signal = SIGCHLD;
            }
            let trace = tasks.threads.get(&here.tid()).and_then(|entry| entry.trace);
            if trace.is_some_and(|trace| !trace.is_seized) {
                let trap = SigInfo::user(Signo::TRAP, here.pid(), self.config.uid);
                // The thread is there, and a standard signal always has a place.
                let _ = self.send(tasks, Target::Thread(here.tid()), trap);
            }
        });
    }

    /// The thread, under the number of its process.
    fn thread_after_exec(&self, here: &Here<'_, P>) -> Arc<Thread<P>> {
        let old = &here.running.thread;
        if here.tid() == here.pid() {
            return Arc::clone(old);
        }
        let signals = core::mem::take(&mut *old.signals.lock());
        let start = ThreadStart {
            keys: ThreadKeys::new(self.config.init_pkru),
            regs: UserRegs::default(),
            xstate: ExtendedState::new(&self.config.xstate),
            blocked: signals.blocked,
            altstack: signals.altstack,
            fault: signals.fault,
            ids: IdWords::default(),
            name: *old.name.lock(),
        };
        let thread = Arc::new(Thread::new(here.pid(), Arc::clone(old.process()), start));
        *thread.signals.lock() = signals;
        self.with_tasks(|tasks| {
            let state = RunState::Running(here.processor.cpu().id());
            if let Some(process) = tasks.processes.get_mut(&here.pid()) {
                process.threads.retain(|tid| *tid != here.tid());
            }
            let gone = tasks.threads.remove(&here.tid());
            tasks.add_thread(Arc::clone(&thread));
            if let Some(entry) = tasks.threads.get_mut(&here.pid()) {
                entry.state = state;
                entry.trace = gone.and_then(|gone| gone.trace);
                thread.set_traced(entry.trace.is_some());
            }
        });
        thread
    }
}

/// A list of strings that a null pointer ends. A null pointer for the list is an empty list.
fn read_strings<P: Platform>(
    here: &Here<'_, P>,
    list: u64,
    budget: &mut usize,
) -> Result<Vec<Vec<u8>>, Errno> {
    let mut strings = Vec::new();
    if list == 0 {
        return Ok(strings);
    }
    let mut at = list;
    loop {
        let string = here.read_u64(at)?;
        if string == 0 {
            return Ok(strings);
        }
        let string = here.read_string(string, ARGUMENT_MAX, Errno::TooBig)?;
        *budget = budget
            .checked_sub(string.len() + size_of::<u64>() + 1)
            .ok_or(Errno::TooBig)?;
        strings.push(string);
        at = at.wrapping_add(8);
    }
}
