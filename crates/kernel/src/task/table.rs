//! The table of all threads and processes: who is whose child, who runs where, who traces whom.
//!
//! It stands behind one lock of the kernel, the outermost. Under it, in this order, come the lock of a process's signals
//! and the lock of a thread's; an address space, a pipe and the futexes have locks of their own, which are never held when
//! this one is taken.
//!
//! Numbers are given out in order, from 1, and not again before all others were used, so that two runs of the same
//! program see the same numbers.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::platform::{Platform, SpaceOf};
use crate::task::process::Process;
use crate::task::status::ExitStatus;
use crate::task::thread::Thread;
use crate::task::wait::WaitFor;

/// Numbers of threads are below this, as `kernel.pid_max` has it.
pub(crate) const PID_MAX: i32 = 1 << 22;

/// Where a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunState {
    /// On this CPU.
    Running(u32),
    /// On none, and could be.
    Ready,
    /// In a system call that waits.
    Blocked(WaitFor),
    /// Stopped, with its process or by a tracer.
    Stopped,
}

/// A thread in the table.
pub(crate) struct ThreadEntry<P: Platform> {
    pub(crate) thread: Arc<Thread<P>>,
    pub(crate) state: RunState,
    pub(crate) trace: Option<Trace>,
}

/// What a tracer has of a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace {
    /// The tracing thread.
    pub(crate) tracer: i32,
    /// The tracing thread's process, whose threads may wait.
    pub(crate) tracer_pid: i32,
    /// Attached by `PTRACE_SEIZE`.
    pub(crate) is_seized: bool,
    /// A stop was asked for by `PTRACE_INTERRUPT`.
    pub(crate) is_interrupted: bool,
    /// The stop it is in.
    pub(crate) stop: Option<TraceStop>,
}

/// A stop for a tracer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceStop {
    /// The signal, and above it the event.
    pub(crate) code: i32,
    /// Whether `wait4` has told of it.
    pub(crate) is_reported: bool,
}

/// A process in the table.
pub(crate) struct ProcessEntry<P: Platform> {
    pub(crate) process: Arc<Process<P>>,
    /// 0 for none.
    pub(crate) parent: i32,
    /// The process group, which is the first process's.
    pub(crate) group: i32,
    /// The signal that the parent gets at the end; 0 for none.
    pub(crate) exit_signal: i32,
    pub(crate) threads: Vec<i32>,
    /// How it ends, once that is decided.
    pub(crate) end: Option<ExitStatus>,
    /// Whether it has ended, and waits for being waited for.
    pub(crate) is_zombie: bool,
    /// A tracer that is not the parent, and hears of the end first.
    pub(crate) tracer_pid: Option<i32>,
    /// The signal that has stopped it.
    pub(crate) stop: Option<GroupStop>,
    /// Whether it goes on after a stop, and nobody was told.
    pub(crate) is_continued: bool,
    /// The signal that it gets when its parent ends; 0 for none.
    pub(crate) death_signal: i32,
}

/// A stop of a whole process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupStop {
    pub(crate) signo: i32,
    pub(crate) is_reported: bool,
}

/// Threads and processes.
pub(crate) struct Tasks<P: Platform> {
    pub(crate) threads: BTreeMap<i32, ThreadEntry<P>>,
    pub(crate) processes: BTreeMap<i32, ProcessEntry<P>>,
    last_id: i32,
    /// Processes whose last thread has ended, and of which nobody was told yet. One end may bring about others (the parent
    /// may be killed by the signal that tells it), and they are dealt with one after the other.
    pub(crate) ended: VecDeque<i32>,
    /// What is to be dropped once the lock is free.
    pub(crate) dead: Vec<Arc<SpaceOf<P>>>,
}

impl<P: Platform> Tasks<P> {
    pub(crate) const fn new() -> Self {
        Self {
            threads: BTreeMap::new(),
            processes: BTreeMap::new(),
            last_id: 0,
            ended: VecDeque::new(),
            dead: Vec::new(),
        }
    }

    /// A number that no thread, process or process group has.
    pub(crate) fn new_id(&mut self) -> Option<i32> {
        for _ in 0..PID_MAX {
            self.last_id = if self.last_id + 1 < PID_MAX {
                self.last_id + 1
            } else {
                1
            };
            let id = self.last_id;
            let is_taken = self.threads.contains_key(&id) || self.processes.contains_key(&id);
            if !is_taken {
                return Some(id);
            }
        }
        None
    }

    /// Puts a new thread into the table, ready to run.
    pub(crate) fn add_thread(&mut self, thread: Arc<Thread<P>>) {
        let tid = thread.tid();
        if let Some(process) = self.processes.get_mut(&thread.process().pid()) {
            process.threads.push(tid);
        }
        let entry = ThreadEntry {
            thread,
            state: RunState::Ready,
            trace: None,
        };
        self.threads.insert(tid, entry);
    }

    /// What a thread waits for has happened: it makes its call once more.
    pub(crate) fn wake(&mut self, platform: &P, tid: i32) {
        let Some(entry) = self.threads.get_mut(&tid) else {
            return;
        };
        entry.thread.set_woken(true);
        if let RunState::Blocked(_) = entry.state {
            entry.state = RunState::Ready;
            platform.wake(tid);
        }
    }

    /// A thread has something to do before it goes on in user mode. If it waits in a call, it comes out of it.
    pub(crate) fn nudge(&mut self, platform: &P, tid: i32) {
        let Some(entry) = self.threads.get_mut(&tid) else {
            return;
        };
        entry.thread.add_work();
        match entry.state {
            RunState::Running(cpu) => platform.kick(cpu),
            RunState::Blocked(_) => {
                entry.state = RunState::Ready;
                platform.wake(tid);
            }
            RunState::Ready | RunState::Stopped => {}
        }
    }

    /// A thread that was stopped can run again.
    pub(crate) fn resume(&mut self, platform: &P, tid: i32) {
        let Some(entry) = self.threads.get_mut(&tid) else {
            return;
        };
        entry.thread.add_work();
        if entry.state == RunState::Stopped {
            entry.state = RunState::Ready;
            platform.wake(tid);
        }
    }

    /// Wakes the threads of a process that wait for children.
    pub(crate) fn wake_waiting_for_children(&mut self, platform: &P, pid: i32) {
        for tid in self.threads_of(pid) {
            let is_waiting = self.threads.get(&tid).is_some_and(|entry| {
                // One that is about to wait looks once more.
                matches!(
                    entry.state,
                    RunState::Blocked(WaitFor::Child) | RunState::Running(_)
                )
            });
            if is_waiting {
                self.wake(platform, tid);
            }
        }
    }

    /// The threads of a process.
    pub(crate) fn threads_of(&self, pid: i32) -> Vec<i32> {
        self.processes
            .get(&pid)
            .map(|entry| entry.threads.clone())
            .unwrap_or_default()
    }

    /// The process that a number names: of a process, or of any of its threads.
    pub(crate) fn process_of(&self, id: i32) -> Option<i32> {
        if self.processes.contains_key(&id) {
            return Some(id);
        }
        self.threads
            .get(&id)
            .map(|entry| entry.thread.process().pid())
    }
}
