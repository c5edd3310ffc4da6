//! `ptrace(2)`: looking into another thread and changing it, PKRU above all.
//!
//! A tracer sees memory without its keys: `PTRACE_PEEKDATA` and `PTRACE_POKEDATA` are accesses by somebody else, and
//! whether the traced thread has closed a key is its own business. PKRU it sees in the XSAVE area of `NT_X86_XSTATE`,
//! where it is always the thread's present value, and can set it there ([`regset`]).
//!
//! What there is: `TRACEME`, `ATTACH`, `SEIZE`, `INTERRUPT`, `CONT`, `DETACH`, `KILL`, peeking and poking, and the
//! register sets `NT_PRSTATUS` and `NT_X86_XSTATE`. Other requests give `EIO`. Options are accepted by `PTRACE_SEIZE` and
//! have no effect, and a thread that is not its process's first one leaves no status for its tracer.
//!
//! Source: Linux `kernel/ptrace.c`, `arch/x86/kernel/ptrace.c`; `ptrace(2)`.

mod regset;
mod stop;

use alloc::sync::Arc;

use crate::abi::Errno;
use crate::abi::task::{
    PTRACE_ATTACH, PTRACE_CONT, PTRACE_DETACH, PTRACE_GETREGSET, PTRACE_INTERRUPT, PTRACE_KILL,
    PTRACE_O_MASK, PTRACE_PEEKDATA, PTRACE_PEEKTEXT, PTRACE_POKEDATA, PTRACE_POKETEXT,
    PTRACE_SEIZE, PTRACE_SETREGSET, PTRACE_TRACEME,
};
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::signal::{SigInfo, Signo, Target};
use crate::task::table::{RunState, Tasks, Trace};
use crate::task::thread::Thread;

impl<P: Platform> Kernel<P> {
    /// `long ptrace(enum __ptrace_request request, pid_t pid, void *addr, void *data);` as the system call: what is peeked
    /// at is stored at `data`.
    pub(crate) fn ptrace(
        &self,
        here: &Here<'_, P>,
        request: u64,
        tid: i32,
        addr: u64,
        data: u64,
    ) -> Result<u64, Errno> {
        match request {
            PTRACE_TRACEME => return self.with_tasks(|tasks| self.trace_me(tasks, here)),
            PTRACE_ATTACH | PTRACE_SEIZE => {
                let is_seize = request == PTRACE_SEIZE;
                return self.with_tasks(|tasks| {
                    self.attach(tasks, here, tid, is_seize.then_some((addr, data)))
                });
            }
            _ => {}
        }
        let needs_stop = !matches!(request, PTRACE_KILL | PTRACE_INTERRUPT);
        let thread = self.traced(here, tid, needs_stop)?;
        match request {
            PTRACE_PEEKTEXT | PTRACE_PEEKDATA => self.peek(here, &thread, addr, data),
            PTRACE_POKETEXT | PTRACE_POKEDATA => {
                let space = thread.process().space().ok_or(Errno::NoProcess)?;
                let written =
                    space.write_remote(here.processor.cpu(), addr, &data.to_le_bytes(), true);
                written.map(|()| 0).map_err(|_| Errno::Io)
            }
            PTRACE_CONT | PTRACE_DETACH => {
                let signo = signal_number(data)?;
                self.with_tasks(|tasks| {
                    self.go_on(tasks, here, &thread, signo, request == PTRACE_DETACH);
                });
                Ok(0)
            }
            PTRACE_KILL => self.with_tasks(|tasks| {
                let info = SigInfo::user(Signo::KILL, here.pid(), self.config.uid);
                self.send(tasks, Target::Thread(tid), info).map(|()| 0)
            }),
            PTRACE_INTERRUPT => self.with_tasks(|tasks| self.interrupt(tasks, tid)),
            PTRACE_GETREGSET | PTRACE_SETREGSET => {
                self.register_set(here, &thread, request, addr, data)
            }
            _ => Err(Errno::Io),
        }
    }

    fn trace_me(&self, tasks: &mut Tasks<P>, here: &Here<'_, P>) -> Result<u64, Errno> {
        let parent = tasks.processes.get(&here.pid()).map_or(0, |own| own.parent);
        let tracer = tasks
            .processes
            .get(&parent)
            .and_then(|entry| entry.threads.first().copied());
        let entry = tasks.threads.get_mut(&here.tid());
        let entry = entry.ok_or(Errno::NoProcess)?;
        if entry.trace.is_some() {
            return Err(Errno::Perm);
        }
        if let Some(tracer) = tracer {
            entry.trace = Some(Trace::new(tracer, parent, false));
            entry.thread.set_traced(true);
        }
        Ok(0)
    }

