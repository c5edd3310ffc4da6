//! The system calls about signals, but for `rt_sigreturn`.
//!
//! Source: Linux `kernel/signal.c`; `rt_sigaction(2)`, `rt_sigprocmask(2)`, `sigaltstack(2)`, `kill(2)`, `tgkill(2)`.

use alloc::vec::Vec;

use crate::abi::Errno;
use crate::abi::signal::{SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SIGSET_LEN};
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::signal::action::SigAction;
use crate::signal::altstack::AltStack;
use crate::signal::{SigInfo, SigSet, Signo, Target};
use crate::task::UserRegs;

impl<P: Platform> Kernel<P> {
    /// `int rt_sigaction(int signum, const struct sigaction *act, struct sigaction *oldact, size_t sigsetsize);`
    pub(crate) fn rt_sigaction(
        &self,
        here: &Here<'_, P>,
        signo: i32,
        act: u64,
        oldact: u64,
        size: u64,
    ) -> Result<u64, Errno> {
        if size != SIGSET_LEN {
            return Err(Errno::Invalid);
        }
        let new = match act {
            0 => None,
            act => Some(SigAction::from_bytes(&here.read(act)?)),
        };
        let signo = Signo::new(signo).ok_or(Errno::Invalid)?;
        if new.is_some() && signo.is_unstoppable() {
            return Err(Errno::Invalid);
        }
        let old = self.with_tasks(|tasks| {
            let process = here.running.thread.process();
            let mut shared = process.signals.lock();
            let old = shared.actions.get(signo);
            let Some(new) = new else { return old };
            shared.actions.set(signo, new);
            if new.ignores(signo) {
                // What is ignored from now on is not pending any more.
                shared.pending.drop_set(SigSet::of(signo));
                for tid in tasks.threads_of(here.pid()) {
                    if let Some(entry) = tasks.threads.get(&tid) {
                        let mut own = entry.thread.signals.lock();
                        own.pending.drop_set(SigSet::of(signo));
                    }
                }
            }
            old
        });
        if oldact != 0 {
            here.write(oldact, &old.bytes())?;
        }
        Ok(0)
    }

    /// `int rt_sigprocmask(int how, const sigset_t *set, sigset_t *oldset, size_t sigsetsize);`
    pub(crate) fn rt_sigprocmask(
        &self,
        here: &Here<'_, P>,
        how: i32,
        set: u64,
        oldset: u64,
        size: u64,
    ) -> Result<u64, Errno> {
        if size != SIGSET_LEN {
            return Err(Errno::Invalid);
        }
        let old = here.running.thread.signals.lock().blocked;
        if set != 0 {
            let set = SigSet(here.read_u64(set)?).blockable();
            let new = match how {
                SIG_BLOCK => old.or(set),
                SIG_UNBLOCK => old.without(set),
                SIG_SETMASK => set,
                _ => return Err(Errno::Invalid),
            };
            self.set_mask(here, new);
        }
        if oldset != 0 {
            here.write(oldset, &old.0.to_le_bytes())?;
        }
        Ok(0)
    }

    /// `int rt_sigpending(sigset_t *set, size_t sigsetsize);`
    pub(crate) fn rt_sigpending(
        &self,
        here: &Here<'_, P>,
        set: u64,
        size: u64,
    ) -> Result<u64, Errno> {
        if size > SIGSET_LEN {
            return Err(Errno::Invalid);
        }
        let thread = &here.running.thread;
        let pending = {
            let shared = thread.process().signals.lock();
            let own = thread.signals.lock();
            let all = own.pending.set().or(shared.pending.set());
            all.and(own.blocked)
        };
        let bytes = pending.0.to_le_bytes();
        let len = usize::try_from(size).unwrap_or(bytes.len());
        here.write(set, bytes.get(..len).unwrap_or(&bytes))?;
        Ok(0)
    }

    /// `int sigaltstack(const stack_t *ss, stack_t *old_ss);`
    pub(crate) fn sigaltstack(
        &self,
        here: &Here<'_, P>,
        regs: &UserRegs,
        ss: u64,
        old_ss: u64,
    ) -> Result<u64, Errno> {
        let new = match ss {
            0 => None,
            ss => Some(AltStack::from_bytes(&here.read(ss)?)),
        };
        let old = {
            let altstack = &mut here.running.thread.signals.lock().altstack;
            let old = altstack.seen_at(regs.rsp);
            if let Some(new) = new {
                altstack.change(new, regs.rsp)?;
            }
            old
        };
        if old_ss != 0 {
            here.write(old_ss, &old.bytes())?;
        }
        Ok(0)
    }

