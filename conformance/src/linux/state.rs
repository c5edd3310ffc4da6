//! What each thread of a test program has: its note of the last signal, its handler, its peers, its memory.
//!
//! The state belongs to one thread and is changed by it and by its signal handlers, never at once: a handler runs while
//! the thread stands inside a stub of [`super::asm`]. So it is made of cells. The handler finds it through a thread-local
//! pointer that is a constant offset from the thread pointer in a program (no allocation, no lock), and whose page has
//! key 0, which is open whenever a handler runs.
#![allow(
    unsafe_code,
    reason = "a thread-local pointer to a value that handlers share"
)]

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::rc::Rc;

use pkeys_arch::Pku;
use pkeys_core::XsaveLayout;

use super::peers::Peers;
use super::process;
use super::slot::Slot;
use crate::system::{Frame, Ground, Signal, System};

/// What [`System::with_handler`] put in place of the handler that steps over faults.
pub(super) type Custom = NonNull<Closure<'static>>;

/// A handler that lives for some time.
pub(super) type Closure<'a> = dyn FnMut(&mut dyn System, &mut dyn Frame) + 'a;

/// A thread's state.
pub(super) struct State {
    /// The proof that the register can be read.
    pub(super) pku: Pku,
    /// Where signal frames keep PKRU.
    pub(super) layout: XsaveLayout,
    /// The kernel.
    pub(super) ground: Ground,
    /// The process, for `tgkill(2)`.
    pub(super) pid: Cell<u64>,
    /// The thread.
    pub(super) tid: Cell<u64>,
    /// What the handler was told last.
    pub(super) note: Cell<Signal>,
    /// Whether the handler ran since somebody cleared this.
    pub(super) is_noted: Cell<bool>,
    /// The handler in place of the one that steps over.
    pub(super) custom: Cell<Option<Custom>>,
    /// The thread's memory.
    pub(super) slot: Slot,
    /// Threads and processes that this thread started.
    pub(super) peers: RefCell<Peers>,
}

/// Before anything was noted.
const NOTHING: Signal = Signal {
    signo: 0,
    code: 0,
    addr: 0,
    pkey: 0,
    err: 0,
    trapno: 0,
    cr2: 0,
    pkru_in_handler: 0,
    pkru_in_frame: 0,
    is_on_altstack: false,
};

thread_local! {
    /// The state of the calling thread; null where it has none.
    static CURRENT: Cell<*const State> = const { Cell::new(core::ptr::null()) };
}

impl State {
    /// The state of the calling thread, which the handler finds from now on.
    pub(super) fn enter(pku: Pku, layout: XsaveLayout, ground: Ground, slot: Slot) -> Rc<Self> {
        let state = Rc::new(Self {
            pku,
            layout,
            ground,
            pid: Cell::new(u64::from(std::process::id())),
            tid: Cell::new(gettid()),
            note: Cell::new(NOTHING),
            is_noted: Cell::new(false),
            custom: Cell::new(None),
            slot,
            peers: RefCell::default(),
        });
        CURRENT.set(Rc::as_ptr(&state));
        state
    }

    /// Whether the calling thread has a state already.
    pub(super) fn is_entered() -> bool {
        !CURRENT.get().is_null()
    }

    /// The state of the calling thread. Async-signal-safe.
    pub(super) fn current() -> Option<Rc<Self>> {
        let state = CURRENT.get();
        if state.is_null() {
            return None;
        }
        // SAFETY: the pointer is an `Rc`'s, and its last owner clears it before the value goes; the count is of this
        // thread, as the pointer is.
        unsafe { Rc::increment_strong_count(state) };
        // SAFETY: the count that this takes over was added in the line above.
        Some(unsafe { Rc::from_raw(state) })
    }

    /// In a child process, directly behind `fork(2)`: it is another process, and its parent's peers are not its own.
    pub(super) fn after_fork(&self) {
        self.pid.set(u64::from(std::process::id()));
        self.tid.set(gettid());
        self.custom.set(None);
        self.peers.borrow_mut().forget();
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.peers.get_mut().clear();
        // The memory of the slot goes with the state.
        process::set_altstack(None);
        CURRENT.set(core::ptr::null());
    }
}

fn gettid() -> u64 {
    // SAFETY: asks for a number.
    let tid = unsafe { libc::gettid() };
    u64::from(tid.unsigned_abs())
}
