//! The end of threads and processes.
//!
//! A process ends with its last thread, or because somebody decides it: a call, a signal. Then its threads that are not
//! running end at once, for there is nothing of them but what lies in the table; one that runs on another CPU ends when it
//! next comes by ([`Platform::kick`]), and one that has a list of locks in its memory when it next runs (`robust`). With the last thread the address space goes, and the descriptors. What is left for
//! the parent is the status.
//!
//! A child whose parent ends becomes the first process's; where there is none, nobody waits for it, and its end leaves
//! nothing.
//!
//! Source: Linux `kernel/exit.c` (`do_exit`, `do_group_exit`, `exit_notify`), `kernel/signal.c` (`do_notify_parent`).

use crate::abi::signal::{CLD_EXITED, CLD_KILLED, SA_NOCLDWAIT, SIG_IGN, SIGCHLD};
use crate::abi::task::FUTEX_BITSET_MATCH_ANY;
use crate::kernel::{Here, Kernel, Outcome};
use crate::platform::Platform;
use crate::signal::info::Detail;
use crate::signal::{SigInfo, Signo, Target};
use crate::task::status::ExitStatus;
use crate::task::table::{RunState, Tasks};
use crate::task::wait::WaitFor;

/// The process that orphans are given to.
const INIT: i32 = 1;

impl<P: Platform> Kernel<P> {
    /// `void exit(int status);`: this thread ends, and its process with the last one.
    pub(crate) fn exit_thread(&self, here: &Here<'_, P>, status: u8) -> Outcome {
        self.leave_locks(here);
        let clear = here.running.thread.ids.lock().clear;
        let has_others = self.tasks.lock().threads_of(here.pid()).len() > 1;
        if clear != 0 && has_others {
            // Whoever joins the thread waits for this word. Its errors are not reported.
            let _ = here.write(clear, &[0; 4]);
            let _ = self.futex_wake(here, clear, 1, true, FUTEX_BITSET_MATCH_ANY);
        }
        self.leave(here, |kernel, tasks| {
            let last = ExitStatus::Exited(status);
            kernel.remove_thread(tasks, here.tid(), last);
        })
    }

    /// The running thread ends: with its process if there is a status, else because its process or somebody else has
    /// decided so.
    pub(crate) fn end_here(&self, here: &Here<'_, P>, status: Option<ExitStatus>) -> Outcome {
        self.leave_locks(here);
        self.leave(here, |kernel, tasks| {
            if let Some(status) = status {
                kernel.start_end(tasks, here.pid(), status);
            }
            kernel.remove_thread(tasks, here.tid(), ExitStatus::Exited(0));
        })
    }

    /// Takes the running thread off its CPU for good.
    fn leave(&self, here: &Here<'_, P>, end: impl FnOnce(&Self, &mut Tasks<P>)) -> Outcome {
        self.leave_futex(here.tid());
        let outcome = self.with_tasks(|tasks| {
            end(self, tasks);
            tasks.processes.get(&here.pid())?.end
        });
        here.processor.set_running(None);
        match outcome {
            Some(status) => {
                here.processor.deactivate(&self.platform);
                Outcome::ProcessEnded(status)
            }
            None => Outcome::ThreadEnded,
        }
    }

    /// Decides how a process ends, unless that is decided, and ends all threads that are not running.
    pub(crate) fn start_end(&self, tasks: &mut Tasks<P>, pid: i32, status: ExitStatus) {
        let Some(entry) = tasks.processes.get_mut(&pid) else {
            return;
        };
        let status = *entry.end.get_or_insert(status);
        entry.process.set_ending();
        for tid in tasks.threads_of(pid) {
            self.end_or_mark(tasks, tid, status);
        }
    }

    /// Ends a thread that is not running. One that is gets told, and so does one that has locks to leave: it is to end on
    /// a CPU; `false` says so.
    pub(crate) fn end_or_mark(&self, tasks: &mut Tasks<P>, tid: i32, status: ExitStatus) -> bool {
        let Some(entry) = tasks.threads.get(&tid) else {
            return true;
        };
        let has_locks = entry.thread.ids.lock().robust != 0;
        if has_locks || matches!(entry.state, RunState::Running(_)) {
            entry.thread.set_ending();
            tasks.nudge(&self.platform, tid);
            tasks.resume(&self.platform, tid);
            return false;
        }
        self.leave_futex(tid);
        self.remove_thread(tasks, tid, status);
        true
    }

    /// Takes a thread out of the table. `last` is its process's status if it was the last one and nothing else was
    /// decided.
    fn remove_thread(&self, tasks: &mut Tasks<P>, tid: i32, last: ExitStatus) {
        let Some(entry) = tasks.threads.remove(&tid) else {
            return;
        };
        let pid = entry.thread.process().pid();
        self.detach_all_of(tasks, tid);
        let Some(process) = tasks.processes.get_mut(&pid) else {
            return;
        };
        process.threads.retain(|other| *other != tid);
        if process.threads.is_empty() {
            process.tracer_pid = entry.trace.map(|trace| trace.tracer_pid);
            process.end.get_or_insert(last);
            tasks.ended.push_back(pid);
        } else {
            self.wake_for_threads(tasks, pid);
        }
    }