    /// `int kill(pid_t pid, int sig);`
    pub(crate) fn kill(&self, here: &Here<'_, P>, pid: i32, signo: i32) -> Result<u64, Errno> {
        self.with_tasks(|tasks| {
            let all = |wanted: &dyn Fn(i32, i32) -> bool| -> Vec<i32> {
                let processes = tasks.processes.iter();
                let chosen = processes.filter(|(pid, entry)| wanted(**pid, entry.group));
                chosen.map(|(pid, _)| *pid).collect()
            };
            let own_group = tasks.processes.get(&here.pid()).map(|entry| entry.group);
            let targets = match pid {
                1.. => tasks.process_of(pid).into_iter().collect(),
                0 => all(&|_, group| own_group == Some(group)),
                // Everybody but the first process and the caller.
                -1 => all(&|pid, _| pid > 1 && pid != here.pid()),
                ..-1 => all(&|_, group| pid.checked_neg() == Some(group)),
            };
            if targets.is_empty() {
                return Err(Errno::NoProcess);
            }
            let info = self.sent(signo, |signo| {
                SigInfo::user(signo, here.pid(), self.config.uid)
            })?;
            let mut result = Err(Errno::NoProcess);
            for target in targets {
                let sent = match info {
                    Some(info) => self.send(tasks, Target::Process(target), info),
                    None => Ok(()),
                };
                // One success is enough.
                if result.is_err() {
                    result = sent.map(|()| 0);
                }
            }
            result
        })
    }

    /// `int tgkill(pid_t tgid, pid_t tid, int sig);` and, without a process, `int tkill(pid_t tid, int sig);`
    pub(crate) fn tgkill(
        &self,
        here: &Here<'_, P>,
        tgid: Option<i32>,
        tid: i32,
        signo: i32,
    ) -> Result<u64, Errno> {
        if tid <= 0 || tgid.is_some_and(|tgid| tgid <= 0) {
            return Err(Errno::Invalid);
        }
        self.with_tasks(|tasks| {
            let pid = tasks.process_of(tid).ok_or(Errno::NoProcess)?;
            if tgid.is_some_and(|tgid| tgid != pid) {
                return Err(Errno::NoProcess);
            }
            let info = self.sent(signo, |signo| {
                SigInfo::thread(signo, here.pid(), self.config.uid)
            })?;
            // The number may be that of a process whose first thread has ended: nobody is left to tell.
            if let (Some(info), true) = (info, tasks.threads.contains_key(&tid)) {
                self.send(tasks, Target::Thread(tid), info)?;
            }
            Ok(0)
        })
    }

    /// What is to be sent for a number: nothing for 0, which only asks whether somebody is there.
    fn sent(
        &self,
        signo: i32,
        info: impl FnOnce(Signo) -> SigInfo,
    ) -> Result<Option<SigInfo>, Errno> {
        match signo {
            0 => Ok(None),
            signo => Signo::new(signo)
                .map(|signo| Some(info(signo)))
                .ok_or(Errno::Invalid),
        }
    }

    /// Changes the running thread's mask. Signals that it leaves to others are theirs to look for.
    pub(crate) fn set_mask(&self, here: &Here<'_, P>, mask: SigSet) {
        let thread = &here.running.thread;
        let is_left = {
            let shared = thread.process().signals.lock();
            let mut own = thread.signals.lock();
            let closed = mask.without(own.blocked);
            own.blocked = mask;
            let pending = own.pending.set().or(shared.pending.set());
            if !pending.without(mask).is_empty() {
                thread.add_work();
            }
            !shared.pending.set().and(closed).is_empty()
        };
        if is_left {
            self.with_tasks(|tasks| {
                for tid in tasks.threads_of(here.pid()) {
                    if tid != here.tid() {
                        tasks.nudge(&self.platform, tid);
                    }
                }
            });
        }
    }
}