    /// `seize` has the arguments of `PTRACE_SEIZE`, which stops nobody.
    fn attach(
        &self,
        tasks: &mut Tasks<P>,
        here: &Here<'_, P>,
        tid: i32,
        seize: Option<(u64, u64)>,
    ) -> Result<u64, Errno> {
        let target = tasks.process_of(tid).ok_or(Errno::NoProcess)?;
        if seize.is_some_and(|(addr, options)| addr != 0 || options & !PTRACE_O_MASK != 0) {
            return Err(Errno::Io);
        }
        // A number without a thread is that of a process that has ended.
        let entry = tasks.threads.get_mut(&tid).ok_or(Errno::Perm)?;
        if target == here.pid() || entry.trace.is_some() {
            return Err(Errno::Perm);
        }
        entry.trace = Some(Trace::new(here.tid(), here.pid(), seize.is_some()));
        entry.thread.set_traced(true);
        let is_stopped = entry.state == RunState::Stopped;
        if seize.is_none() {
            // It is there, and has a place for a standard signal.
            let _ = self.send(tasks, Target::Thread(tid), SigInfo::kernel(Signo::STOP));
        }
        if is_stopped {
            // From now on it stops for its tracer.
            tasks.resume(&self.platform, tid);
        }
        Ok(0)
    }

    /// The thread, if the caller traces it and, where that is needed, it is stopped for it.
    fn traced(
        &self,
        here: &Here<'_, P>,
        tid: i32,
        needs_stop: bool,
    ) -> Result<Arc<Thread<P>>, Errno> {
        let tasks = self.tasks.lock();
        let entry = tasks.threads.get(&tid).ok_or(Errno::NoProcess)?;
        let trace = entry.trace.filter(|trace| trace.tracer == here.tid());
        let is_stopped = entry.state == RunState::Stopped;
        match trace {
            Some(trace) if !needs_stop || trace.stop.is_some() && is_stopped => {
                Ok(Arc::clone(&entry.thread))
            }
            _ => Err(Errno::NoProcess),
        }
    }

    fn peek(
        &self,
        here: &Here<'_, P>,
        thread: &Thread<P>,
        addr: u64,
        data: u64,
    ) -> Result<u64, Errno> {
        let space = thread.process().space().ok_or(Errno::NoProcess)?;
        let mut word = [0; 8];
        let found = space.read_remote(here.processor.cpu(), addr, &mut word, true);
        found.map_err(|_| Errno::Io)?;
        here.write(data, &word)?;
        Ok(0)
    }

    /// Lets a stopped thread go on, with a signal or none.
    fn go_on(
        &self,
        tasks: &mut Tasks<P>,
        here: &Here<'_, P>,
        thread: &Thread<P>,
        signo: i32,
        is_last: bool,
    ) {
        if let Some(trap) = &mut thread.signals.lock().trap {
            trap.deliver = if trap.info.is_some() { signo } else { 0 };
            trap.tracer_pid = here.pid();
        }
        let Some(entry) = tasks.threads.get_mut(&thread.tid()) else {
            return;
        };
        if is_last {
            entry.trace = None;
            thread.set_traced(false);
        } else if let Some(trace) = &mut entry.trace {
            trace.stop = None;
        }
        tasks.resume(&self.platform, thread.tid());
    }

    fn interrupt(&self, tasks: &mut Tasks<P>, tid: i32) -> Result<u64, Errno> {
        let entry = tasks.threads.get_mut(&tid).ok_or(Errno::NoProcess)?;
        let trace = entry.trace.as_mut().filter(|trace| trace.is_seized);
        let trace = trace.ok_or(Errno::Io)?;
        trace.is_interrupted = true;
        tasks.nudge(&self.platform, tid);
        Ok(0)
    }

    /// A tracer ends: the threads that it traced are nobody's.
    pub(crate) fn detach_all_of(&self, tasks: &mut Tasks<P>, tracer: i32) {
        let traced = tasks.threads.iter_mut().filter_map(|(tid, entry)| {
            let trace = entry.trace.filter(|trace| trace.tracer == tracer)?;
            entry.trace = None;
            entry.thread.set_traced(false);
            trace.stop.map(|_| *tid)
        });
        let stopped: alloc::vec::Vec<i32> = traced.collect();
        for tid in stopped {
            tasks.resume(&self.platform, tid);
        }
    }
}

impl Trace {
    const fn new(tracer: i32, tracer_pid: i32, is_seized: bool) -> Self {
        Self {
            tracer,
            tracer_pid,
            is_seized,
            is_interrupted: false,
            stop: None,
        }
    }
}

/// A signal, or 0 for none, as `PTRACE_CONT` takes it.
fn signal_number(data: u64) -> Result<i32, Errno> {
    match i32::try_from(data) {
        Ok(signo) if signo == 0 || Signo::new(signo).is_some() => Ok(signo),
        _ => Err(Errno::Io),
    }
}
