//! A thread: its stack, what it runs, and what it has of the registers while another one runs.

#![allow(
    unsafe_code,
    reason = "Sync for cells that the scheduler's lock guards"
)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::wait::WaitQueue;
use crate::memory::kernel_tables::OutOfMemory;
use crate::memory::stack::Stack;
use pkeys_kernel::pks::Context;

/// Whether a thread can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It runs, or waits in the queue for a CPU.
    Ready,
    /// It waits for [`super::unpark`].
    Parked,
    /// It has ended.
    Dead,
}

/// A thread.
pub(crate) struct Thread {
    id: u32,
    name: &'static str,
    stack: Option<Stack>,
    /// The CPUs that it may run on, a bit each.
    pub(super) affinity: AtomicU64,
    /// What it holds of supervisor keys.
    pub(super) context: Context,
    /// What it runs; taken when it begins.
    pub(super) work: Cell<Option<Work>>,
    // The following are guarded by the scheduler's lock.
    /// The stack pointer.
    pub(super) saved: Cell<u64>,
    /// The context that was current: the thread's own, or that of a handler on its stack.
    pub(super) current: Cell<*const Context>,
    pub(super) state: Cell<State>,
    /// It was unparked before it parked.
    pub(super) token: Cell<bool>,
    // Its own.
    is_done: AtomicBool,
    done: WaitQueue,
}

/// What a thread runs.
pub(super) type Work = Box<dyn FnOnce() + Send>;

impl core::fmt::Debug for Thread {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Thread({} {})", self.id, self.name)
    }
}

// SAFETY: `work` is taken by the thread itself, once; the other cells are touched with the scheduler's lock held, by the CPU
// that switches from or to the thread or changes its state. The context is the thread's own while it runs.
unsafe impl Sync for Thread {}
// SAFETY: as above; what it runs is Send.
unsafe impl Send for Thread {}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Thread {
    /// A thread that has not begun.
    pub(super) fn new(
        name: &'static str,
        affinity: u64,
        work: Work,
    ) -> Result<Arc<Self>, OutOfMemory> {
        let stack = Stack::new()?;
        let saved = super::switch::first_frame(&stack);
        Ok(Self::shared(name, Some(stack), affinity, saved, Some(work)))
    }

    /// The thread that runs on the stack which a CPU began with.
    pub(super) fn idle(cpu: u32) -> Arc<Self> {
        Self::shared("idle", None, 1 << cpu, 0, None)
    }

    fn shared(
        name: &'static str,
        stack: Option<Stack>,
        affinity: u64,
        saved: u64,
        work: Option<Work>,
    ) -> Arc<Self> {
        let thread = Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            name,
            stack,
            affinity: AtomicU64::new(affinity),
            context: Context::new(),
            work: Cell::new(work),
            saved: Cell::new(saved),
            current: Cell::new(ptr::null()),
            state: Cell::new(State::Ready),
            token: Cell::new(false),
            is_done: AtomicBool::new(false),
            done: WaitQueue::new(),
        });
        thread.current.set(&raw const thread.context);
        thread
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// What it is called in reports.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it runs on the stack that its CPU began with, when there is nothing else to run.
    pub(super) fn is_idle(&self) -> bool {
        self.stack.is_none()
    }

    /// Says that it is at its end.
    pub(super) fn finish(&self) {
        self.is_done.store(true, Release);
        self.done.wake_all();
    }

    /// Waits for its end.
    pub(crate) fn join(&self) {
        self.done.wait_until(|| self.is_done.load(Acquire));
    }
}
