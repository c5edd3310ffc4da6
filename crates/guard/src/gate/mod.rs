//! The gates: how a call enters a guarded library, and how a callback leaves it.
//!
//! A call that goes through a gate arrives with the same registers and the same stack as without it, whatever it passes: nine
//! integers, variable arguments, 256-bit vectors, structures by value. The gate therefore works beside the stack: the
//! return address moves from the stack into a frame of a **shadow stack** ([`shadow`]), the function is called so that its own
//! return address lands on the same slot, and goes back afterwards. Before the call PKRU is changed so that the library's
//! key is open and every other guarded key is closed; afterwards it is what it was, other keys' bits excepted, which are
//! left as the function left them.
//!
//! An exception that passes a gate is told by the unwind information what the frame holds, and by a personality routine to give
//! it up ([`unwind`](crate::unwind)); so does `longjmp(3)`.
//!
//! The instructions are in `gate.s`, each routine with its explanation; `vectors.s` keeps the vector registers where Rust code is called
//! on the way in.
#![allow(unsafe_code, reason = "assembly, and what it reads")]

pub(crate) mod descriptor;
pub(crate) mod mprotect;
pub(crate) mod registers;
pub(crate) mod shadow;
pub(crate) mod thunk;

use core::arch::global_asm;

use crate::callbacks::wrap_callbacks;
use crate::unwind::{before_longjmp, personality};

global_asm!(
    include_str!("gate.s"),
    new_shadow_stack = sym pkeys_guard_new_shadow_stack,
    wrap_callbacks = sym pkeys_guard_wrap_callbacks,
    before_longjmp = sym before_longjmp,
    personality = sym personality,
    own = sym registers::OWN,
    closed = sym registers::CLOSED,
    shadow = sym registers::SHADOW,
    open_by_mprotect = sym mprotect::open,
    close_by_mprotect = sym mprotect::close,
);

global_asm!(
    include_str!("vectors.s"),
    new_shadow_stack = sym shadow::new_shadow_stack,
    wrap_callbacks = sym wrap_callbacks,
);

unsafe extern "C" {
    fn pkeys_guard_new_shadow_stack();
    fn pkeys_guard_wrap_callbacks();
    fn pkeys_guard_thread_variables() -> *mut [usize; 2];
    fn pkeys_guard_gate();
    fn pkeys_guard_own();
    fn pkeys_guard_reverse();
    fn pkeys_guard_bare_gate();
    fn pkeys_guard_mprotect_gate();
    fn pkeys_guard_counted();
    fn pkeys_guard_callbacks();
    fn pkeys_guard_with_domain();
    fn pkeys_guard_longjmp();
}

/// A routine of `gate.s` that a descriptor may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routine {
    /// Into a library, with its key.
    Gate,
    /// The same, for what the library calls itself, too.
    Own,
    /// Back to the program, with every key closed.
    Reverse,
    /// Either of them, without keys.
    Bare,
    /// Into a library whose heap is closed by `mprotect(2)`, for a figure.
    Mprotect,
    /// Counts, then goes on.
    Counted,
    /// Wraps callbacks, then goes on.
    Callbacks,
    /// Hands the domain over as fourth argument.
    WithDomain,
    /// Gives up frames before a jump.
    Longjmp,
}

impl Routine {
    /// The gate into a library where keys are not used.
    pub(crate) fn without_keys() -> Self {
        if mprotect::is_on() {
            Self::Mprotect
        } else {
            Self::Bare
        }
    }

    /// Where it is.
    pub(crate) fn addr(self) -> usize {
        let routine: unsafe extern "C" fn() = match self {
            Self::Gate => pkeys_guard_gate,
            Self::Own => pkeys_guard_own,
            Self::Reverse => pkeys_guard_reverse,
            Self::Bare => pkeys_guard_bare_gate,
            Self::Mprotect => pkeys_guard_mprotect_gate,
            Self::Counted => pkeys_guard_counted,
            Self::Callbacks => pkeys_guard_callbacks,
            Self::WithDomain => pkeys_guard_with_domain,
            Self::Longjmp => pkeys_guard_longjmp,
        };
        routine as *const () as usize
    }
}

/// The calling thread's two variables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThreadVariables(*mut [usize; 2]);

impl ThreadVariables {
    /// Those of the calling thread.
    pub(crate) fn current() -> Self {
        // SAFETY: takes nothing and gives an address in the thread's static storage.
        Self(unsafe { pkeys_guard_thread_variables() })
    }

    /// The next free frame of the thread's shadow stack; 0 when it has none.
    pub(crate) fn next_frame(self) -> usize {
        // SAFETY: the thread's own variable, which lives as long as the thread; the value is not kept beyond it.
        unsafe { self.0.cast::<usize>().read_volatile() }
    }

    /// Sets it.
    pub(crate) fn set_next_frame(self, addr: usize) {
        // SAFETY: as above.
        unsafe { self.0.cast::<usize>().write_volatile(addr) };
    }

    /// Notes that a pardon has left a key open until the thread's next gate ends.
    pub(crate) fn set_left_open(self) {
        let second = self.0.cast::<usize>().wrapping_add(1);
        // SAFETY: as above.
        unsafe { second.write_volatile(1) };
    }
}
