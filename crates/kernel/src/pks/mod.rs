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
//! | `register` | the register on one CPU, and the cache that saves writing it |
//! | `context` | contexts: entry, exit, switch |
//! | `grant` | rights on a key, nested and counted |
//! | `keys` | which key is whose: declared, or given out at run time |
//! | `modes`, `sites` | what is done about stray accesses, and which were reported |
//!
//! Keys stop mistakes. They are no barrier against code that executes WRMSR, or changes the page tables.

mod context;
mod grant;
mod keys;
mod modes;
mod register;
mod sites;

pub use context::{Context, enter, leave, refresh, switch_to};
pub use grant::{Granted, grant, revoke};
pub use keys::{Declaration, Declared, Exhausted, Keys, NR_KEYS, ReleaseError};
pub use modes::{BadMode, Modes, parse_option};
pub use register::{INVALID, PksCpu};
pub use sites::{NR_SITES, Sites};