    /// A thread in `execve` may wait for the others to end.
    fn wake_for_threads(&self, tasks: &mut Tasks<P>, pid: i32) {
        for tid in tasks.threads_of(pid) {
            let state = tasks.threads.get(&tid).map(|entry| entry.state);
            if matches!(
                state,
                Some(RunState::Blocked(WaitFor::Threads) | RunState::Running(_))
            ) {
                tasks.wake(&self.platform, tid);
            }
        }
    }

    /// The last thread of a process has ended: what it had goes, and those who want to know are told.
    pub(crate) fn finish_process(&self, tasks: &mut Tasks<P>, pid: i32) {
        let Some(entry) = tasks.processes.get_mut(&pid) else {
            return;
        };
        entry.is_zombie = true;
        entry.process.set_ending();
        let parent = entry.parent;
        entry.tracer_pid = entry.tracer_pid.filter(|tracer| *tracer != parent);
        let tracer = entry.tracer_pid;
        let process = alloc::sync::Arc::clone(&entry.process);
        tasks.dead.extend(process.space.lock().take());
        let woken = process.files.lock().close_all();
        for tid in woken {
            tasks.wake(&self.platform, tid);
        }
        self.leave_children(tasks, pid);
        match tracer {
            // The tracer hears of it first, and the parent when the tracer has.
            Some(tracer) if tasks.processes.contains_key(&tracer) => {
                tasks.wake_waiting_for_children(&self.platform, tracer);
            }
            _ => self.tell_parent(tasks, pid),
        }
    }

    /// Gives the children of a process that has ended to the first one, and to those that want one a signal
    /// (`PR_SET_PDEATHSIG`).
    fn leave_children(&self, tasks: &mut Tasks<P>, pid: i32) {
        let has_init = pid != INIT
            && tasks
                .processes
                .get(&INIT)
                .is_some_and(|init| !init.is_zombie);
        let heir = if has_init { INIT } else { 0 };
        let mut killed = alloc::vec::Vec::new();
        let children = tasks.processes.iter_mut();
        let children = children.filter(|(_, entry)| entry.parent == pid);
        let zombies: alloc::vec::Vec<i32> = children
            .filter_map(|(child, entry)| {
                entry.parent = heir;
                entry.exit_signal = SIGCHLD;
                killed.extend(Signo::new(entry.death_signal).map(|signo| (*child, signo)));
                (entry.is_zombie && entry.tracer_pid.is_none()).then_some(*child)
            })
            .collect();
        for child in zombies {
            self.tell_parent(tasks, child);
        }
        for (child, signo) in killed {
            let info = SigInfo::user(signo, pid, self.config.uid);
            // One that has ended meanwhile gets none, and a standard signal always has a place.
            let _ = self.send(tasks, Target::Process(child), info);
        }
    }

    /// Tells the parent of a zombie, or takes it out of the table where nobody wants to know.
    pub(crate) fn tell_parent(&self, tasks: &mut Tasks<P>, pid: i32) {
        let Some(entry) = tasks.processes.get(&pid) else {
            return;
        };
        let (parent, exit_signal, end) = (entry.parent, entry.exit_signal, entry.end);
        let Some(status) = end else { return };
        let parents = tasks
            .processes
            .get(&parent)
            .filter(|parent| !parent.is_zombie)
            .map(|parent| parent.process.signals.lock().actions.get(Signo::CHLD));
        let Some(action) = parents else {
            tasks.processes.remove(&pid);
            self.platform.ended(pid, status);
            return;
        };
        let is_ignored = exit_signal == SIGCHLD && action.handler == SIG_IGN;
        let is_unwanted = is_ignored || exit_signal == SIGCHLD && action.has(SA_NOCLDWAIT);
        if let Some(signo) = Signo::new(exit_signal).filter(|_| !is_ignored) {
            let code = match status {
                ExitStatus::Exited(_) => CLD_EXITED,
                ExitStatus::Killed(_) => CLD_KILLED,
            };
            let detail = Detail::Child {
                pid,
                uid: self.config.uid,
                status: status.detail(),
            };
            // The parent is there, and a queue that is full loses it.
            let _ = self.send(
                tasks,
                Target::Process(parent),
                SigInfo {
                    signo,
                    code,
                    detail,
                },
            );
        }
        if is_unwanted {
            tasks.processes.remove(&pid);
        }
        tasks.wake_waiting_for_children(&self.platform, parent);
    }

    /// How a process has ended, if it has and nobody has waited for it yet.
    #[must_use]
    pub fn ended(&self, pid: i32) -> Option<ExitStatus> {
        let tasks = self.tasks.lock();
        let entry = tasks.processes.get(&pid)?;
        entry.end.filter(|_| entry.is_zombie)
    }

    /// How many processes and threads there are, zombies among the processes.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let tasks = self.tasks.lock();
        (tasks.processes.len(), tasks.threads.len())
    }
}
