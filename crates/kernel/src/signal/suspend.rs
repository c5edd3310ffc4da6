//! Waiting for a signal: `pause(2)`, `rt_sigsuspend(2)`, `rt_sigtimedwait(2)`.
//!
//! The first two end when a handler has run, with `EINTR`. `rt_sigsuspend` waits with another mask; the handler starts with
//! that one in effect, and its frame has the mask from before, so that this is what comes back.
//!
//! `rt_sigtimedwait` takes a signal that is pending, blocked or not, before any handler gets it. Who sends one that a
//! thread waits for wakes that thread, although it blocks the signal; another signal, with a handler, ends the wait with
//! `EINTR`.
//!
//! Source: Linux `kernel/signal.c` (`sigsuspend`, `do_sigtimedwait`).

use crate::abi::Errno;
use crate::abi::signal::SIGSET_LEN;
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::signal::{SigInfo, SigSet};
use crate::syscall::CallEnd;
use crate::task::wait::WaitFor;
use crate::time::{NEVER, read_timespec};

impl<P: Platform> Kernel<P> {
    /// `int pause(void);`
    pub(crate) fn pause(&self, here: &Here<'_, P>) -> Result<u64, CallEnd> {
        here.running.thread.set_woken(false);
        Err(CallEnd::Wait(WaitFor::Signal, NEVER))
    }

    /// `int rt_sigsuspend(const sigset_t *mask, size_t sigsetsize);`
    pub(crate) fn rt_sigsuspend(
        &self,
        here: &Here<'_, P>,
        mask: u64,
        size: u64,
        done: u64,
    ) -> Result<u64, CallEnd> {
        if done == 0 {
            if size != SIGSET_LEN {
                return Err(Errno::Invalid.into());
            }
            let mask = SigSet(here.read_u64(mask)?).blockable();
            let own = here.running.thread.signals.lock().blocked;
            self.set_mask(here, mask);
            here.running.thread.signals.lock().before_suspend = Some(own);
        }
        here.running.thread.set_woken(false);
        Err(CallEnd::Wait(WaitFor::Signal, NEVER))
    }

    /// `int rt_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout, size_t sigsetsize);`
    pub(crate) fn rt_sigtimedwait(
        &self,
        here: &Here<'_, P>,
        [set, info_at, timeout, size]: [u64; 4],
        done: u64,
    ) -> Result<u64, CallEnd> {
        if size != SIGSET_LEN {
            return Err(Errno::Invalid.into());
        }
        let wanted = SigSet(here.read_u64(set)?).blockable();
        let end = match (done, timeout) {
            (0, 0) => NEVER,
            (0, timeout) => self.end_of(read_timespec(here, timeout)?)?,
            (done, _) => done,
        };
        here.running.thread.set_woken(false);
        self.set_deadline(here.tid(), end);
        let is_over = self.is_over(end);
        let taken = self.take_wanted(here, wanted, !is_over);
        if taken.is_none() && !is_over {
            return Err(CallEnd::Wait(WaitFor::Signal, end));
        }
        self.timers.remove(here.tid());
        let info = taken.ok_or(Errno::Again)?;
        if info_at != 0 {
            here.write(info_at, &info.bytes())?;
        }
        Ok(u64::from(info.signo.number().unsigned_abs()))
    }

    /// A pending signal of a set. If there is none, it is noted what the thread waits for, if it does.
    fn take_wanted(&self, here: &Here<'_, P>, wanted: SigSet, waits: bool) -> Option<SigInfo> {
        let thread = &here.running.thread;
        let mut shared = thread.process().signals.lock();
        let mut own = thread.signals.lock();
        let others = wanted.complement();
        let taken = own
            .pending
            .take(others)
            .or_else(|| shared.pending.take(others));
        own.wanted = if taken.is_none() && waits {
            wanted
        } else {
            SigSet::EMPTY
        };
        taken
    }
}
