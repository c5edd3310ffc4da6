//! Sending a signal to a thread or a process.
//!
//! Whether a signal is dropped is decided when it is sent: one that is ignored and not blocked never becomes pending. One
//! that ends its target does so at once, as far as the target's threads are not running; those that are hear of it
//! ([`Platform::kick`]).
//!
//! Source: Linux `kernel/signal.c` (`prepare_signal`, `sig_ignored`, `complete_signal`, `check_kill_permission`).

use alloc::sync::Arc;

use crate::abi::Errno;
use crate::abi::signal::SIG_DFL;
use crate::kernel::Kernel;
use crate::platform::Platform;
use crate::signal::set::DefaultAction;
use crate::signal::{SigInfo, SigSet, Signo};
use crate::task::ExitStatus;
use crate::task::process::ProcessSignals;
use crate::task::table::Tasks;
use crate::task::thread::Thread;

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// This thread.
    Thread(i32),
    /// Any thread of this process.
    Process(i32),
}

impl<P: Platform> Kernel<P> {
    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// [`Errno::NoProcess`] if nobody is there; [`Errno::Again`] if the target's queue is full.
    pub(crate) fn send(
        &self,
        tasks: &mut Tasks<P>,
        target: Target,
        info: SigInfo,
    ) -> Result<(), Errno> {
        let (pid, first) = match target {
            Target::Thread(tid) => {
                let entry = tasks.threads.get(&tid).ok_or(Errno::NoProcess)?;
                (entry.thread.process().pid(), Some(tid))
            }
            Target::Process(pid) => {
                let entry = tasks.processes.get(&pid).ok_or(Errno::NoProcess)?;
                (pid, entry.threads.first().copied())
            }
        };
        // A process without threads is a zombie: the signal has nobody to do anything to.
        let Some(first) = first else { return Ok(()) };
        self.prepare(tasks, pid, info.signo);
        let Some(thread) = tasks
            .threads
            .get(&first)
            .map(|entry| Arc::clone(&entry.thread))
        else {
            return Ok(());
        };
        let Some(is_end) = queue(&thread, target, info)? else {
            return Ok(());
        };
        let taker = match target {
            Target::Thread(tid) => wants(&thread, info.signo).then_some(tid),
            Target::Process(pid) => self.taker(tasks, pid, info.signo),
        };
        let Some(taker) = taker else { return Ok(()) };
        let (is_traced, is_blocked) = tasks.threads.get(&taker).map_or((false, false), |entry| {
            let blocked = entry.thread.signals.lock().blocked;
            (entry.thread.is_traced(), blocked.contains(info.signo))
        });
        // One that blocks it waits for it, and nothing else comes of it.
        if info.signo == Signo::KILL || is_end && !is_traced && !is_blocked {
            self.start_end(tasks, pid, ExitStatus::Killed(info.signo.number()));
        } else {
            tasks.nudge(&self.platform, taker);
        }
        Ok(())
    }

    /// A thread of the process that does not block the signal, the first one if it can be.
    fn taker(&self, tasks: &Tasks<P>, pid: i32, signo: Signo) -> Option<i32> {
        let threads = &tasks.processes.get(&pid)?.threads;
        threads.iter().copied().find(|tid| {
            let entry = tasks.threads.get(tid);
            entry.is_some_and(|entry| wants(&entry.thread, signo))
        })
    }

    /// Stops and their end cancel each other.
    fn prepare(&self, tasks: &mut Tasks<P>, pid: i32, signo: Signo) {
        let is_stop = SigSet::STOPS.contains(signo);
        if is_stop || signo == Signo::CONT {
            let gone = if is_stop {
                SigSet::of(Signo::CONT)
            } else {
                SigSet::STOPS
            };
            if let Some(entry) = tasks.processes.get(&pid) {
                entry.process.signals.lock().pending.drop_set(gone);
            }
            for tid in tasks.threads_of(pid) {
                if let Some(entry) = tasks.threads.get(&tid) {
                    entry.thread.signals.lock().pending.drop_set(gone);
                }
            }
        }
        if signo == Signo::CONT {
            self.continue_process(tasks, pid);
        }
    }
}

/// Makes a signal pending, for the thread or its process. `None` if it is dropped, else whether it ends the process.
fn queue<P: Platform>(
    thread: &Thread<P>,
    target: Target,
    info: SigInfo,
) -> Result<Option<bool>, Errno> {
    let mut shared = thread.process().signals.lock();
    if is_dropped(&shared, thread, info.signo) {
        return Ok(None);
    }
    let is_queued = match target {
        Target::Thread(_) => thread.signals.lock().pending.push(info),
        Target::Process(_) => shared.pending.push(info),
    };
    if !is_queued {
        return Err(Errno::Again);
    }
    let is_default = shared.actions.get(info.signo).handler == SIG_DFL;
    Ok(Some(
        is_default && info.signo.default_action() == DefaultAction::End,
    ))
}

/// Whether a signal does not even become pending: ignored, not blocked, and of no interest to a tracer.
fn is_dropped<P: Platform>(shared: &ProcessSignals, thread: &Thread<P>, signo: Signo) -> bool {
    let is_blocked = thread.signals.lock().blocked.contains(signo);
    let is_seen_by_tracer = thread.is_traced() && signo != Signo::KILL;
    !is_blocked && !is_seen_by_tracer && shared.actions.get(signo).ignores(signo)
}

/// Whether a thread takes a signal when it comes by: does not block it, or waits for it.
fn wants<P: Platform>(thread: &Thread<P>, signo: Signo) -> bool {
    let own = thread.signals.lock();
    signo == Signo::KILL || !own.blocked.contains(signo) || own.wanted.contains(signo)
}
