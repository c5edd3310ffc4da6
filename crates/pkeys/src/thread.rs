//! What the library knows of each thread: its open grants, key by key, and what a fault handler left on it.
//!
//! The state is a plain thread-local without a destructor, so that a signal handler can read it at any time: in an
//! executable it is at a fixed offset from the thread pointer, nothing is initialised on first use. Every field is a
//! relaxed atomic. Only the thread itself writes them (or a handler that interrupted it), so there are no locked
//! instructions; the atomics and the fences beside them keep the compiler from holding a count in a register or
//! dropping its update, which it does with plain cells.
//!
//! A list of the threads that ever opened a window answers one rare question: is some thread's window on a key still
//! open (leaked) when its domain is gone? Such a key is not handed out again.
#![allow(unsafe_code, reason = "the list holds pointers to live threads' state")]

use core::cell::RefCell;
use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst, compiler_fence,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pkeys_core::{GrantCounts, KeySet, Pkey};

/// One thread's state. All of it is written by the thread itself only.
#[derive(Debug)]
pub(crate) struct ThreadState {
    /// Open grants by key: a [`GrantCounts`] each.
    grants: [AtomicU32; Pkey::COUNT],
    /// The serial number of the domain that this thread last opened with each key; 0 for never.
    opened: [AtomicU32; Pkey::COUNT],
    /// By key: the serial number of the domain whose windows take the short path, because this thread is in the list and
    /// nothing about the key needs a second look; 0 for none.
    ready: [AtomicU32; Pkey::COUNT],
    /// Two sets in one word, so that the end of a window asks once. Bits 0 to 15: keys that a pardon has left open until
    /// the outermost window closes. Bits 16 to 31: keys whose grants were opened while their domain's mode was off, so
    /// that the register does not show them.
    leftovers: AtomicU32,
    /// Whether the thread is in the list.
    is_listed: AtomicBool,
    /// What the fault handlers keep from one signal to the next.
    pub(crate) fault: crate::fault::ThreadFaults,
}

thread_local! {
    static STATE: ThreadState = const { ThreadState::new() };
}

/// The calling thread's state, for the path of every window, where a closure is not inlined.
///
/// # Safety
///
/// 1. The reference does not outlive the caller's frame: the state goes with its thread.
#[inline(always)]
pub(crate) unsafe fn current<'t>() -> &'t ThreadState {
    let state = STATE.with(core::ptr::from_ref);
    // SAFETY: the state has no destructor and is there until the thread ends, which is after the caller's frame (1).
    unsafe { &*state }
}

/// Gives `body` the calling thread's state. Safe in a signal handler.
pub(crate) fn with<R>(body: impl FnOnce(&ThreadState) -> R) -> R {
    STATE.with(body)
}

impl ThreadState {
    const fn new() -> Self {
        Self {
            grants: [const { AtomicU32::new(0) }; Pkey::COUNT],
            opened: [const { AtomicU32::new(0) }; Pkey::COUNT],
            ready: [const { AtomicU32::new(0) }; Pkey::COUNT],
            leftovers: AtomicU32::new(0),
            is_listed: AtomicBool::new(false),
            fault: crate::fault::ThreadFaults::new(),
        }
    }

    /// The thread's open grants on a key.
    #[inline(always)]
    pub(crate) fn grants(&self, pkey: Pkey) -> GrantCounts {
        GrantCounts::from_bits(self.grants[pkey.index()].load(Relaxed))
    }

    /// Records the thread's open grants on a key, before anything that follows in program order.
    #[inline(always)]
    pub(crate) fn set_grants(&self, pkey: Pkey, counts: GrantCounts) {
        self.grants[pkey.index()].store(counts.bits(), Relaxed);
        compiler_fence(SeqCst);
    }

