//! A thread: its keys, its registers while it is not running, its signals.
//!
//! What others may look at or change stands behind a lock of its own or is atomic; what only the thread itself needs is
//! on the CPU it runs on ([`crate::task::Processor`]). Where a thread is (running, blocked, stopped) stands in the table of
//! all threads (`table.rs`).

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lock_api::Mutex;

use crate::keys::ThreadKeys;
use crate::platform::Platform;
use crate::signal::altstack::AltStack;
use crate::signal::frame::LastFault;
use crate::signal::pending::Pending;
use crate::signal::xstate::ExtendedState;
use crate::signal::{SigInfo, SigSet};
use crate::task::process::Process;
use crate::task::regs::UserRegs;
use crate::task::wait::Waiting;

/// A thread.
pub struct Thread<P: Platform> {
    tid: i32,
    process: Arc<Process<P>>,
    keys: ThreadKeys,
    /// Whether the thread has to look at something before it goes on in user mode.
    has_work: AtomicBool,
    /// Whether what it waits for has happened since it began to look.
    is_woken: AtomicBool,
    /// Whether it has to end, though its process does not.
    is_ending: AtomicBool,
    /// Whether somebody traces it, so that nobody else has to look into the table.
    is_traced: AtomicBool,
    /// PKRU as the last signal frame got it: for the mutant that gives it back whatever the frame says.
    last_interrupted: AtomicU32,
    pub(crate) signals: Mutex<P::Lock, ThreadSignals>,
    pub(crate) regs: Mutex<P::Lock, UserRegs>,
    pub(crate) xstate: Mutex<P::Lock, ExtendedState>,
    pub(crate) waiting: Mutex<P::Lock, Option<Waiting>>,
    pub(crate) ids: Mutex<P::Lock, IdWords>,
    /// `PR_SET_NAME`.
    pub(crate) name: Mutex<P::Lock, [u8; NAME_LEN]>,
}

/// What a thread has of signals.
#[derive(Debug, Default)]
pub struct ThreadSignals {
    /// The mask.
    pub blocked: SigSet,
    /// The mask from before `rt_sigsuspend(2)`, which comes back when a handler has run.
    pub before_suspend: Option<SigSet>,
    /// What `rt_sigtimedwait(2)` waits for, while it does.
    pub wanted: SigSet,
    /// Signals that were sent to this very thread.
    pub pending: Pending,
    /// The alternate stack.
    pub altstack: AltStack,
    /// What its last fault left behind.
    pub fault: LastFault,
    /// The stop of a tracer that it is in, or comes out of.
    pub trap: Option<Trap>,
}

/// A stop for a tracer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trap {
    /// The signal that it was stopped for; `None` for a stop that is none.
    pub info: Option<SigInfo>,
    /// The signal that the tracer wants delivered; 0 for none.
    pub deliver: i32,
    /// The tracer's process, which a signal of its own making comes from.
    pub tracer_pid: i32,
}

/// Words in user memory that the thread's number is written to.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdWords {
    /// `CLONE_CHILD_SETTID`: to be filled when the thread starts.
    pub set: u64,
    /// `CLONE_CHILD_CLEARTID`, `set_tid_address(2)`: to be cleared when it ends.
    pub clear: u64,
    /// `set_robust_list(2)`: where the list of its locks begins, to be gone through when it ends; 0 if there is none.
    pub robust: u64,
}

/// What a new thread begins with.
pub(crate) struct ThreadStart {
    pub(crate) keys: ThreadKeys,
    pub(crate) regs: UserRegs,
    pub(crate) xstate: ExtendedState,
    pub(crate) blocked: SigSet,
    pub(crate) altstack: AltStack,
    pub(crate) fault: LastFault,
    pub(crate) ids: IdWords,
    pub(crate) name: [u8; NAME_LEN],
}

/// The bytes of a thread's name, the last of which is 0: `TASK_COMM_LEN`.
pub(crate) const NAME_LEN: usize = 16;

/// The name of a thread that executes the program at a path: its last part, as far as it fits.
pub(crate) fn name_of(path: &[u8]) -> [u8; NAME_LEN] {
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let mut name = [0; NAME_LEN];
    for (place, byte) in name.iter_mut().take(NAME_LEN - 1).zip(last) {
        *place = *byte;
    }
    name
}

impl<P: Platform> Thread<P> {
    pub(crate) fn new(tid: i32, process: Arc<Process<P>>, start: ThreadStart) -> Self {
        Self {
            tid,
            process,
            keys: start.keys,
            // The first way to user mode has the words of `ids` to fill.
            has_work: AtomicBool::new(true),
            is_woken: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            is_traced: AtomicBool::new(false),
            last_interrupted: AtomicU32::new(0),
            signals: Mutex::new(ThreadSignals {
                blocked: start.blocked,
                altstack: start.altstack,
                fault: start.fault,
                ..ThreadSignals::default()
            }),
            regs: Mutex::new(start.regs),
            xstate: Mutex::new(start.xstate),
            waiting: Mutex::new(None),
            ids: Mutex::new(start.ids),
            name: Mutex::new(start.name),
        }
    }

    /// Its number, as `gettid(2)` gives it.
    #[must_use]
    pub const fn tid(&self) -> i32 {
        self.tid
    }

    /// Its process.
    #[must_use]
    pub const fn process(&self) -> &Arc<Process<P>> {
        &self.process
    }

    /// What it knows of its register.
    #[must_use]
    pub const fn keys(&self) -> &ThreadKeys {
        &self.keys
    }

    /// Its registers when it last stopped running.
    #[must_use]
    pub fn saved_regs(&self) -> UserRegs {
        *self.regs.lock()
    }

    /// Whether it waits in a system call, to be started over.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.lock().is_some()
    }

    pub(crate) fn add_work(&self) {
        self.has_work.store(true, Ordering::Release);
    }

    pub(crate) fn has_work(&self) -> bool {
        self.has_work.load(Ordering::Acquire)
    }

    pub(crate) fn take_work(&self) -> bool {
        // The load alone is the common way.
        self.has_work.load(Ordering::Relaxed) && self.has_work.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn set_woken(&self, is_woken: bool) {
        self.is_woken.store(is_woken, Ordering::Release);
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::Acquire)
    }

    pub(crate) fn set_ending(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire) || self.process.is_ending()
    }

    pub(crate) fn set_traced(&self, is_traced: bool) {
        self.is_traced.store(is_traced, Ordering::Release);
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.is_traced.load(Ordering::Acquire)
    }

    pub(crate) fn note_interrupted(&self, pkru: u32) {
        self.last_interrupted.store(pkru, Ordering::Relaxed);
    }

    pub(crate) fn last_interrupted(&self) -> u32 {
        self.last_interrupted.load(Ordering::Relaxed)
    }
}

impl<P: Platform> fmt::Debug for Thread<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("tid", &self.tid)
            .field("pid", &self.process.pid())
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
