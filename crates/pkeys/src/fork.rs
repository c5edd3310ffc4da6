//! `fork(2)`: the child has one thread, and must not inherit a lock that another thread of its parent held.
//!
//! `pthread_atfork(3)` takes the process-wide locks before the fork, in the order in which they nest, and gives them back
//! on both sides. A domain's own lock is not taken: a child of a program that forks while another thread is in the middle
//! of mapping a region must not use that domain, as with any lock. In the child the register, the grants of the forking
//! thread and the tags of all pages are as they were; the thread that writes reports is gone, and faults are reported
//! by the handler's raw record alone until the child makes a domain of its own.
#![allow(unsafe_code, reason = "pthread_atfork(3)")]

use core::cell::RefCell;
use std::io;

use crate::fault::report;
use crate::registry::snapshot::SnapshotLock;
use crate::registry::{keys, regions, registry};
use crate::thread;

/// What is held between the two ends of a fork.
type Held = (
    keys::Lock,
    thread::Lock,
    SnapshotLock<'static, regions::Record>,
    report::ForkLock,
);

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Registers the handlers; to be called once in a process.
pub(crate) fn install() -> io::Result<()> {
    // SAFETY: the three functions are plain functions that stay.
    match unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) }
    {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Before a fork: takes the locks. For who has to register it elsewhere, in another C library of the process.
pub extern "C" fn before() {
    let held: Held = (
        keys::lock(),
        thread::list(),
        registry().regions.lock(),
        report::lock_for_fork(),
    );
    let _ = HELD.try_with(|slot| *slot.borrow_mut() = Some(held));
}

/// After a fork, in the parent: gives the locks back.
pub extern "C" fn after_in_parent() {
    let _ = HELD.try_with(|slot| slot.borrow_mut().take());
}

/// After a fork, in the child: gives the locks back, and forgets the other threads.
pub extern "C" fn after_in_child() {
    let _ = HELD.try_with(|slot| slot.borrow_mut().take());
    thread::forget_others();
    report::forget();
}