    /// Whether the thread holds no grant on any key.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.grants.iter().all(|counts| counts.load(Relaxed) == 0)
    }

    /// Whether this thread has had a window on the domain with that serial number.
    pub(crate) fn has_opened(&self, pkey: Pkey, serial: u32) -> bool {
        self.opened[pkey.index()].load(Relaxed) == serial
    }

    /// Whether a window on the domain with that number, its [`DomainInner::window_serial`](crate::domain::inner), takes
    /// the short path.
    #[inline(always)]
    pub(crate) fn is_ready(&self, pkey: Pkey, window_serial: u32) -> bool {
        self.ready[pkey.index()].load(Relaxed) == window_serial
    }

    /// Notes that this thread opens the domain with that serial number, and that the register will show it; lists the
    /// thread on first use.
    pub(crate) fn make_ready(&self, pkey: Pkey, serial: u32) {
        self.note_opened(pkey, serial);
        self.ready[pkey.index()].store(serial, Relaxed);
    }

    /// Notes that this thread opens the domain with that serial number.
    pub(crate) fn note_opened(&self, pkey: Pkey, serial: u32) {
        if !self.is_listed.load(Relaxed) {
            self.is_listed.store(true, Relaxed);
            list_current(self);
        }
        self.opened[pkey.index()].store(serial, Relaxed);
    }

    /// Whether a pardon or the mode off has left something that the end of a window must see to.
    #[inline(always)]
    pub(crate) fn has_leftovers(&self) -> bool {
        self.leftovers.load(Relaxed) != 0
    }

    /// Keys whose grants the register does not show, because they were opened while the mode was off.
    pub(crate) fn unwritten(&self) -> KeySet {
        KeySet::from_bits((self.leftovers.load(Relaxed) >> 16) as u16)
    }

    /// Marks a key's grants as not shown by the register, or as shown. The next window takes the long path.
    pub(crate) fn set_unwritten(&self, pkey: Pkey, is_unwritten: bool) {
        self.ready[pkey.index()].store(0, Relaxed);
        self.set_leftover(16 + u32::from(pkey.get()), is_unwritten);
    }

    /// Keys that a pardon left open.
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    pub(crate) fn pardoned(&self) -> KeySet {
        KeySet::from_bits(self.leftovers.load(Relaxed) as u16)
    }

    /// Marks a key as left open by a pardon, or as closed again.
    pub(crate) fn set_pardoned(&self, pkey: Pkey, is_pardoned: bool) {
        self.set_leftover(u32::from(pkey.get()), is_pardoned);
    }

    fn set_leftover(&self, bit: u32, is_set: bool) {
        let word = self.leftovers.load(Relaxed);
        let word = if is_set {
            word | 1 << bit
        } else {
            word & !(1 << bit)
        };
        self.leftovers.store(word, Relaxed);
        compiler_fence(SeqCst);
    }
}

/// A listed thread: its state, valid until the thread takes it off the list at its end.
pub(crate) struct Listed(NonNull<ThreadState>);

// SAFETY: the pointee's fields are atomics; the pointer is taken off the list before the thread's state goes.
unsafe impl Send for Listed {}

static LIST: Mutex<Vec<Listed>> = Mutex::new(Vec::new());

/// The list, locked.
pub(crate) type Lock = MutexGuard<'static, Vec<Listed>>;

/// Locks the list; also held across `fork(2)`, so that the child does not inherit it locked by a thread it has not.
pub(crate) fn list() -> Lock {
    // The list is whole between any two of its operations: a panic elsewhere does not spoil it.
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes its thread off the list when the thread ends.
struct Unlist(NonNull<ThreadState>);

impl Drop for Unlist {
    fn drop(&mut self) {
        list().retain(|listed| listed.0 != self.0);
    }
}

thread_local! {
    static UNLIST: RefCell<Option<Unlist>> = const { RefCell::new(None) };
}

fn list_current(state: &ThreadState) {
    let state = NonNull::from(state);
    // A window opened by another thread-local's destructor may come after this one's: the thread stays unlisted then.
    let is_kept = UNLIST
        .try_with(|unlist| *unlist.borrow_mut() = Some(Unlist(state)))
        .is_ok();
    if is_kept {
        list().push(Listed(state));
    }
}

/// Whether any thread holds a grant on the key, or has it open by a pardon.
pub(crate) fn any_holds(pkey: Pkey) -> bool {
    list().iter().any(|listed| {
        // SAFETY: a listed thread is alive: it takes itself off the list, under this lock, before its state goes.
        let state = unsafe { listed.0.as_ref() };
        !state.grants(pkey).is_empty() || state.pardoned().contains(pkey)
    })
}

/// In the child of `fork(2)`: the other threads are gone, and so is their state.
pub(crate) fn forget_others() {
    let current = with(|state| NonNull::from(state));
    list().retain(|listed| listed.0 == current);
}
