//! A CPU as the library sees it: the hardware, and the thread that runs there.
//!
//! The surrounding kernel has one [`Processor`] for each CPU, in its per-CPU data, and gives it to every entry. That is
//! how the running thread is found without a lock: nobody but its CPU looks at the slot, and a CPU changes it only in a
//! switch, with interrupts off. A timer interrupt may look at it at any time.
//!
//! The address space is kept apart from the thread. A CPU that goes idle leaves the tables of its last thread in CR3 and
//! needs no load if the next thread is of the same process. [`crate::Kernel::idle`] gives them up.

use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::fmt;

use crate::hardware::Cpu;
use crate::memory::Caller;
use crate::platform::{Platform, SpaceOf};
use crate::task::thread::Thread;

/// One CPU.
pub struct Processor<P: Platform> {
    cpu: P::Cpu,
    running: RefCell<Option<Running<P>>>,
    active: RefCell<Option<Arc<SpaceOf<P>>>>,
    /// Whether the register is not the thread's for a moment: a signal frame is written with all keys open, or a program
    /// is loaded.
    is_opened: Cell<bool>,
}

/// The thread that runs on a CPU, and its address space.
pub(crate) struct Running<P: Platform> {
    pub(crate) thread: Arc<Thread<P>>,
    pub(crate) space: Arc<SpaceOf<P>>,
}

impl<P: Platform> Clone for Running<P> {
    fn clone(&self) -> Self {
        Self {
            thread: Arc::clone(&self.thread),
            space: Arc::clone(&self.space),
        }
    }
}

impl<P: Platform> Running<P> {
    pub(crate) fn caller<'a>(&'a self, processor: &'a Processor<P>) -> Caller<'a, P::Cpu> {
        Caller {
            cpu: processor.cpu(),
            keys: self.thread.keys(),
        }
    }
}

impl<P: Platform> Processor<P> {
    /// A CPU on which nothing runs yet.
    pub const fn new(cpu: P::Cpu) -> Self {
        Self {
            cpu,
            running: RefCell::new(None),
            active: RefCell::new(None),
            is_opened: Cell::new(false),
        }
    }

    /// The hardware.
    pub const fn cpu(&self) -> &P::Cpu {
        &self.cpu
    }

    /// The thread that runs here.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Thread<P>>> {
        Some(Arc::clone(&self.running.borrow().as_ref()?.thread))
    }

    /// The address space of the thread that runs here.
    #[must_use]
    pub fn space(&self) -> Option<Arc<SpaceOf<P>>> {
        Some(Arc::clone(&self.running.borrow().as_ref()?.space))
    }

    pub(crate) fn running(&self) -> Option<Running<P>> {
        self.running.borrow().clone()
    }

    /// Looks at the running thread in an interrupt.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&Running<P>) -> R) -> Option<R> {
        self.running.try_borrow().ok()?.as_ref().map(look)
    }

    pub(crate) fn set_running(&self, running: Option<Running<P>>) {
        // The old one is dropped when the slot is free again.
        let _old = self.running.replace(running);
    }

    /// Makes this the active address space, unless it is already.
    pub(crate) fn activate(&self, space: &Arc<SpaceOf<P>>) {
        let is_active = self
            .active
            .borrow()
            .as_ref()
            .is_some_and(|active| Arc::ptr_eq(active, space));
        if is_active {
            return;
        }
        space.activate(&self.cpu);
        let old = self.active.replace(Some(Arc::clone(space)));
        // Only now: until CR3 was changed, this CPU had to hear of changes of the old one.
        if let Some(old) = old {
            old.deactivate(&self.cpu);
        }
    }

    /// Has no active address space any more.
    pub(crate) fn deactivate(&self, platform: &P) {
        if let Some(old) = self.active.take() {
            platform.leave_space(&self.cpu);
            old.deactivate(&self.cpu);
        }
    }

    pub(crate) fn set_opened(&self, is_opened: bool) {
        self.is_opened.set(is_opened);
    }

    pub(crate) fn is_opened(&self) -> bool {
        self.is_opened.get()
    }
}

/// A CPU that goes away runs no address space any more.
impl<P: Platform> Drop for Processor<P> {
    fn drop(&mut self) {
        if let Some(old) = self.active.get_mut().take() {
            old.deactivate(&self.cpu);
        }
    }
}

impl<P: Platform> fmt::Debug for Processor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tid = self.peek(|running| running.thread.tid());
        f.debug_struct("Processor")
            .field("cpu", &self.cpu.id())
            .field("running", &tid)
            .finish_non_exhaustive()
    }
}
