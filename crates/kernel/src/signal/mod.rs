//! Signals: sending, delivering, and the frame that keys make interesting.
//!
//! | file | what |
//! |---|---|
//! | `set`, `info`, `action`, `altstack`, `pending` | the values |
//! | `frame`, `xstate` | the frame on the user's stack, and the extended state in it |
//! | `send`, `force`, `exception` | to somebody; to the running thread, for what it did |
//! | `deliver` | on the way to user mode: which signal, and what becomes of a call that waited |
//! | `enter`, `sigreturn`, `restore` | into a handler, and back |
//! | `calls`, `suspend` | the system calls; those that wait for a signal |
//!
//! # PKRU
//!
//! A handler starts with the initial value, whatever the interrupted code had: it can use its stack if that has key 0, and
//! nothing else that is behind a key. The interrupted value lies in the frame and comes back from there, as the handler
//! left it.
//!
//! The frame itself is written with all keys open. The alternate stack may be behind a key that the interrupted code has
//! closed (it may have closed key 0 as well), and nobody knows which; so the kernel sets PKRU to 0, writes, and then loads
//! the initial value. A handler on such a stack has to open the key with its first instruction, before it touches the
//! stack. On the way back nothing is opened: `rt_sigreturn` reads the frame with the PKRU of its caller, and it reads the
//! alternate stack's description before it loads PKRU from the frame, which may close the frame's own key.
//!
//! If the extended state cannot be written, PKRU goes back to the interrupted value. If what comes after it cannot, it
//! stays 0: the SIGSEGV that follows then has 0 in its frame. That is what Linux does, wise or not.
//!
//! Source: Linux 6.12 `arch/x86/kernel/signal.c`, `signal_64.c`, `arch/x86/kernel/fpu/signal.c`, `kernel/signal.c`.

pub mod action;
pub mod altstack;
mod calls;
mod deliver;
mod enter;
mod exception;
mod force;
pub mod frame;
pub mod info;
pub mod pending;
mod restore;
mod send;
pub mod set;
mod sigreturn;
mod suspend;
pub mod xstate;

pub use action::SigAction;
pub use altstack::AltStack;
pub use info::SigInfo;
pub(crate) use send::Target;
pub use set::{SigSet, Signo};
