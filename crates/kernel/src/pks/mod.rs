//! Supervisor keys (PKS): who in the kernel may touch what right now, through switches, exceptions and interrupts.
//!
//! A page of the kernel can have a key as well. What the running code may do with it stands in PKRS, a register of the CPU
//! that no exception and no switch changes by itself. So a kernel that uses keys has to follow each of its contexts: a
//! thread, and every exception, interrupt or NMI on top of it, starts closed, holds what it was granted, and meets what
//! it held when it goes on, on whichever CPU. That is a protocol of a few functions, called at fixed places of the kernel
//! around it; it knows no hardware but the trait [`PksCpu`].
//!
//! | file | what |
//! |---|---|
//! | `system` | all of a system's supervisor keys as one value: [`Pks`] |
//! | `register` | the register on one CPU, and the cache that saves writing it |
//! | `context` | contexts: start of a CPU, entry, exit, switch |
//! | `grant` | rights on a key, nested and counted |
//! | `key`, `declared`, `keys`, `name` | what a supervisor key is; which is whose: declared, or given out at run time |
//! | `modes` | what is done about stray accesses: settings that a running system may change |
//! | `fault`, `callback` | a fault is judged; functions that are asked first |
//! | `pardon`, `step`, `instruction` | an access is let through: for a context, or for one instruction |
//! | [`region`] | memory behind a key, opened for the accesses that are made |
//! | [`kmap`] | pages of it in other hands |
//! | `sites`, `counters` | which places were told of, and how many accesses there were |
//!
//! # What the kernel around it calls
//!
//! ```text
//! a CPU starts                  start_cpu
//! exception, interrupt, NMI     enter ... leave
//!   page fault                  Pks::judge, then Pardoned::give
//!   debug trap                  debug_trap, then PushedFlags::store
//!   other exceptions            call_off
//! softirqs                      enter ... leave
//! thread switch                 switch_to
//! return to user mode           end_of_context
//! end of a work item            end_of_context
//! code that needs a key         Grant::new
//! a mode is changed             Pks::set, then refresh on every CPU
//! ```
//!
//! Keys stop mistakes. They are no barrier against code that executes WRMSR, or changes the page tables.

mod callback;
mod context;
mod counters;
mod declared;
mod fault;
mod grant;
mod instruction;
mod key;
mod keys;
pub mod kmap;
mod modes;
mod name;
mod pardon;
pub mod region;
mod register;
mod sites;
mod step;
mod system;

pub use callback::{Callback, CallbackId, Callbacks, Interrupted};
pub use context::{Context, end_of_context, enter, leave, refresh, start_cpu, switch_to};
pub use counters::Counters;
pub use declared::{Declaration, Declared, NR_KEYS};
pub use fault::{KeyFault, KeyedPage, Report, Verdict};
pub use grant::{Grant, Granted, grant, revoke};
pub use key::{NoPksKey, PksKey};
pub use keys::{Exhausted, Keys, ReleaseError};
pub use modes::{BadSetting, Modes, Settings};
pub use pardon::Pardoned;
pub use register::{INVALID, PksCpu};
pub use sites::{NR_SITES, Sites};
pub use step::{MAX_ITERATIONS, PushedFlags, StepFrame, Stepped, call_off, debug_trap};
pub use system::{Pks, Refresh};
