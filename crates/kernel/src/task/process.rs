//! A process: what its threads share.
//!
//! Its relatives, its threads and its end stand in the table of all processes (`table.rs`).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use lock_api::Mutex;

use crate::files::Files;
use crate::kernel::Config;
use crate::platform::{Platform, SpaceOf};
use crate::signal::action::Actions;
use crate::signal::pending::Pending;
use crate::task::limits::Limits;

/// A process.
pub struct Process<P: Platform> {
    pid: i32,
    /// Whether all its threads have to end.
    is_ending: AtomicBool,
    /// Whether they have to stop.
    is_stopping: AtomicBool,
    /// The address space; `None` once the process has ended.
    pub(crate) space: Mutex<P::Lock, Option<Arc<SpaceOf<P>>>>,
    pub(crate) signals: Mutex<P::Lock, Box<ProcessSignals>>,
    pub(crate) files: Mutex<P::Lock, Files<P>>,
    pub(crate) inherited: Mutex<P::Lock, Inherited>,
}

/// What a process has of its parent and gives to its children.
#[derive(Debug, Clone)]
pub(crate) struct Inherited {
    /// The path of the program that it executes; empty if it was started without one.
    pub(crate) program: Vec<u8>,
    /// How much it may have.
    pub(crate) limits: Limits,
}

impl Inherited {
    /// What a process without a parent has.
    pub(crate) fn first(config: &Config, program: &[u8]) -> Self {
        Self {
            program: program.to_vec(),
            limits: Limits::new(config),
        }
    }
}

/// What the threads of a process share of signals.
#[derive(Debug, Default)]
pub struct ProcessSignals {
    /// What is done about each.
    pub actions: Actions,
    /// Those that any thread may take.
    pub pending: Pending,
}

impl<P: Platform> Process<P> {
    pub(crate) fn new(
        pid: i32,
        space: Arc<SpaceOf<P>>,
        actions: Actions,
        files: Files<P>,
        inherited: Inherited,
    ) -> Self {
        let signals = ProcessSignals {
            actions,
            pending: Pending::default(),
        };
        Self {
            pid,
            is_ending: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            space: Mutex::new(Some(space)),
            signals: Mutex::new(Box::new(signals)),
            files: Mutex::new(files),
            inherited: Mutex::new(inherited),
        }
    }

    /// Its number, as `getpid(2)` gives it.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Its address space; `None` once it has ended.
    #[must_use]
    pub fn space(&self) -> Option<Arc<SpaceOf<P>>> {
        self.space.lock().clone()
    }

    pub(crate) fn set_ending(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    pub(crate) fn set_stopping(&self, is_stopping: bool) {
        self.is_stopping.store(is_stopping, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

impl<P: Platform> fmt::Debug for Process<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid)
            .field("is_ending", &self.is_ending())
            .finish_non_exhaustive()
    }
}
