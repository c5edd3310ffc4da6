//! `fork(2)`: the child must not inherit a lock that another thread of its parent held.
//!
//! The program forks with its own C library, which knows nothing of handlers that were registered with the audit library's. So
//! they are registered with the program's (`__register_atfork`, which `pthread_atfork(3)` calls), those of the library `pkeys` too.
#![allow(
    unsafe_code,
    reason = "a function of the program's C library by address"
)]

use core::ffi::{c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pkeys::embed;

use crate::alloc;
use crate::audit::{self, Data};
use crate::bind::{self, Bindings};
use crate::domain;
use crate::heap::State;
use crate::quiet::Locked;
use crate::wrap::pages::{self, Mapped};

/// What is held between the two ends of a fork, the last that was taken first: the locks give the signal mask back that they
/// found, and the one that was taken first found the thread's own.
struct Held {
    #[expect(dead_code, reason = "held, and given back by its drop")]
    heaps: Vec<MutexGuard<'static, State>>,
    #[expect(dead_code, reason = "held, and given back by its drop")]
    adopting: Locked<()>,
    #[expect(dead_code, reason = "held, and given back by its drop")]
    data: Locked<Vec<Data>>,
    #[expect(dead_code, reason = "held, and given back by its drop")]
    pages: Locked<Mapped>,
    #[expect(dead_code, reason = "held, and given back by its drop")]
    bindings: Locked<Bindings>,
}

/// Whoever forks has the bindings locked, and so this for itself. No variable of the thread: its end would not be noticed.
static HELD: Mutex<Kept> = Mutex::new(Kept(None));

struct Kept(Option<Held>);

// SAFETY: what is kept is taken out by the thread that put it in, in the parent and in the child.
unsafe impl Send for Kept {}

fn held() -> MutexGuard<'static, Kept> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers the handlers with the C library whose `__register_atfork` that is.
pub(crate) fn install(register: usize) {
    type Handler = extern "C" fn();
    type Register = unsafe extern "C" fn(Handler, Handler, Handler, *mut c_void) -> c_int;
    // SAFETY: the address of `__register_atfork` in the main C library.
    let register = unsafe { core::mem::transmute::<usize, Register>(register) };
    // SAFETY: three plain functions that stay; no object, so that they are never taken out.
    unsafe {
        register(
            before,
            after_in_parent,
            after_in_child,
            core::ptr::null_mut(),
        )
    };
}

extern "C" fn before() {
    let bindings = bind::guard();
    let pages = pages::lock();
    let data = audit::data();
    let adopting = domain::adopting();
    let heaps = domain::all().iter().map(|guarded| &guarded.heap);
    let heaps = heaps
        .chain(domain::shared())
        .map(crate::heap::Heap::lock)
        .collect();
    embed::before();
    held().0 = Some(Held {
        heaps,
        adopting,
        data,
        pages,
        bindings,
    });
    // Last: nothing is allocated from here on.
    alloc::lock();
}

extern "C" fn after_in_parent() {
    alloc::unlock();
    embed::after_in_parent();
    let held = held().0.take();
    drop(held);
}

extern "C" fn after_in_child() {
    alloc::unlock();
    embed::after_in_child();
    let held = held().0.take();
    drop(held);
}
