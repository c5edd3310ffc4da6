//! The threads that do not run, for all CPUs together.

extern crate alloc;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

use super::Thread;
use crate::sync::Spin;

/// The threads that do not run.
pub(super) struct Queue {
    pub(super) ready: VecDeque<Arc<Thread>>,
    /// Those that wait for a time, in microseconds.
    pub(super) sleeping: Vec<(u64, Arc<Thread>)>,
    /// Those that have ended: their stacks are free as soon as the lock is.
    pub(super) dead: Vec<Arc<Thread>>,
    /// The CPUs that have nothing to do, a bit each.
    idle: u64,
    /// Their threads for that, by number.
    pub(super) idle_threads: Vec<Arc<Thread>>,
}

pub(super) static QUEUE: Spin<Queue> = Spin::new(Queue {
    ready: VecDeque::new(),
    sleeping: Vec::new(),
    dead: Vec::new(),
    idle: 0,
    idle_threads: Vec::new(),
});

impl Queue {
    /// The next thread for a CPU; its idle thread if there is none.
    pub(super) fn next(&mut self, cpu: u32) -> Option<Arc<Thread>> {
        let may_run = |thread: &Arc<Thread>| thread.affinity.load(Relaxed) & 1 << cpu != 0;
        let position = self.ready.iter().position(may_run);
        let next = position.and_then(|position| self.ready.remove(position));
        self.idle = self.idle & !(1 << cpu) | u64::from(next.is_none()) << cpu;
        next.or_else(|| self.idle_threads.iter().find(|idle| may_run(idle)).cloned())
    }

    /// Puts a thread into the queue; gives a CPU with nothing to do that may take it.
    pub(super) fn push(&mut self, thread: Arc<Thread>) -> Option<u32> {
        let free = self.idle & thread.affinity.load(Relaxed);
        self.ready.push_back(thread);
        if free == 0 {
            return None;
        }
        let cpu = free.trailing_zeros();
        self.idle &= !(1 << cpu);
        Some(cpu)
    }
}
