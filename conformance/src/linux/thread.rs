//! Peers that are threads: a rendezvous of two, nothing more.
//!
//! The thread is one of the standard library's. Between `clone(2)` and its first task nothing touches PKRU, so that the
//! task finds what `clone(2)` gave. It waits on a futex in memory of key 0.

use core::cell::RefCell;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::LinuxSystem;
use super::state::State;
use crate::system::Task;

/// Where the two are.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The peer waits.
    Idle,
    /// The peer has this to do.
    Asked(Task, u64),
    /// The peer has done it.
    Done(u64),
    /// The peer shall return.
    End,
}

/// What the two share.
#[derive(Debug)]
struct Rendezvous {
    step: Mutex<Step>,
    changed: Condvar,
}

impl Rendezvous {
    fn lock(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes one step further and wakes the other.
    fn set(&self, step: Step) {
        *self.lock() = step;
        self.changed.notify_one();
    }

    /// Waits for a step that `wanted` has a value for, and goes to `next`.
    fn wait<T>(&self, next: Step, wanted: impl Fn(Step) -> Option<T>) -> T {
        let mut step = self.lock();
        loop {
            if let Some(value) = wanted(*step) {
                *step = next;
                return value;
            }
            step = self
                .changed
                .wait(step)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A thread that waits for tasks.
#[derive(Debug)]
pub(super) struct ThreadPeer {
    rendezvous: Arc<Rendezvous>,
    tid: u64,
    handle: RefCell<Option<JoinHandle<()>>>,
}

/// Starts a thread and waits until it is ready.
pub(super) fn start(state: &State) -> std::rc::Rc<ThreadPeer> {
    let rendezvous = Arc::new(Rendezvous {
        step: Mutex::new(Step::Idle),
        changed: Condvar::new(),
    });
    let (shared, pku, layout, ground) = (rendezvous.clone(), state.pku, state.layout, state.ground);
    let handle = std::thread::spawn(move || {
        let mut system = LinuxSystem::on_this_thread(pku, layout, ground).expect("a slot");
        shared.set(Step::Done(system.state.tid.get()));
        serve(&shared, &mut system);
    });
    let tid = rendezvous.wait_for_answer();
    std::rc::Rc::new(ThreadPeer {
        rendezvous,
        tid,
        handle: RefCell::new(Some(handle)),
    })
}

fn serve(rendezvous: &Rendezvous, system: &mut LinuxSystem) {
    let asked = |step| match step {
        Step::Asked(task, arg) => Some(Some((task, arg))),
        Step::End => Some(None),
        Step::Idle | Step::Done(_) => None,
    };
    while let Some((task, arg)) = rendezvous.wait(Step::Idle, asked) {
        rendezvous.set(Step::Done(run(task, system, arg)));
    }
}

/// Runs a task. A panic in it, which nobody could be told of, ends the process.
pub(super) fn run(task: Task, system: &mut LinuxSystem, arg: u64) -> u64 {
    catch_unwind(AssertUnwindSafe(|| task(system, arg))).unwrap_or_else(|_| std::process::abort())
}

impl Rendezvous {
    fn wait_for_answer(&self) -> u64 {
        self.wait(Step::Idle, |step| match step {
            Step::Done(answer) => Some(answer),
            _ => None,
        })
    }
}

impl ThreadPeer {
    /// Lets it run a task, and waits.
    pub(super) fn ask(&self, task: Task, arg: u64) -> u64 {
        self.rendezvous.set(Step::Asked(task, arg));
        self.rendezvous.wait_for_answer()
    }

    /// Lets it return, and waits until it is gone.
    pub(super) fn end(&self) {
        self.rendezvous.set(Step::End);
        if let Some(handle) = self.handle.take() {
            // It does not panic but by ending the process.
            let _ = handle.join();
        }
    }

    /// Its thread id.
    pub(super) fn tid(&self) -> u64 {
        self.tid
    }
}
