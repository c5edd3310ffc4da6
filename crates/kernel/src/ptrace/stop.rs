//! Stops: of a thread for its tracer, and of a process for everybody.
//!
//! A traced thread stops before each of its signals, and for `PTRACE_INTERRUPT`; its tracer hears of it from `wait4(2)`
//! and says what becomes of the signal. A process whose default action for a signal is to stop does so with all its
//! threads, and goes on with `SIGCONT`.
//!
//! Source: Linux `kernel/signal.c` (`ptrace_stop`, `do_signal_stop`, `do_notify_parent_cldstop`).

use alloc::sync::Arc;

use crate::abi::signal::{
    CLD_CONTINUED, CLD_STOPPED, CLD_TRAPPED, SA_NOCLDSTOP, SIG_IGN, SIGCONT, SIGTRAP,
};
use crate::abi::task::PTRACE_EVENT_STOP;
use crate::kernel::{Here, Kernel, Outcome};
use crate::platform::Platform;
use crate::signal::info::Detail;
use crate::signal::{SigInfo, Signo, Target};
use crate::task::UserRegs;
use crate::task::table::{GroupStop, RunState, Tasks, TraceStop};
use crate::task::thread::Trap;

impl<P: Platform> Kernel<P> {
    /// Stops the running thread if its tracer has asked for it, or its process is stopped.
    pub(crate) fn stop_if_asked(&self, here: &Here<'_, P>, regs: &UserRegs) -> Option<Outcome> {
        let thread = &here.running.thread;
        if thread.is_traced() {
            let is_asked = self.with_tasks(|tasks| {
                let trace = tasks.threads.get_mut(&here.tid())?.trace.as_mut()?;
                Some(core::mem::take(&mut trace.is_interrupted))
            });
            if is_asked != Some(true) {
                return None;
            }
            // A signal that it was stopped for before stays as the tracer left it.
            let mut own = thread.signals.lock();
            own.trap.get_or_insert(Trap {
                info: None,
                deliver: 0,
                tracer_pid: 0,
            });
            drop(own);
            return self.stop_for_tracer(here, regs, SIGTRAP | PTRACE_EVENT_STOP << 8);
        }
        if !thread.process().is_stopping() {
            return None;
        }
        self.save_here(here, regs);
        let is_stopped = self.with_tasks(|tasks| {
            // It may go on by now.
            thread.process().is_stopping() && set_stopped(tasks, here.tid())
        });
        if !is_stopped {
            return None;
        }
        here.processor.set_running(None);
        Some(Outcome::Blocked)
    }

    /// Stops the running thread for its tracer, if it still has one.
    pub(crate) fn stop_for_tracer(
        &self,
        here: &Here<'_, P>,
        regs: &UserRegs,
        code: i32,
    ) -> Option<Outcome> {
        self.save_here(here, regs);
        let is_stopped = self.with_tasks(|tasks| {
            let entry = tasks.threads.get_mut(&here.tid());
            let Some(trace) = entry.and_then(|entry| entry.trace.as_mut()) else {
                return false;
            };
            trace.stop = Some(TraceStop {
                code,
                is_reported: false,
            });
            let tracer = trace.tracer_pid;
            set_stopped(tasks, here.tid());
            self.tell_of_stop(tasks, tracer, here.tid(), CLD_TRAPPED, code & 0x7F);
            true
        });
        if !is_stopped {
            // What it would have stopped for is still to be dealt with.
            here.running.thread.add_work();
            return None;
        }
        here.processor.set_running(None);
        Some(Outcome::Blocked)
    }

    /// The default action of a signal stops the process.
    pub(crate) fn stop_process(
        &self,
        here: &Here<'_, P>,
        regs: &UserRegs,
        signo: Signo,
    ) -> Option<Outcome> {
        let thread = &here.running.thread;
        // There may be more signals, now or when it goes on.
        thread.add_work();
        if thread.is_traced() {
            let mut own = thread.signals.lock();
            own.trap = Some(Trap {
                info: None,
                deliver: 0,
                tracer_pid: 0,
            });
            drop(own);
            return self.stop_for_tracer(here, regs, signo.number());
        }
        self.with_tasks(|tasks| {
            let Some(entry) = tasks.processes.get_mut(&here.pid()) else {
                return;
            };
            entry.process.set_stopping(true);
            entry.is_continued = false;
            entry.stop = Some(GroupStop {
                signo: signo.number(),
                is_reported: false,
            });
            let parent = entry.parent;
            for tid in tasks.threads_of(here.pid()) {
                if tid != here.tid() {
                    tasks.nudge(&self.platform, tid);
                }
            }
            self.tell_of_stop(tasks, parent, here.pid(), CLD_STOPPED, signo.number());
        });
        None
    }

    /// `SIGCONT` was sent: a stopped process goes on, whatever becomes of the signal.
    pub(crate) fn continue_process(&self, tasks: &mut Tasks<P>, pid: i32) {
        let Some(entry) = tasks.processes.get_mut(&pid) else {
            return;
        };
        if entry.stop.take().is_none() {
            return;
        }
        entry.process.set_stopping(false);
        entry.is_continued = true;
        let parent = entry.parent;
        for tid in tasks.threads_of(pid) {
            let is_for_tracer = tasks
                .threads
                .get(&tid)
                .and_then(|entry| entry.trace)
                .is_some_and(|trace| trace.stop.is_some());
            if !is_for_tracer {
                tasks.resume(&self.platform, tid);
            }
        }
        self.tell_of_stop(tasks, parent, pid, CLD_CONTINUED, SIGCONT);
    }

    /// SIGCHLD for a stop, for those who want it, and news for those who wait.
    fn tell_of_stop(&self, tasks: &mut Tasks<P>, to: i32, id: i32, code: i32, status: i32) {
        let Some(entry) = tasks.processes.get(&to).filter(|entry| !entry.is_zombie) else {
            return;
        };
        let process = Arc::clone(&entry.process);
        let action = process.signals.lock().actions.get(Signo::CHLD);
        if action.handler != SIG_IGN && !action.has(SA_NOCLDSTOP) {
            let detail = Detail::Child {
                pid: id,
                uid: self.config.uid,
                status,
            };
            let info = SigInfo {
                signo: Signo::CHLD,
                code,
                detail,
            };
            // The process is there, and a standard signal always has a place.
            let _ = self.send(tasks, Target::Process(to), info);
        }
        tasks.wake_waiting_for_children(&self.platform, to);
    }
}

/// `false` if the thread is not in the table any more.
fn set_stopped<P: Platform>(tasks: &mut Tasks<P>, tid: i32) -> bool {
    match tasks.threads.get_mut(&tid) {
        Some(entry) => {
            entry.state = RunState::Stopped;
            true
        }
        None => false,
    }
}
