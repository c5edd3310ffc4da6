//! One CPU: its instructions, its tables, what it keeps for itself.
//!
//! Instructions stand in files by topic, one a function, and nowhere else: [`registers`], [`port`], [`pkrs`], [`xstate`]. The
//! rest of the kernel calls them.

pub(crate) mod features;
pub(crate) mod interrupts;
pub(crate) mod per_cpu;
pub(crate) mod pkrs;
pub(crate) mod pkru;
pub(crate) mod port;
pub(crate) mod random;
pub(crate) mod registers;
pub(crate) mod tables;
pub(crate) mod xstate;
