//! The threads of programs that wait for a CPU, and the CPUs that have none to run.
//!
//! A thread is named here each time it becomes ready: by the library, and by the runner that took it off its CPU. It may
//! have been named before, and may be running, waiting or gone when its turn comes; who takes its number asks the library,
//! and goes on to the next one.
//!
//! Some threads wait for a time. The library says when the next of them is due; the timer of any CPU finds that it has
//! come, and a runner then asks the library who is to be woken.
//!
//! The library calls with its locks held, so that nothing here calls the library.

extern crate alloc;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::process::Start;
use crate::cpu::per_cpu;
use crate::sched::{self, Thread};
use crate::smp::time;
use crate::sync::Spin;

struct Ready {
    threads: VecDeque<i32>,
    starts: VecDeque<Start>,
    /// The deadline has come.
    is_due: bool,
    /// The runners, by CPU.
    runners: Vec<Arc<Thread>>,
    /// The CPUs whose runners have nothing to do, a bit each.
    resting: u64,
}

static READY: Spin<Ready> = Spin::new(Ready {
    threads: VecDeque::new(),
    starts: VecDeque::new(),
    is_due: false,
    runners: Vec::new(),
    resting: 0,
});

/// When the next thread is due that waits for a time, in nanoseconds since the start; [`NEVER`] if there is none.
static DEADLINE: AtomicU64 = AtomicU64::new(NEVER);
const NEVER: u64 = u64::MAX;

/// The runner of the next CPU, which begins with none.
pub(super) fn add_runner(runner: Arc<Thread>) {
    READY.lock().runners.push(runner);
}

/// Adds something, and wakes a runner that rests.
fn add_to(add: impl FnOnce(&mut Ready)) {
    let woken = {
        let mut ready = READY.lock();
        add(&mut ready);
        let cpu = ready.resting.trailing_zeros();
        ready.resting &= ready.resting.wrapping_sub(1);
        ready.runners.get(cpu as usize).cloned()
    };
    if let Some(runner) = woken {
        sched::unpark(&runner);
    }
}

/// A thread can run.
pub(super) fn add(tid: i32) {
    add_to(|ready| ready.threads.push_back(tid));
}

/// A program is to be started.
pub(super) fn add_start(start: Start) {
    add_to(|ready| ready.starts.push_back(start));
}

/// The next thread.
pub(super) fn take() -> Option<i32> {
    READY.lock().threads.pop_front()
}

/// The next program to start.
pub(super) fn take_start() -> Option<Start> {
    READY.lock().starts.pop_front()
}

/// A thread waits until this time, and none until an earlier one.
pub(super) fn set_deadline(deadline: u64) {
    DEADLINE.store(deadline, Relaxed);
}

/// The timer's interrupt: wakes a runner if the deadline has come.
pub(crate) fn tick() {
    let deadline = DEADLINE.load(Relaxed);
    if deadline <= time::now_ns()
        && DEADLINE
            .compare_exchange(deadline, NEVER, Relaxed, Relaxed)
            .is_ok()
    {
        add_to(|ready| ready.is_due = true);
    }
}

/// Whether the library is to be asked who is due; the next asker is told no.
pub(super) fn take_due() -> bool {
    mem::take(&mut READY.lock().is_due)
}

/// Whether there is anything for a runner.
pub(super) fn is_any() -> bool {
    READY.lock().has_any()
}

impl Ready {
    fn has_any(&self) -> bool {
        !self.threads.is_empty() || !self.starts.is_empty() || self.is_due
    }
}

/// Waits until there may be something for this CPU's runner, who calls this.
pub(super) fn rest() {
    let me = {
        let mut ready = READY.lock();
        if ready.has_any() {
            return;
        }
        let me = 1_u64 << per_cpu::id();
        ready.resting |= me;
        me
    };
    // Whoever wakes this one from now on finds it resting; if it is not parked yet, it will not park.
    sched::park();
    READY.lock().resting &= !me;
}
