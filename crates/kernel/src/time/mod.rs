//! Time: clocks, sleep, and calls that wait no longer than a program wants.
//!
//! The library has no clock; the surrounding kernel may have one ([`crate::Platform::monotonic`]). Without it, calls that
//! need one give `ENOSYS`.
//!
//! # Waiting with a limit
//!
//! A call that waits for a limited time reckons, when it is made, when that time ends, and keeps that as what it has done
//! so far (`done` of a waiting call): when it is made once more, it looks at the clock and knows. So a limit does not
//! grow when a thread is stopped and goes on. All that happens when a limit is over is that the thread is woken
//! ([`crate::Kernel::wake_expired`]); what that means is the call's to find out.
//!
//! Source: Linux `kernel/time/posix-timers.c`, `hrtimer.c`, `time.c`; `clock_gettime(2)`, `nanosleep(2)`.

mod clock;
mod sleep;
mod timers;
mod value;

pub(crate) use timers::Timers;
pub(crate) use value::{TIME_LEN, read_timespec, words};

/// The time that never comes, for a call without a limit.
pub(crate) const NEVER: u64 = u64::MAX;
