//! Sleep: `nanosleep(2)`, `clock_nanosleep(2)`.
//!
//! A handler ends a sleep with `EINTR`, `SA_RESTART` or not, and the program is told how much was left, unless it slept
//! until a time. A stop and what follows it end nothing: the sleep goes on to its end.
//!
//! Source: Linux `kernel/time/hrtimer.c` (`hrtimer_nanosleep`, `nanosleep_copyout`), `posix-timers.c`.

use crate::abi::time::TIMER_ABSTIME;
use crate::abi::{Errno, nr};
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::syscall::{CallEnd, word};
use crate::task::UserRegs;
use crate::task::wait::WaitFor;
use crate::time::clock::{Clock, Epoch};
use crate::time::value::{read_timespec, timespec_bytes};

impl<P: Platform> Kernel<P> {
    /// `int nanosleep(const struct timespec *duration, struct timespec *rem);`
    pub(crate) fn nanosleep(
        &self,
        here: &Here<'_, P>,
        duration: u64,
        done: u64,
    ) -> Result<u64, CallEnd> {
        if done != 0 {
            return self.sleep_until(here, done);
        }
        let duration = read_timespec(here, duration)?;
        let end = self.now()?.saturating_add(duration);
        self.sleep_until(here, end)
    }

    /// `int clock_nanosleep(clockid_t clockid, int flags, const struct timespec *t, struct timespec *remain);`
    pub(crate) fn clock_nanosleep(
        &self,
        here: &Here<'_, P>,
        clock: i32,
        flags: u32,
        time: u64,
        done: u64,
    ) -> Result<u64, CallEnd> {
        if done != 0 {
            return self.sleep_until(here, done);
        }
        let clock = Clock::from_number(clock)?;
        if !clock.has_sleep {
            return Err(Errno::NotSupported.into());
        }
        let time = read_timespec(here, time)?;
        let end = if flags & TIMER_ABSTIME != 0 {
            self.deadline_by(clock.epoch == Epoch::Unix, time)?
        } else {
            self.now()?.saturating_add(time)
        };
        self.sleep_until(here, end)
    }

    /// What a sleep has done so far is to know when it ends.
    fn sleep_until(&self, here: &Here<'_, P>, end: u64) -> Result<u64, CallEnd> {
        here.running.thread.set_woken(false);
        self.set_deadline(here.tid(), end);
        if self.now()? >= end {
            self.timers.remove(here.tid());
            return Ok(0);
        }
        Err(CallEnd::Wait(WaitFor::Time, end))
    }

    /// A handler is to run while the thread sleeps: tells the program what was left. Gives what the call gives.
    pub(crate) fn interrupt_sleep(
        &self,
        here: &Here<'_, P>,
        regs: &UserRegs,
        end: u64,
    ) -> Result<u64, Errno> {
        self.timers.remove(here.tid());
        let [_, second, _, fourth, ..] = regs.arguments();
        let rest_at = match regs.orig_rax {
            nr::NANOSLEEP => second,
            nr::CLOCK_NANOSLEEP if word(second) & TIMER_ABSTIME == 0 => fourth,
            _ => 0,
        };
        let left = end.saturating_sub(self.now()?);
        if left == 0 {
            return Ok(0);
        }
        if rest_at != 0 {
            here.write(rest_at, &timespec_bytes(left))?;
        }
        Err(Errno::Interrupted)
    }
}
